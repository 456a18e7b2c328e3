// Questions: what will be lost, which port, which orphans. A dialog keeps the focus, and Escape leaves it.

import { button, copyButton, h } from "./dom.js";

/** Open a modal dialog; the promise ends with its close: the value of the button, or "". */
export function openDialog(root, title, content, buttons, { wide = false } = {}) {
  const dialog = h("dialog", { class: `ob-dialog ${wide ? "ob-wide" : ""}`, "data-lm-suppress-shortcuts": "true" });
  const heading = h("h2", { id: `ob-title-${Math.random().toString(36).slice(2)}` }, title);
  dialog.setAttribute("aria-labelledby", heading.id);
  dialog.append(h("form", { method: "dialog", novalidate: true, onsubmit: (event) => event.preventDefault() },
    heading, ...[content].flat(), h("div", { class: "ob-dialog-buttons" }, ...buttons(dialog))));
  for (const kind of ["keydown", "keyup", "keypress", "contextmenu"]) dialog.addEventListener(kind, (event) => event.stopPropagation());
  root.append(dialog);
  const before = document.activeElement;
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus({ preventScroll: true });
      resolve(dialog.returnValue);
    });
  });
}

export function cancelButton(dialog, label = "Cancel") {
  return button(label, () => dialog.close(""));
}

/** Ask before instances are terminated, and name what goes with them. */
export async function confirmTerminate(context, ids) {
  const { store } = context;
  const list = h("ul", { class: "ob-losses" }, h("li", { class: "ob-faint" }, "looking what they hold…"));
  const many = ids.length > 1;
  const rows = ids.map((id) => store.rows.get(id)).filter(Boolean);
  const names = rows.map((row) => row.name || row.id);
  store.request("lost", { ids }).then(
    (lines) => list.replaceChildren(...lines.map((line) => h("li", {}, line))),
    // The question can be answered without it: the names are in the title.
    () => list.replaceChildren(...names.map((name) => h("li", {}, `${name}: its container and its volumes with their data`))),
  );
  const title = many ? `Terminate ${ids.length} instances?` : `Terminate ${names[0]}?`;
  const answer = await openDialog(context.root, title,
    [h("p", {}, "This can't be undone. What will be lost:"), list], (dialog) => [
      cancelButton(dialog, many ? "Keep them" : "Keep it"),
      button(many ? `Terminate ${ids.length} instances` : "Terminate", () => dialog.close("yes"), { kind: "ob-danger", "data-answer": "yes" }),
    ]);
  return answer === "yes";
}

export async function askPort(context, row) {
  const field = h("input", { type: "text", class: "ob-input", inputmode: "numeric", placeholder: "8080 or 9000:8080", "aria-label": "Port", autofocus: true });
  const wrong = h("p", { class: "ob-bad", role: "alert" });
  const go = async (dialog) => {
    if (!/^(\d{1,5}:)?\d{1,5}$/.test(field.value.trim())) {
      wrong.textContent = `${field.value.trim() || "Nothing"} is not a port; give PORT or HOST_PORT:PORT.`;
      return;
    }
    try {
      await context.store.request("publish", { id: row.id, port: field.value.trim() });
      dialog.close("");
    } catch (error) {
      wrong.textContent = error.message;
    }
  };
  await openDialog(context.root, `Open a port of ${row.name || row.id}`,
    [h("p", {}, "A TCP port of the instance, reachable on this machine at 127.0.0.1."), field, wrong], (dialog) => {
      field.addEventListener("keydown", (event) => { if (event.key === "Enter") go(dialog); });
      return [cancelButton(dialog), button("Open the port", () => go(dialog), { kind: "ob-primary" })];
    });
}

export async function showOrphans(context, orphans) {
  const wrong = h("p", { class: "ob-bad", role: "alert" });
  const items = orphans.map((orphan) => {
    const item = h("li", {});
    const act = (action) => async () => {
      wrong.textContent = "";
      try {
        await context.store.request("orphan", { action, what: orphan.kind, name: orphan.name });
        item.replaceChildren(`${orphan.name}: ${action === "adopt" ? "adopted" : "removed"}`);
      } catch (error) {
        wrong.textContent = error.message;
      }
    };
    item.append(h("code", {}, orphan.name), ` ${orphan.kind}${orphan.detail ? `, ${orphan.detail}` : ""} `,
      orphan.kind === "container" ? button("Adopt", act("adopt"), { kind: "ob-small" }) : "",
      button("Remove", act("remove"), { kind: "ob-small ob-danger", title: "Deletes it and the data in it" }));
    return item;
  });
  await openDialog(context.root, "Orphans",
    [h("p", {}, "Containers and volumes of this control plane that it has no record of. They are kept until you say."),
      h("ul", { class: "ob-losses" }, items), wrong], (dialog) => [cancelButton(dialog, "Close")]);
}

/** Code with its button. */
export function codeBlock(label, words) {
  const pre = h("pre", { class: "ob-code", tabindex: "0", "aria-label": label }, words);
  return {
    node: h("div", { class: "ob-code-box" }, h("div", { class: "ob-code-head" }, h("span", {}, label), copyButton(() => pre.textContent, `Copy ${label}`)), pre),
    set: (next) => { if (pre.textContent !== next) pre.textContent = next; },
  };
}
