// The browser's side of a shell: xterm.js on the widget's messages. Joined with xterm's own modules by bundle.py, which
// gives it `Terminal` and `FitAddon`.

const WAIT = 1000; // milliseconds after which an unheard key is spoken of
const SOON = 100; // milliseconds that keys wait for the answer to those before them, to go together
const PIECE = 16384; // characters of a paste in one message

function element(tag, className, attributes = {}, text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

// xterm wants plain colours: a variable is resolved by an element that wears it.
function colour(host, variable) {
  const probe = element("span");
  probe.style.color = `var(${variable})`;
  probe.style.display = "none";
  host.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function theme(host) {
  const text = colour(host, "--ob-shell-text");
  const back = colour(host, "--ob-shell-back");
  return {
    background: back, foreground: text, cursor: text, cursorAccent: back,
    selectionBackground: colour(host, "--ob-shell-mark"),
  };
}

function render({ model, el }) {
  const view = Array.from(crypto.getRandomValues(new Uint32Array(2)), (n) => n.toString(16)).join("");
  const root = element("div", "oblako-shell", { "data-lm-suppress-shortcuts": "true" });
  const bar = element("div", "ob-shell-bar");
  const dot = element("span", "ob-shell-dot", { "aria-hidden": "true" });
  const title = element("span", "ob-shell-title", {}, model.get("title"));
  const said = element("span", "ob-shell-said", { role: "status", "aria-live": "polite" });
  const reader = element("button", "ob-shell-button", { type: "button", "aria-pressed": "false",
    title: "Reads the output aloud with a screen reader" }, "Screen reader");
  const again = element("button", "ob-shell-button ob-shell-again", { type: "button" }, "Open again");
  const close = element("button", "ob-shell-button ob-shell-close", { type: "button", title: "End the shell" }, "Close");
  const frame = element("div", "ob-shell-frame", {
    role: "group", "aria-label": `${model.get("title")}; Shift and Escape lead out of the terminal` });
  bar.append(dot, title, said, reader, again, close);
  root.append(bar, frame);
  el.append(root);

  const terminal = new Terminal({
    fontSize: 13, scrollback: 10000, cursorBlink: true, minimumContrastRatio: 4.5, macOptionIsMeta: true,
    screenReaderMode: localStorage.getItem("oblako-shell-reader") === "on",
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(frame);

  // -- to the instance ---------------------------------------------------------------------------

  let number = 0; // of the last thing that was sent
  let heard = 0; // of the last thing that the kernel has taken
  let since = 0; // when the oldest unheard one was sent
  let size = "";

  function send(content) {
    if (heard === number) since = performance.now();
    number += 1;
    model.send({ ...content, view, n: number });
  }

  let typed = "";
  let soon = 0;

  function type(text) {
    if (model.get("ending")) return;
    typed += text;
    if (heard === number || typed.length > PIECE) flush();
    else if (!soon) soon = setTimeout(flush, SOON);
  }

  function flush() {
    clearTimeout(soon);
    soon = 0;
    const text = typed;
    typed = "";
    for (let at = 0; at < text.length; ) {
      // Not through the middle of a character of two halves.
      let end = Math.min(at + PIECE, text.length);
      const last = text.charCodeAt(end - 1);
      if (end < text.length && last >= 0xd800 && last < 0xdc00) end -= 1;
      send({ kind: "in", text: text.slice(at, end) });
      at = end;
    }
  }

  terminal.onData(type);
  terminal.onBinary((data) => flush() ?? send({ kind: "bytes", codes: Array.from(data, (c) => c.charCodeAt(0)) }));
  terminal.onResize(() => resized());

  function resized() {
    const now = `${terminal.rows}x${terminal.cols}`;
    if (now === size || !frame.isConnected) return;
    size = now;
    send({ kind: "size", rows: terminal.rows, columns: terminal.cols });
  }

  let dressed = false;

  // The page's colours and letters, which an element has only once it is in the page.
  function dress() {
    const style = getComputedStyle(root);
    // VS Code's before JupyterLab's, as in shell.css.
    const of = (what) => (style.getPropertyValue(`--vscode-editor-${what}`) || style.getPropertyValue(`--jp-code-${what}`)).trim();
    const family = of("font-family");
    terminal.options.fontFamily = family || "Menlo, Consolas, 'DejaVu Sans Mono', monospace";
    terminal.options.fontSize = parseFloat(of("font-size")) || 13;
    terminal.options.theme = theme(root);
  }

  function fitted() {
    // A hidden tab has no size, and must not give the shell one.
    if (frame.clientWidth < 40 || frame.clientHeight < 20) return;
    if (!dressed) dress();
    dressed = true;
    fit.fit();
    resized();
  }

  // -- from the instance -------------------------------------------------------------------------

  let at = 0; // bytes of output that are shown
  let asked = 0;

  function show(buffer, end) {
    at = end;
    const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    terminal.write(bytes, () => model.send({ kind: "ack", view, at: end }));
  }

  function hello() {
    if (performance.now() - asked < 1000) return;
    asked = performance.now();
    send({ kind: "hello", at });
  }

  function message(content, buffers) {
    if (content.kind === "heard" && content.view === view) {
      heard = Math.max(heard, content.n);
      if (heard < number) since = performance.now();
      else if (typed) flush();
    } else if (content.kind === "out") {
      if (content.end <= at) return;
      if (content.start > at) return hello(); // something was missed
      show(buffers[0], content.end);
    } else if (content.kind === "replay" && content.start > at) {
      terminal.reset();
      show(buffers[0], content.end);
    } else if (content.kind === "replay" && content.end > at) {
      const whole = buffers[0];
      show(new DataView(whole.buffer, whole.byteOffset + (at - content.start)), content.end);
    }
  }

  model.on("msg:custom", message);

  // -- how it stands -----------------------------------------------------------------------------

  function status() {
    const ending = model.get("ending");
    const late = !ending && heard < number && performance.now() - since > WAIT;
    const text = ending || (late
      ? "The kernel is busy: what you type waits until its cell has ended; output goes on."
      : "");
    if (said.textContent !== text) said.textContent = text;
    root.classList.toggle("ob-shell-over", Boolean(ending));
    root.classList.toggle("ob-shell-late", late);
    again.hidden = !ending || !model.get("again");
    close.hidden = Boolean(ending);
    terminal.options.disableStdin = Boolean(ending);
    terminal.options.cursorBlink = !ending;
  }

  const clock = setInterval(status, 250);
  model.on("change:ending", status);

  function readerShown() {
    reader.setAttribute("aria-pressed", String(terminal.options.screenReaderMode));
  }
  reader.addEventListener("click", () => {
    terminal.options.screenReaderMode = !terminal.options.screenReaderMode;
    localStorage.setItem("oblako-shell-reader", terminal.options.screenReaderMode ? "on" : "off");
    readerShown();
  });
  again.addEventListener("click", () => {
    again.hidden = true;
    terminal.reset();
    size = "";
    send({ kind: "again", rows: terminal.rows, columns: terminal.cols });
    terminal.focus();
  });
  close.addEventListener("click", () => send({ kind: "close" }));

  terminal.attachCustomKeyEventHandler((event) => {
    if (event.type !== "keydown") return true;
    if (event.key === "Escape" && event.shiftKey) {
      reader.focus();
      return false;
    }
    // As in JupyterLab's own terminal: with a selection Ctrl-C copies it, and Ctrl-V pastes.
    const control = (event.ctrlKey || event.metaKey) && !event.altKey;
    if (control && event.key === "c" && terminal.hasSelection()) return false;
    if (control && (event.key === "v" || event.key === "V")) return false;
    return true;
  });

  // What xterm leaves to the browser, such as Ctrl-V, is no key of the notebook: VS Code would keep the browser from it.
  for (const kind of ["keydown", "keyup", "keypress"]) root.addEventListener(kind, (event) => event.stopPropagation());

  const sizes = new ResizeObserver(() => fitted());
  sizes.observe(frame);
  const themes = new MutationObserver(dress);
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"] });
  root.addEventListener("wheel", (event) => event.stopPropagation(), { passive: true });

  readerShown();
  status();
  fitted();
  hello();
  root.obShell = terminal; // for whoever drives the page, as tests do

  return () => {
    clearInterval(clock);
    clearTimeout(soon);
    sizes.disconnect();
    themes.disconnect();
    model.off("msg:custom", message);
    model.off("change:ending", status);
    try {
      model.send({ kind: "unseen", view });
    } catch {
      // The kernel has gone, and the shell with it.
    }
    terminal.dispose();
  };
}

export default { render };
