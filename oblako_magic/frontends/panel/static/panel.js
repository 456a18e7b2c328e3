// The panel: puts the parts together for one view, and connects them to the store of the model.

import { button, copyText, h, link } from "./dom.js";
import { Store } from "./store.js";
import { Table } from "./table.js";
import { Head } from "./head.js";
import { Toolbar } from "./toolbar.js";
import { possible } from "./rows.js";
import { askPort, confirmTerminate, showOrphans } from "./dialogs.js";
import { openLaunch } from "./launch.js";
import { Drawer, shellCommand, sshPort } from "./drawer.js";

// By the panel's own key: each call below gets another object for the same model.
const stores = new Map();

class PanelView {
  constructor(model, root) {
    this.store = stores.get(model.get("key"));
    this.model = model;
    this.root = root;
    this.list = model.get("mode") === "list";
    root.classList.add("oblako-panel");
    root.classList.toggle("ob-list", this.list);
    root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's single-key commands are not meant here
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", this.list ? "Instances" : "oblako panel");
    const context = (this.context = this.offers());
    this.table = new Table(context);
    this.drawer = new Drawer(context);
    this.toolbar = new Toolbar(context, this.list);
    this.head = this.list ? null : new Head(context);
    this.busy = h("span", { class: "ob-busy", role: "status" });
    this.problem = h("div", { class: "ob-problem", role: "alert", hidden: true });
    this.live = h("div", { class: "ob-offscreen", "aria-live": "polite" });
    this.foot = h("div", { class: "ob-foot" }, this.summary = h("span"), this.toolbar.chosen, this.busy, h("span", { class: "ob-gap" }),
      button("Activity", () => this.toggleActivity(), { symbol: "logs", kind: "ob-quiet-text" }));
    root.replaceChildren(...[this.head?.node, this.toolbar.node, this.problem, this.table.node, this.foot, this.drawer.node, this.live].filter(Boolean));
    this.unlisten = this.store.listen((what, ids) => this.changed(what, ids));
    this.onview = () => this.viewChanged();
    model.on("change:view", this.onview);
    // Uptimes grow, and terminated rows leave: of the browser's own, nothing is asked for.
    this.clock = setInterval(() => this.table.update(), 10_000);
    this.onvisible = () => this.seen();
    document.addEventListener("visibilitychange", this.onvisible);
    window.addEventListener("pagehide", this.onvisible);
    this.watcher = new IntersectionObserver((entries) => { this.onScreen = entries.at(-1).isIntersecting; this.seen(); });
    this.watcher.observe(root);
    for (const kind of ["keydown", "keyup", "keypress"]) root.addEventListener(kind, (event) => event.stopPropagation());
    this.viewKey = JSON.stringify(this.store.view.columns || null);
    this.changed("rows");
  }

  /** What the parts may ask of each other. */
  offers() {
    const view = this;
    return {
      store: this.store, root: this.root,
      select: (id, event) => view.table.select(id, event),
      selection: () => view.toolbar?.showSelection(view.table.selected.size),
      seen: () => view.seen(),
      details: (id, tab = "details") => view.drawer.show(tab, id),
      rename: (id) => view.table.rename(id),
      act: (verb, ids) => view.act(verb, ids),
      menu: (id, anchor) => view.menu(id, anchor),
      popup: (...more) => view.popup(...more),
      open: (id) => view.open(id),
      launch: () => openLaunch(view.context),
      orphans: (orphans) => showOrphans(view.context, orphans),
      say: (words, wrong) => view.say(words, wrong),
      get table() { return view.table; },
      manager: () => view.model.widget_manager,
    };
  }

  close() {
    clearInterval(this.clock);
    clearTimeout(this.saying);
    clearTimeout(this.seeing);
    document.removeEventListener("visibilitychange", this.onvisible);
    window.removeEventListener("pagehide", this.onvisible);
    this.watcher.disconnect();
    this.drawer.close();
    this.closePopup?.();
    this.store.look(this, null);
    this.unlisten();
    this.model.off("change:view", this.onview);
    this.table.close();
    this.root.replaceChildren();
  }

  // -- what changes ------------------------------------------------------------------------------

  changed(what, ids = null) {
    if (what === "rows") {
      this.table.update(ids);
      this.drawer.draw(ids);
      this.showSummary();
      this.toolbar.showSelection(this.table.selected.size);
    } else if (what === "figures") this.table.update(ids);
    else if (what === "head") this.head?.draw();
    else if (what === "events") {
      this.drawer.draw();
      const last = ids?.at?.(-1);
      if (last) this.live.textContent = `${last.name || last.id}: ${last.text}`;
    } else if (what === "text") this.drawer.draw(ids);
    if (what === "busy") {
      this.busy.textContent = this.store.waiting > 0 ? "The kernel runs a cell: what you asked for is done when it ends." : "";
    }
    const lasting = this.store.gone || (this.list && this.store.problem);
    if (this.list || lasting) {
      clearTimeout(this.saying);
      this.problem.classList.remove("ob-fine");
      this.problem.hidden = !lasting;
      if (this.problem.textContent !== lasting) this.problem.textContent = lasting || "";
    }
    this.head?.draw();
  }

  viewChanged() {
    const columns = JSON.stringify(this.store.view.columns || null);
    if (columns !== this.viewKey) {
      this.viewKey = columns;
      this.table.rebuild();
    } else {
      this.table.heading();
      this.table.arrange();
    }
    this.toolbar.draw();
    this.head?.draw();
    this.showSummary();
  }

  showSummary() {
    const all = this.store.rows.size, shown = this.table.wanted().length;
    this.summary.textContent = shown === all ? `${all} instance${all === 1 ? "" : "s"}` : `${shown} of ${all} instances shown`;
  }

