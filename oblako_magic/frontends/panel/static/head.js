// The dashboard above the table: how many in which state, the host, and the health of what is behind it all.

import { bytes, button, h, icon } from "./dom.js";
import { STATES } from "./columns.js";

export class Head {
  constructor(context) {
    this.context = context;
    this.store = context.store;
    this.counts = h("div", { class: "ob-counts", role: "group", "aria-label": "Filter by state" });
    this.host = h("div", { class: "ob-host" });
    this.health = h("div", { class: "ob-health" });
    this.node = h("div", { class: "ob-head" }, this.counts, this.host, this.health);
    this.keys = {};
    this.draw();
  }

  draw() {
    const counts = {};
    for (const row of this.store.rows.values()) counts[row.state] = (counts[row.state] || 0) + 1;
    const { state = "" } = this.store.view;
    this.refresh("counts", [counts, state], () => this.drawCounts(counts, state));
    this.refresh("host", [this.store.head.host], () => this.drawHost(this.store.head.host));
    const { host, ...rest } = this.store.head;
    this.refresh("health", [rest, this.store.problem], () => this.drawHealth());
  }

  refresh(name, values, draw) {
    const key = JSON.stringify(values);
    if (this.keys[name] === key) return;
    this.keys[name] = key;
    draw();
  }

  drawCounts(counts, state) {
    const held = this.counts.contains(document.activeElement) ? document.activeElement.dataset.state : null;
    const order = Object.keys(STATES).filter((name) => counts[name] || name === state || name === "running");
    const chips = order.map((name) => h("button", {
      type: "button", class: `ob-chip ob-${STATES[name]}`, "aria-pressed": String(name === state), "data-state": name,
      onclick: () => this.store.choose({ state: name === state ? "" : name }),
    }, h("span", { class: "ob-dot", "aria-hidden": "true" }), h("strong", {}, String(counts[name] || 0)), ` ${name}`));
    this.counts.replaceChildren(...chips);
    if (held) this.counts.querySelector(`[data-state="${held}"]`)?.focus();
  }

  drawHost(host) {
    if (!host) return this.host.replaceChildren();
    const cpus = `${Math.round(host.cpus)} CPU${host.cpus === 1 ? "" : "s"}`;
    this.host.replaceChildren(
      meter("Host CPU", host.cpu, host.cpu === null ? cpus : `${host.cpu.toFixed(0)} % of ${cpus}`),
      meter("Host memory", host.memory === null ? null : (100 * host.memory) / host.memory_total,
        host.memory === null ? bytes(host.memory_total) : `${bytes(host.memory)} of ${bytes(host.memory_total)}`),
    );
  }

  drawHealth() {
    const { head, problem } = this.store;
    const parts = [];
    if (problem) {
      parts.push(health("bad", "Control plane", problem),
        button("Start it", () => this.start(), { kind: "ob-small" }));
    } else if (head.running === undefined) {
      parts.push(health("moving", "Control plane", "looking"));
    } else {
      parts.push(health(head.running ? "good" : "bad", "Control plane", head.running ? `version ${head.version}, ${head.endpoint}` : head.plane_error));
      const engine = (head.engine || "").replace(/ \(.*\)$/, "");
      parts.push(health(engine ? "good" : "bad", engine || "No engine", head.engine_error || head.engine));
    }
    const orphans = (head.orphans || []).filter((orphan) => !orphan.foreign);
    if (orphans.length) {
      parts.push(button(`${orphans.length} orphan${orphans.length > 1 ? "s" : ""}`, () => this.context.orphans(orphans),
        { kind: "ob-small ob-warn", symbol: "warning", "aria-haspopup": "dialog" }));
    }
    for (const notice of head.notices || []) parts.push(h("span", { class: "ob-notice", title: notice }, icon("warning"), notice));
    this.health.replaceChildren(...parts);
  }

  async start() {
    try {
      await this.store.request("plane");
    } catch (error) {
      this.context.say(error.message, true);
    }
  }
}

function meter(label, percent, words) {
  const bar = percent === null || percent === undefined ? null
    : h("span", { class: "ob-bar", "aria-hidden": "true" }, h("span", { style: `width:${Math.min(100, Math.max(0, percent)).toFixed(0)}%` }));
  return h("div", { class: "ob-meter" }, h("span", { class: "ob-faint" }, label), bar, h("span", {}, words));
}

function health(tone, what, more) {
  return h("span", { class: `ob-well ob-${tone}`, title: more || "" }, h("span", { class: "ob-dot", "aria-hidden": "true" }), what,
    h("span", { class: tone === "bad" ? "ob-why" : "ob-offscreen" }, tone === "bad" ? `: ${more}` : `: ${more || "ok"}`));
}
