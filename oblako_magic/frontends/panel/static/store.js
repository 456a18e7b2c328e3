// What the browser knows: rows, figures, head, events; and the way to the kernel. One for a model, shared by its views.

import { HISTORY } from "./dom.js";

const BUSY_AFTER = 700; // milliseconds without a word from the kernel: a cell is running
// Milliseconds after which what the kernel has not heard is sent once more: what goes out while the connection is
// made anew is lost. A running cell keeps the kernel from hearing as well; what it gets twice then, it does once.
const ONCE_MORE = [1500, 2500, 5000, 10_000];

export class Store {
  constructor(model) {
    this.model = model;
    this.rows = new Map();
    this.figures = new Map(); // id -> {cpu, memory, limit, history}
    this.ended = new Map(); // id -> when it was seen to terminate here
    this.notes = new Map(); // id -> the sentence that went wrong, shown at the row
    this.asked = new Map(); // id -> what was asked for and has not been answered
    this.head = {};
    this.events = [];
    this.texts = new Map(); // "id what" -> {text, end}
    this.problem = "";
    this.heard = false;
    this.waiting = 0; // requests that the kernel has not even heard
    this.number = -1;
    this.gone = ""; // why nothing can be sent any more
    this.listeners = new Set();
    this.replies = new Map();
    this.requests = 0;
    // Of this page alone: another page on the same panel, or this one before a reload, counts from 1 as well.
    this.name = Array.from(crypto.getRandomValues(new Uint32Array(2)), (part) => part.toString(16)).join("");
    this.assured = new Map(); // kind -> what the kernel has not heard yet, the last of its kind alone
    this.views = 0;
    this.looking = new Map(); // view -> ids of the rows that it has on the screen
    this.looked = ""; // what the kernel was told of them
    this.onmessage = (message) => this.receive(message);
    model.on("msg:custom", this.onmessage);
    this.takeWhole(model.get("whole") || {}, true);
    this.hello();
  }

  close() {
    this.model.off("msg:custom", this.onmessage);
    for (const waiting of [...this.replies.values(), ...this.assured.values()]) this.heardOf(waiting);
    this.replies.clear();
    this.assured.clear();
    this.listeners.clear();
  }

  // -- views ------------------------------------------------------------------------------------

  listen(listener) {
    this.listeners.add(listener);
    this.views += 1;
    if (this.views === 1 && this.rested) this.hello(true);
    this.rested = false;
    return () => {
      if (!this.listeners.delete(listener)) return;
      this.views -= 1;
      if (this.views === 0) {
        this.rested = true;
        this.looked = "";
        for (const one of this.assured.values()) this.heardOf(one);
        this.assured.clear(); // an old hello must not wake it again
        this.send({ kind: "unseen" });
      }
    };
  }

  tell(what, ids = null) {
    for (const listener of this.listeners) listener(what, ids);
  }

  // -- from the kernel --------------------------------------------------------------------------

  receive(message) {
    const told = message.kind === "head" || message.kind === "figures";
    if (told && this.number >= 0 && message.number > this.number) this.hello(true); // rows were lost on the way
    if (message.kind === "rows") this.takeRows(message);
    else if (message.kind === "whole") this.takeWhole(message, false);
    else if (message.kind === "figures") this.takeFigures(message.figures);
    else if (message.kind === "head") {
      this.head = message.head;
      this.tell("head");
    } else if (message.kind === "text") this.takeText(message);
    else if (message.kind === "heard") this.takeHeard(message.request);
    else if (message.kind === "reply") this.takeReply(message);
  }

  takeWhole(whole, first) {
    if (whole.number === undefined) return;
    this.number = whole.number;
    this.heard = whole.heard;
    this.problem = whole.problem;
    this.events = whole.events;
    if (Object.keys(whole.head).length) this.head = whole.head;
    this.rows = new Map(whole.rows.map((row) => [row.id, row]));
    if (first) {
      // What was over before the panel was opened is not news.
      for (const row of this.rows.values()) if (isOver(row)) this.ended.set(row.id, 0);
    }
    this.tell("rows");
    this.tell("head");
    this.tell("events");
  }

  takeRows(message) {
    if (this.number >= 0 && message.number > this.number + 1) this.hello(true); // something was lost on the way
    this.number = Math.max(this.number, message.number);
    this.heard = true;
    const ids = [];
    for (const row of message.changed) {
      const before = this.rows.get(row.id);
      if (isOver(row) && !this.ended.has(row.id)) this.ended.set(row.id, before ? Date.now() : 0);
      if (before && before.state !== row.state) {
        this.asked.delete(row.id);
        this.notes.delete(row.id);
      }
      if (row.state !== "running" && row.state !== "InService") this.figures.delete(row.id);
      this.rows.set(row.id, row);
      ids.push(row.id);
    }
    for (const id of message.gone) {
      for (const known of [this.rows, this.figures, this.ended, this.notes, this.asked]) known.delete(id);
      ids.push(id);
    }
    const trouble = this.problem !== message.problem;
    this.problem = message.problem;
    this.tell("rows", ids);
    if (trouble || ids.length) this.tell("head");
    if (message.events.length) {
      this.events.push(...message.events);
      if (this.events.length > 200) this.events.splice(0, this.events.length - 200);
      this.tell("events", message.events);
    }
  }