  say(words, wrong = false) {
    this.problem.hidden = false;
    this.problem.textContent = words;
    this.problem.classList.toggle("ob-fine", !wrong);
    clearTimeout(this.saying);
    this.saying = setTimeout(() => { this.problem.hidden = true; }, 8000);
  }

  /** Tell the kernel which rows are on the screen: only of those figures are read. */
  seen() {
    clearTimeout(this.seeing);
    this.seeing = setTimeout(() => {
      if (!this.root.isConnected) return;
      const on = !document.hidden && this.onScreen;
      this.store.look(this, on ? [...this.table.visible] : null);
    }, 150);
  }

  toggleActivity() {
    if (this.drawer.tab === "activity") this.drawer.hide();
    else this.drawer.show("activity", null);
  }

  // -- what is asked for ---------------------------------------------------------------------------

  async act(verb, ids) {
    const able = ids.filter((id) => this.store.rows.has(id) && possible(this.store.rows.get(id)).includes(verb));
    if (!able.length) return;
    if (verb === "terminate" && !(await confirmTerminate(this.context, able))) return;
    await this.store.change(verb, able);
  }

  async open(id) {
    // Opened at once: a browser blocks windows that open long after the click.
    const there = window.open("", "_blank");
    const url = await this.store.about(id, "open");
    if (!url) there?.close();
    else if (there) {
      there.opener = null;
      there.location = url;
    } else this.follow(url, this.store.rows.get(id)?.name || id);
  }

  /** Open a page where windows can't be opened, as in VS Code, which follows links that are clicked: click one, and leave it. */
  follow(url, name) {
    this.say(`If ${name} was not opened:`);
    const there = link(url, "open it");
    this.problem.append(" ", there);
    there.click();
  }

  async again(id) {
    const form = await this.store.about(id, "like");
    if (form) openLaunch(this.context, form, "Launch with the same settings");
  }

  menu(id, anchor) {
    const row = this.store.rows.get(id);
    const able = possible(row);
    const inside = able.includes("inside");
    const notebook = row.kind === "notebook";
    const copies = row.container && (row.state === "running" || row.state === "InService");
    const items = [
      ["Details", "logs", () => this.drawer.show("details", id), true],
      ["Logs", "logs", () => this.drawer.show("logs", id), row.backed && row.container],
      ["Console", "logs", () => this.drawer.show("console", id), !notebook],
      ["Shell", "shell", () => this.drawer.show("shell", id), inside || (notebook && copies)],
      [sshPort(row) ? "Copy the SSH command" : "Copy the shell command", "copy", () => copyText(shellCommand(row, this.store)), copies],
      ["Open a port…", "open", () => askPort(this.context, row), inside],
      ["Rename", "edit", () => this.table.rename(id), !notebook && row.state !== "terminated"],
      ["Run again…", "plus", () => this.again(id), !notebook],
      null,
      ["Start", "start", () => this.act("start", [id]), able.includes("start")],
      ["Stop", "stop", () => this.act("stop", [id]), able.includes("stop")],
      ["Reboot", "reboot", () => this.act("reboot", [id]), able.includes("reboot")],
      ["Terminate…", "terminate", () => this.act("terminate", [id]), able.includes("terminate")],
    ];
    const nodes = items.map((item) => item === null ? h("hr", {})
      : button(item[0], () => { this.closePopup(); item[2](); }, { symbol: item[1], kind: "ob-menu-item", role: "menuitem", disabled: !item[3] }));
    this.popup(anchor, nodes, "menu", `Actions for ${row.name || row.id}`);
  }

  /** A small list below a button; arrows walk in it, Escape and a click elsewhere close it. */
  popup(anchor, nodes, role, label) {
    const again = this.popupAnchor === anchor;
    this.closePopup?.();
    if (again) return;
    const box = h("div", { class: "ob-popup", role, "aria-label": label, popover: "manual" }, nodes);
    this.root.append(box);
    box.showPopover?.(); // in the top layer: an output area cuts off what hangs out of it
    const at = anchor.getBoundingClientRect();
    const above = at.bottom + box.offsetHeight + 4 > window.innerHeight && at.top > box.offsetHeight;
    box.style.top = `${above ? at.top - box.offsetHeight - 3 : at.bottom + 3}px`;
    box.style.left = `${Math.max(4, at.right - box.offsetWidth)}px`;
    const outside = (event) => { if (!box.contains(event.target) && !anchor.contains(event.target)) this.closePopup(); };
    const scrolled = (event) => { if (!box.contains(event.target)) this.closePopup(); };
    document.addEventListener("pointerdown", outside, true);
    document.addEventListener("scroll", scrolled, true);
    anchor.setAttribute("aria-expanded", "true");
    this.popupAnchor = anchor;
    this.closePopup = () => {
      document.removeEventListener("pointerdown", outside, true);
      document.removeEventListener("scroll", scrolled, true);
      anchor.setAttribute("aria-expanded", "false");
      const held = box.contains(document.activeElement);
      box.remove();
      this.popupAnchor = null;
      this.closePopup = () => {};
      if (held && anchor.isConnected) anchor.focus({ preventScroll: true });
    };
    const stops = () => [...box.querySelectorAll("button:not(:disabled), input:not(:disabled)")];
    box.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") this.closePopup();
      else if (step) {
        const all = stops();
        all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    stops()[0]?.focus();
  }
}

export default {
  initialize({ model }) {
    const store = new Store(model);
    const key = model.get("key");
    stores.set(key, store);
    return () => {
      stores.delete(key);
      store.close();
    };
  },
  render({ model, el }) {
    const view = new PanelView(model, el);
    return () => view.close();
  },
};
