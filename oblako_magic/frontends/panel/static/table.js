// The table: which rows, in which order, which are selected; and its keyboard.

import { button, h } from "./dom.js";
import { isOver } from "./store.js";
import { chosenColumns, matches } from "./columns.js";
import { RowView, possible } from "./rows.js";

const OVER_FOR = 45_000; // milliseconds that a terminated instance is still shown
const ALL = 60; // rows that all have elements; of more only those near the screen
const ROW = 37; // pixels of a row, with its border
const MORE = 8; // rows above and below the screen that are ready

export class Table {
  constructor(context) {
    this.context = context;
    this.store = context.store;
    this.views = new Map();
    this.selected = new Set();
    this.current = null; // the row that the keyboard is at
    this.visible = new Set();
    this.headRow = h("tr");
    this.body = h("tbody");
    this.empty = h("div", { class: "ob-empty" });
    this.table = h("table", { class: "oblako-instances ob-table", "aria-label": "Instances" },
      h("thead", {}, this.headRow), this.body);
    const spacer = () => h("tr", { class: "ob-spacer", "aria-hidden": "true", hidden: true }, h("td", {}));
    this.above = spacer();
    this.below = spacer();
    this.body.append(this.above, this.below);
    this.node = h("div", { class: "ob-scroll", tabindex: "-1", onscroll: () => this.scrolled() }, this.table, this.empty);
    this.observer = new IntersectionObserver((entries) => this.seen(entries), { root: this.node, rootMargin: "40px" });
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("focusin", (event) => this.focused(event));
    this.dirty = new Set();
    this.rebuild();
  }

