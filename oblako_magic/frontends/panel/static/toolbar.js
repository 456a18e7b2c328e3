// Above the table: search, columns, launch; and, with something selected, what can be done to it.

import { button, h, icon } from "./dom.js";
import { COLUMNS, chosenColumns } from "./columns.js";

const VERBS = [["start", "Start"], ["stop", "Stop"], ["reboot", "Reboot"], ["terminate", "Terminate…"]];

export class Toolbar {
  constructor(context, list) {
    this.context = context;
    this.store = context.store;
    this.search = h("input", {
      type: "search", class: "ob-input", placeholder: "Search: text, tag:Env=dev, type:t3", "aria-label": "Search instances",
      oninput: () => this.store.choose({ filter: this.search.value }),
    });
    this.search.value = this.store.view.filter || "";
    this.over = h("input", { type: "checkbox", onchange: () => this.store.choose({ over: this.over.checked }) });
    this.over.checked = Boolean(this.store.view.over);
    this.columns = button("Columns", () => this.chooseColumns(), { symbol: "columns", "aria-haspopup": "menu", "aria-expanded": "false" });
    this.launch = list ? null : button("Launch", () => context.launch(), { symbol: "plus", kind: "ob-primary", "aria-haspopup": "dialog" });
    this.verbs = new Map(VERBS.map(([verb, label]) => [verb, button(label, () => context.act(verb, this.able(verb)), { symbol: verb, "data-verb": verb })]));
    this.words = h("span", { class: "ob-count", "aria-live": "polite" });
    this.chosen = h("div", { class: "ob-chosen", role: "toolbar", "aria-label": "Selected instances", hidden: true },
      this.words, ...this.verbs.values(), button("Clear", () => context.table.selectAll(false), { kind: "ob-quiet-text" }));
    this.node = h("div", { class: "ob-toolbar" },
      h("div", { class: "ob-find" }, icon("search"), this.search), h("span", { class: "ob-gap" }),
      h("label", { class: "ob-label" }, this.over, "terminated"), this.columns, this.launch);
  }

  able(verb) {
    return this.context.table.able(verb);
  }

  draw() {
    const { view } = this.store;
    if (document.activeElement !== this.search && this.search.value !== (view.filter || "")) this.search.value = view.filter || "";
    this.over.checked = Boolean(view.over);
  }

  showSelection(count) {
    this.chosen.hidden = count === 0;
    if (!count) return;
    this.words.textContent = `${count} selected`;
    for (const [verb, node] of this.verbs) node.disabled = this.able(verb).length === 0;
  }

  chooseColumns() {
    const shown = new Set(chosenColumns(this.store.view).map((column) => column.id));
    const boxes = COLUMNS.map((column) => {
      const box = h("input", {
        type: "checkbox", disabled: column.id === "name",
        onchange: () => {
          if (box.checked) shown.add(column.id);
          else shown.delete(column.id);
          this.store.choose({ columns: COLUMNS.map((one) => one.id).filter((id) => shown.has(id)) });
        },
      });
      box.checked = shown.has(column.id);
      return h("label", { class: "ob-menu-item" }, box, column.title);
    });
    this.context.popup(this.columns, boxes, "group", "Columns");
  }
}
