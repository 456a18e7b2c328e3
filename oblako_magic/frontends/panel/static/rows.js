// One row of the table: its elements are made once and brought up to date, cell by cell.

import { button, h } from "./dom.js";

export class RowView {
  constructor(row, columns, context) {
    this.context = context;
    this.id = row.id;
    this.box = h("input", { type: "checkbox", onclick: (event) => context.select(this.id, event) });
    this.cells = new Map(columns.map((column) => [column.id, h("td", { class: `ob-cell-${column.id}` })]));
    this.actions = h("td", { class: "ob-actions" });
    this.node = h("tr", { "data-id": row.id, tabindex: "-1" },
      h("td", { class: "ob-check" }, this.box), ...this.cells.values(), this.actions);
    this.node.addEventListener("dblclick", (event) => {
      if (!event.target.closest("button, a, input")) context.details(this.id);
    });
    this.note = null;
    this.columns = columns;
    this.keys = new Map();
    this.update(row);
  }

  update(row) {
    const { store } = this.context;
    this.row = row;
    const label = row.name || row.id;
    this.node.classList.toggle("ob-row-over", row.state === "terminated" || row.state === "Deleted");
    this.box.setAttribute("aria-label", `Select ${label}`);
    const asked = store.asked.get(row.id) || "";
    for (const column of this.columns) {
      const cell = this.cells.get(column.id);
      if (column.draw) {
        column.draw(cell, row, this.context);
      } else {
        this.refresh(column.id, JSON.stringify([cellKey(column.id, row), column.id === "state" ? asked : ""]), cell,
          () => column.cells(row, this.context));
      }
    }
    const able = possible(row);
    this.refresh("actions", JSON.stringify([able, asked, label]), this.actions, () => this.buttons(row, able, asked));
    this.sayNote(store.notes.get(row.id) || "", row.remark);
  }

  /** Make a cell's content anew where its key is another one, and not while something in it is being edited. */
  refresh(name, key, cell, make) {
    if (this.keys.get(name) === key || cell.querySelector("input.ob-renaming")) return;
    const held = cell.contains(document.activeElement) ? document.activeElement.dataset.does || "first" : null;
    this.keys.set(name, key);
    cell.replaceChildren(...make().filter(Boolean));
    if (held === null) return;
    // The focus stays in the row that the user is at, though its buttons are others now.
    const again = cell.querySelector(`[data-does="${held}"]:not(:disabled)`) || (held === "first" && cell.querySelector("button"));
    (again || this.node).focus({ preventScroll: true });
  }

  buttons(row, able, asked) {
    const { context } = this;
    const label = row.name || row.id;
    const act = (verb) => (event) => { event.stopPropagation(); context.act(verb, [row.id]); };
    const first = able.includes("start") ? "start" : "stop";
    return [
      row.kind === "notebook" && button(`Open ${label}`, () => context.open(row.id),
        { symbol: "open", quiet: true, kind: "ob-quiet", disabled: row.state !== "InService", "data-does": "open" }),
      button(`${first === "start" ? "Start" : "Stop"} ${label}`, act(first),
        { symbol: first, quiet: true, kind: "ob-quiet", disabled: !able.includes(first) || Boolean(asked), "data-does": first }),
      button(`More for ${label}`, (event) => { event.stopPropagation(); context.menu(row.id, event.currentTarget); },
        { symbol: "more", quiet: true, kind: "ob-quiet", "aria-haspopup": "menu", "data-does": "more" }),
    ];
  }

  /** The line below the row: what went wrong, in one sentence. */
  sayNote(error, remark) {
    const words = error || remark;
    if (!words) {
      this.note?.remove();
      this.note = null;
      this.noted = "";
      return;
    }
    if (this.noted === words) return;
    this.noted = words;
    const dismiss = error && button("Dismiss", () => {
      this.context.store.notes.delete(this.id);
      this.sayNote("", this.row.remark);
    }, { symbol: "close", quiet: true, kind: "ob-quiet" });
    const line = h("td", { colspan: String(this.columns.length + 2) },
      h("div", { class: "ob-note-text", role: error ? "alert" : null }, words, dismiss));
    const note = h("tr", { class: error ? "ob-note ob-wrong" : "ob-note", "data-note": this.id }, line);
    if (this.note) this.note.replaceWith(note);
    else if (this.node.parentNode) this.node.after(note);
    this.note = note;
  }

  /** Say where in the table it stands, and whether the Tab key stops at it. */
  place(index, current) {
    this.node.setAttribute("aria-rowindex", String(index + 2));
    this.node.tabIndex = current ? 0 : -1;
  }

  set selected(on) {
    this.box.checked = on;
    this.node.classList.toggle("ob-selected", on);
    this.node.setAttribute("aria-selected", String(on));
  }

  remove() {
    this.node.remove();
    this.note?.remove();
  }
}

function cellKey(id, row) {
  if (id === "state") return [row.state, row.backed, row.impaired, row.progress, row.rebooting];
  if (id === "name") return [row.name, row.state === "terminated", row.backed];
  if (id === "id") return [row.id, row.machine];
  if (id === "health") return [row.impaired, row.state, row.backed];
  if (id === "ports") return [row.ports, row.name];
  return row[id];
}

/** What can be asked of a row in its state. */
export function possible(row) {
  const simulated = !row.backed;
  if (row.kind === "notebook") {
    return { InService: ["stop", "terminate"], Stopped: ["start", "terminate"], Failed: ["start", "terminate"] }[row.state] || [];
  }
  return {
    running: simulated ? ["stop", "reboot", "terminate"] : ["stop", "reboot", "terminate", "inside"],
    pending: ["terminate"], stopping: ["terminate"], stopped: ["start", "terminate"],
  }[row.state] || [];
}