  takeFigures(figures) {
    for (const [id, [cpu, memory, limit]] of Object.entries(figures)) {
      const known = this.figures.get(id) || { history: [] };
      known.history.push([cpu, memory]);
      if (known.history.length > HISTORY) known.history.shift();
      this.figures.set(id, { cpu, memory, limit, history: known.history });
    }
    this.tell("figures", Object.keys(figures));
  }

  takeText(message) {
    const key = `${message.id} ${message.what}`;
    const known = this.texts.get(key) || { text: "", end: "" };
    const text = message.whole ? message.text : known.text + message.text;
    this.texts.set(key, { text: text.slice(-2_000_000), end: message.end || "" });
    this.tell("text", [message.id]);
  }

  takeHeard(request) {
    for (const [kind, one] of this.assured) {
      if (one.request !== request) continue;
      this.heardOf(one);
      this.assured.delete(kind);
    }
    const waiting = this.replies.get(request);
    if (!waiting) return;
    this.heardOf(waiting);
    this.unbusy(waiting);
  }

  takeReply(message) {
    const waiting = this.replies.get(message.request);
    if (!waiting) return;
    this.replies.delete(message.request);
    this.heardOf(waiting);
    this.unbusy(waiting);
    if (message.error) waiting.reject(new Error(message.error));
    else waiting.resolve(message.value);
  }

  heardOf(waiting) {
    clearTimeout(waiting.timer);
    clearTimeout(waiting.again);
  }

  unbusy(waiting) {
    if (!waiting.late) return;
    waiting.late = false;
    this.waiting -= 1;
    this.tell("busy");
  }

  // -- to the kernel ----------------------------------------------------------------------------

  /** Send a message; without the kernel that it was made in the panel has nobody to send to, and says so. */
  send(message) {
    if (this.gone) return;
    try {
      this.model.send(message);
    } catch {
      this.gone = "The kernel that showed this panel has ended: run its cell again.";
      this.tell("gone");
    }
  }

  /** Send it, and some times more as long as the kernel has not said that it heard. */
  insist(waiting, content) {
    const request = (waiting.request = `${this.name}-${(this.requests += 1)}`);
    let time = 0;
    const send = () => {
      this.send({ ...content, request });
      if (this.gone) waiting.reject?.(new Error(this.gone));
      else if (time < ONCE_MORE.length) waiting.again = setTimeout(send, ONCE_MORE[time++]);
    };
    send();
    return waiting;
  }

  /** What has no answer, and of which only the last of its kind counts. */
  assure(kind, fields) {
    const before = this.assured.get(kind);
    if (before) this.heardOf(before);
    this.assured.set(kind, this.insist({}, { kind, ...fields }));
  }

  hello(again = false) {
    this.assure("hello", { number: this.number, again });
  }

  /** Which rows a view has on the screen; null: it has none. The kernel is told of those of all views together. */
  look(view, ids) {
    if (ids === null) this.looking.delete(view);
    else this.looking.set(view, ids);
    const all = this.looking.size ? [...new Set([...this.looking.values()].flat())].sort() : null;
    const key = JSON.stringify(all);
    if (key === this.looked) return;
    this.looked = key;
    this.assure("visible", { ids: all });
  }

  /** Ask the kernel; the promise ends with its answer, however long a running cell keeps it from hearing. */
  request(kind, fields = {}) {
    return new Promise((resolve, reject) => {
      const waiting = this.insist({ resolve, reject, late: false }, { kind, ...fields });
      if (this.gone) return;
      waiting.timer = setTimeout(() => {
        waiting.late = true;
        this.waiting += 1;
        this.tell("busy");
      }, BUSY_AFTER);
      this.replies.set(waiting.request, waiting);
    });
  }

  /** Start, stop, reboot or terminate; what goes wrong is shown at the rows. */
  async change(action, ids) {
    for (const id of ids) {
      this.asked.set(id, action);
      this.notes.delete(id);
    }
    this.tell("rows", ids);
    let errors = {};
    try {
      ({ errors } = await this.request("change", { action, ids }));
    } catch (error) {
      errors = Object.fromEntries(ids.map((id) => [id, error.message]));
    }
    for (const id of ids) {
      this.asked.delete(id);
      if (errors[id]) this.notes.set(id, errors[id]);
    }
    this.tell("rows", ids);
  }

  /** Do something about a row, and show at the row what goes wrong. */
  async about(id, kind, fields = {}) {
    this.notes.delete(id);
    try {
      return await this.request(kind, { id, ...fields });
    } catch (error) {
      this.notes.set(id, error.message);
      this.tell("rows", [id]);
      return undefined;
    }
  }

  // -- what the browser has chosen ----------------------------------------------------------------

  get view() {
    return this.model.get("view") || {};
  }

  choose(values) {
    this.model.set("view", { ...this.view, ...values });
    this.model.save_changes();
  }
}

export function isOver(row) {
  return row.state === "terminated" || row.state === "Deleted";
}