  close() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    cancelAnimationFrame(this.scrolling);
  }

  /** All rows anew: other columns. */
  rebuild() {
    this.columns = chosenColumns(this.store.view);
    for (const view of this.views.values()) {
      this.observer.unobserve(view.node);
      view.remove();
    }
    this.views.clear();
    this.heading();
    this.arrange();
  }

  heading() {
    const { sort = "", down = false } = this.store.view;
    this.all = h("input", {
      type: "checkbox", "aria-label": "Select all that are shown",
      onchange: () => this.selectAll(this.all.checked),
    });
    const headers = this.columns.map((column) => {
      const on = column.id === sort;
      return h("th", { scope: "col", "aria-sort": on ? (down ? "descending" : "ascending") : null },
        button(column.title, () => this.store.choose({ sort: column.id, down: on ? !down : false }),
          { kind: `ob-sort ${on ? "ob-sorted" : ""} ${on && down ? "ob-down" : ""}` }));
    });
    this.headRow.replaceChildren(h("th", { scope: "col", class: "ob-check" }, this.all), ...headers,
      h("th", { scope: "col", class: "ob-actions" }, h("span", { class: "ob-offscreen" }, "Actions")));
  }

  /** Soon, once for all changes of a frame. */
  update(ids = null) {
    if (ids === null) this.everything = true;
    else for (const id of ids) this.dirty.add(id);
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
    // A page in the background draws no frames; what it shows is brought up to date all the same.
    if (document.hidden) this.draw();
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    for (const id of this.everything ? this.views.keys() : this.dirty) {
      const row = this.store.rows.get(id);
      if (row) this.views.get(id)?.update(row);
    }
    this.everything = false;
    this.dirty.clear();
    this.arrange();
  }

  /** Which rows are wanted: the filter's, without those that are long over. */
  wanted() {
    const { filter = "", state = "", over = false } = this.store.view;
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    const now = Date.now();
    const rows = [];
    for (const row of this.store.rows.values()) {
      if (!over && state !== row.state && isOver(row) && now - (this.store.ended.get(row.id) ?? 0) > OVER_FOR) continue;
      if (state && row.state !== state) continue;
      if (words.length && !matches(row, words)) continue;
      rows.push(row);
    }
    return rows;
  }

  arrange() {
    const { sort = "", down = false } = this.store.view;
    const column = this.columns.find((one) => one.id === sort);
    const rows = this.wanted();
    // Newest first as long as nothing else is asked for: what was just launched is at the top.
    const key = column ? (row) => column.sort(row, this.store) : (row) => -row.launched;
    const keyed = rows.map((row) => [key(row), row]);
    keyed.sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x.id < y.id ? -1 : 1) * (column && down ? -1 : 1));
    this.order = keyed.map(([, row]) => row.id);
    const wanted = new Set(this.order);
    for (const id of [...this.selected]) if (!wanted.has(id) || isOver(this.store.rows.get(id))) this.selected.delete(id);
    if (!wanted.has(this.current)) this.current = this.order[0] ?? null;
    this.table.setAttribute("aria-rowcount", String(this.order.length + 1));
    this.place();
    this.showSelection();
    this.showEmpty();
  }

  /** The part of the order that has elements: all of it, or of a long table what is near the screen. */
  near() {
    if (this.order.length <= ALL) return [0, this.order.length];
    const first = Math.floor(this.node.scrollTop / ROW) - MORE;
    const count = Math.ceil((this.node.clientHeight || 420) / ROW) + 2 * MORE;
    const from = Math.max(0, Math.min(first, this.order.length - count));
    return [from, Math.min(this.order.length, from + count)];
  }

  /** Give the rows that are near their elements and their order; move only those that stand elsewhere. */
  place() {
    const [from, to] = this.near();
    const ids = this.order.slice(from, to);
    const near = new Set(ids);
    for (const [id, view] of this.views) {
      if (near.has(id)) continue;
      if (view.node.contains(document.activeElement)) this.node.focus({ preventScroll: true });
      this.observer.unobserve(view.node);
      this.visible.delete(id);
      view.remove();
      this.views.delete(id);
    }
    this.above.firstChild.style.height = `${from * ROW}px`;
    this.below.firstChild.style.height = `${(this.order.length - to) * ROW}px`;
    this.above.hidden = from === 0;
    this.below.hidden = to === this.order.length;
    let next = this.above.nextSibling;
    ids.forEach((id, index) => {
      let view = this.views.get(id);
      if (!view) {
        view = new RowView(this.store.rows.get(id), this.columns, this.context);
        view.selected = this.selected.has(id);
        this.views.set(id, view);
        this.observer.observe(view.node);
      }
      view.place(from + index, id === this.current || (index === 0 && !near.has(this.current)));
      if (next === view.node) next = next.nextSibling;
      else this.body.insertBefore(view.node, next);
      if (!view.note) return;
      if (next === view.note) next = next.nextSibling;
      else this.body.insertBefore(view.note, next);
    });
  }

  scrolled() {
    if (this.order.length > ALL && !this.scrolling) {
      this.scrolling = requestAnimationFrame(() => {
        this.scrolling = 0;
        this.place();
      });
    }
  }

  /** Go to a row by its place in the order, whether it has elements yet or not. */
  goTo(at) {
    const index = Math.max(0, Math.min(this.order.length - 1, at));
    this.current = this.order[index];
    if (!this.views.has(this.current)) {
      this.node.scrollTop = index * ROW - this.node.clientHeight / 2;
      this.place();
    }
    this.views.get(this.current)?.node.focus();
  }

  showEmpty() {
    const any = this.order.length > 0;
    this.table.hidden = !any;
    this.empty.hidden = any;
    if (any) return;
    const hidden = this.store.rows.size;
    this.empty.textContent = !this.store.heard ? "Looking for the control plane…"
      : this.store.view.filter || this.store.view.state ? "No instance matches."
        : hidden ? "No instance runs; the terminated ones are hidden." : "No instances yet: Launch makes the first one.";
  }

  // -- what is on the screen --------------------------------------------------------------------

  seen(entries) {
    for (const entry of entries) {
      const id = entry.target.dataset.id;
      if (entry.isIntersecting) this.visible.add(id);
      else this.visible.delete(id);
    }
    this.context.seen();
  }

  // -- selection --------------------------------------------------------------------------------

  select(id, event) {
    const on = event.target ? event.target.checked : !this.selected.has(id);
    const from = this.order.indexOf(this.anchor), to = this.order.indexOf(id);
    if (event.shiftKey && from >= 0) {
      for (const between of this.order.slice(Math.min(from, to), Math.max(from, to) + 1)) this.mark(between, on);
    } else {
      this.mark(id, on);
    }
    this.anchor = id;
    this.showSelection();
  }

  mark(id, on) {
    if (on) this.selected.add(id);
    else this.selected.delete(id);
  }

  selectAll(on) {
    for (const id of this.order) this.mark(id, on);
    this.showSelection();
  }

  showSelection() {
    for (const [id, view] of this.views) if (view.box.checked !== this.selected.has(id)) view.selected = this.selected.has(id);
    const count = this.selected.size;
    this.all.checked = count > 0 && count === this.order.length;
    this.all.indeterminate = count > 0 && count < this.order.length;
    this.context.selection();
  }

  // -- keyboard ---------------------------------------------------------------------------------

  focused(event) {
    const id = event.target.closest("tr")?.dataset.id;
    if (!id || id === this.current) return;
    const before = this.views.get(this.current);
    if (before) before.node.tabIndex = -1;
    this.current = id;
    this.views.get(id).node.tabIndex = 0;
  }

  key(event) {
    const id = event.target.closest("tr")?.dataset.id;
    if (!id || event.target.matches("input.ob-renaming")) return;
    const at = this.order.indexOf(id);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: this.order.length - 1 }[event.key];
    const onRow = event.target === this.views.get(id)?.node;
    if (to !== undefined) {
      this.goTo(to);
    } else if (onRow && event.key === " ") this.select(id, { shiftKey: event.shiftKey });
    else if (onRow && event.key === "Enter") this.context.details(id);
    else if (event.key === "F2") this.context.rename(id);
    else if (event.key === "Delete") this.context.act("terminate", this.selected.has(id) ? [...this.selected] : [id]);
    else if (event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) {
      this.context.menu(id, this.views.get(id).actions.lastChild);
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) this.selectAll(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Edit the name where it stands. */
  rename(id) {
    const view = this.views.get(id);
    const row = this.store.rows.get(id);
    const cell = view?.cells.get("name");
    if (!cell || row.kind !== "instance" || isOver(row)) return;
    const field = h("input", {
      type: "text", class: "ob-input ob-renaming", value: row.name, maxlength: "255", "aria-label": `Name of ${row.id}`,
    });
    let over = false;
    const end = (keep) => {
      if (over) return;
      over = true;
      const name = field.value.trim();
      const focused = document.activeElement === field;
      field.remove();
      view.keys.delete("name");
      view.update(this.store.rows.get(id) || row);
      if (focused) view.node.focus();
      if (keep && name !== row.name) this.store.about(id, "rename", { name });
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") end(true);
      else if (event.key === "Escape") end(false);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    field.addEventListener("blur", () => end(true));
    cell.replaceChildren(field);
    field.focus();
    field.select();
  }

  /** Of the selected ones those of which something can be asked. */
  able(verb) {
    return [...this.selected].filter((id) => possible(this.store.rows.get(id)).includes(verb));
  }
}
