// Below the table: one instance's details, its log and its console as they grow, and what happened.

import { button, copyButton, duration, h, link } from "./dom.js";
import { badge } from "./columns.js";

const TABS = [["details", "Details"], ["logs", "Logs"], ["console", "Console"], ["shell", "Shell"], ["activity", "Activity"]];

export class Drawer {
  constructor(context) {
    this.context = context;
    this.store = context.store;
    this.tab = "";
    this.id = null;
    this.content = h("div", { class: "ob-drawer-content", role: "tabpanel", tabindex: "-1" });
    this.title = h("span", { class: "ob-drawer-title" });
    this.tabs = new Map(TABS.map(([tab, label]) => [tab, h("button", {
      type: "button", role: "tab", class: "ob-tab", "aria-selected": "false", onclick: () => this.show(tab, this.id),
    }, label)]));
    this.node = h("section", { class: "ob-drawer", hidden: true, "aria-label": "Details" },
      h("div", { class: "ob-drawer-head" }, h("div", { role: "tablist", class: "ob-tabs" }, ...this.tabs.values()), this.title,
        h("span", { class: "ob-gap" }), button("Close", () => this.hide(), { symbol: "close", quiet: true, kind: "ob-quiet" })),
      this.content);
    this.node.querySelector("[role=tablist]").addEventListener("keydown", (event) => this.key(event));
    this.node.addEventListener("keydown", (event) => {
      // In a shell Escape is the shell's, and Shift with it leads out of the terminal.
      if (event.key === "Escape" && !event.target.closest(".ob-shell")) this.hide();
    });
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const shown = TABS.map(([tab]) => tab).filter((tab) => !this.tabs.get(tab).hidden);
    const next = shown[(shown.indexOf(this.tab) + step + shown.length) % shown.length];
    this.show(next, this.id);
    this.tabs.get(next).focus();
    event.preventDefault();
  }

  show(tab, id) {
    if (this.following && (this.following.id !== id || this.following.what !== tab)) this.unfollow();
    const same = this.tab === tab && this.id === id && !this.node.hidden;
    this.tab = tab;
    this.id = id;
    this.node.hidden = false;
    for (const [name, node] of this.tabs) {
      node.setAttribute("aria-selected", String(name === tab));
      node.tabIndex = name === tab ? 0 : -1;
      node.hidden = !id && name !== "activity";
    }
    this.content.tabIndex = tab === "activity" ? 0 : -1; // the others have something in them that the keyboard reaches
    if (!same && (tab === "logs" || tab === "console")) this.follow(id, tab);
    if (!same && tab === "shell") this.openShell(id);
    else if (!this.node.contains(document.activeElement)) this.tabs.get(tab).focus({ preventScroll: true });
    this.draw();
  }

  hide() {
    this.unfollow();
    this.node.hidden = true;
    this.tab = "";
    this.context.table.views.get(this.id)?.node.focus();
  }

  close() {
    this.unfollow();
  }

  follow(id, what) {
    this.following = { id, what };
    this.store.texts.delete(`${id} ${what}`);
    const find = h("input", { type: "search", class: "ob-input", placeholder: "Search in the text", "aria-label": "Search in the text", oninput: () => this.drawText() });
    this.text = h("pre", { class: "ob-log", tabindex: "0", role: "log", "aria-label": what });
    this.found = h("span", { class: "ob-faint" });
    this.find = find;
    this.content.replaceChildren(h("div", { class: "ob-log-head" }, find, this.found, h("span", { class: "ob-gap" }),
      copyButton(() => this.text.textContent, `Copy the ${what}`)), this.text);
    this.store.request("follow", { id, what, on: true }).catch((error) => {
      this.store.texts.set(`${id} ${what}`, { text: "", end: error.message });
      this.draw();
    });
  }

  /** A shell of its own kind of widget, in the panel's drawer; it ends when another tab is shown. */
  async openShell(id) {
    const following = (this.following = { id, what: "shell" });
    this.text = null;
    this.content.replaceChildren(h("div", { class: "ob-faint" }, "opening a shell…"));
    try {
      const name = await this.store.request("shell", { id });
      if (this.following !== following) return this.endShell(name);
      following.name = name;
      const manager = this.context.manager();
      const view = await manager.create_view(await manager.get_model(name));
      if (this.following !== following) return view.remove();
      following.view = view;
      this.content.replaceChildren(h("div", { class: "ob-shell" }, view.el));
      setTimeout(() => view.el.querySelector("textarea")?.focus({ preventScroll: true }), 100); // once it has been drawn
    } catch (error) {
      if (this.following === following) this.content.replaceChildren(h("div", { class: "ob-bad", role: "alert" }, error.message));
    }
  }

  endShell(name) {
    this.store.request("shell", { end: name }).catch(() => {});
  }

  unfollow() {
    if (!this.following) return;
    const { id, what, view, name } = this.following;
    this.following = null;
    if (what === "shell") {
      view?.remove();
      if (name) this.endShell(name);
      return;
    }
    this.store.request("follow", { id, what, on: false }).catch(() => {});
  }

  /** Something changed: draw what is open. */
  draw(ids = null) {
    if (this.node.hidden) return;
    const row = this.store.rows.get(this.id);
    this.title.textContent = this.tab === "activity" ? "" : row ? `${row.name ? `${row.name} · ` : ""}${row.id}` : `${this.id} is gone`;
    if (this.tab === "activity") this.drawActivity();
    else if (ids && !ids.includes(this.id)) return;
    else if (this.tab === "details" && row) this.drawDetails(row);
    else if (this.text && this.tab !== "shell") this.drawText();
  }

  drawText() {
    const known = this.store.texts.get(`${this.id} ${this.tab}`) || { text: "", end: "" };
    const wanted = this.find.value.toLowerCase();
    const lines = known.text.split("\n");
    const shown = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted)) : lines;
    const words = shown.join("\n") + (known.end ? `\n[${known.end}]` : "");
    this.found.textContent = wanted ? `${shown.length} of ${lines.length} lines` : "";
    if (this.drawn === words) return;
    const bottom = this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < 30;
    this.text.textContent = words || "nothing was written yet";
    this.drawn = words;
    if (bottom) this.text.scrollTop = this.text.scrollHeight;
  }

  drawDetails(row) {
    const key = JSON.stringify(row);
    if (this.detailed === key && this.content.querySelector(".ob-facts")) return;
    this.detailed = key;
    const tags = Object.entries(row.tags).filter(([name]) => !name.startsWith("oblako:"));
    const facts = [
      ["State", [badge(row.state), row.impaired && ` impaired: ${row.impaired}`, row.remark && ` ${row.remark}`]],
      ["Type", row.type], ["Image", [row.image, row.image_id && row.image_id !== row.image ? ` (${row.image_id})` : ""]],
      ["Launched", row.launched ? `${new Date(row.launched * 1000).toLocaleString()} (${duration(Date.now() / 1000 - row.launched)} ago)` : ""],
      ["Addresses", [row.private, row.public && `public ${row.public}`].filter(Boolean).join(", ")],
      ["Network", [row.zone, row.network].filter(Boolean).join(" ")],
      ["Ports", row.ports.map((port) => h("div", {}, port.url ? link(port.url, `${port.url} → ${port.port}`) : String(port.port),
        port.live && button(`Close port ${port.port}`, () => this.store.about(row.id, "unpublish", { port: port.port }), { symbol: "close", quiet: true, kind: "ob-quiet ob-copy" })))],
      ["Security groups", row.groups.join(", ")], ["Key pair", row.key], ["User data", row.user_data],
      ["Volumes", row.volumes.map((volume) => h("div", {}, `${volume.volume_id} ${volume.size ? `${volume.size} GiB ` : ""}${volume.device ? `on ${volume.device}` : ""}${volume.delete_on_termination ? "" : ", stays"}`))],
      ["Tags", tags.map(([name, value]) => h("span", { class: "ob-tag" }, `${name}=${value}`))],
      ["Container", row.container ? [h("code", {}, row.container), copyButton(row.container, "Copy the container's name")] : row.backed ? "" : "none: simulated"],
      ["Shell", row.container && row.state === "running" ? [h("code", {}, shellCommand(row, this.store)), copyButton(shellCommand(row, this.store), sshPort(row) ? "Copy the SSH command" : "Copy the shell command")] : ""],
    ];
    this.content.replaceChildren(h("dl", { class: "ob-facts" }, ...facts.flatMap(([name, value]) => {
      const parts = [value].flat().filter(Boolean);
      return parts.length ? [h("dt", {}, name), h("dd", {}, ...parts)] : [];
    })));
  }

  drawActivity() {
    const events = [...this.store.events].reverse();
    if (this.shown === events[0] && this.content.querySelector(".ob-events")) return;
    this.shown = events[0];
    const lines = events.map((event) => h("li", { class: event.level === "bad" ? "ob-bad" : "" },
      h("time", { datetime: new Date(event.at * 1000).toISOString() }, new Date(event.at * 1000).toLocaleTimeString()),
      h("strong", {}, event.name || event.id), h("span", {}, event.text), event.who && h("span", { class: "ob-faint" }, `by ${event.who}`)));
    this.content.replaceChildren(lines.length ? h("div", { role: "log" }, h("ul", { class: "ob-events" }, lines))
      : h("div", { class: "ob-faint" }, "Nothing has happened yet."));
  }
}

/** How to get a shell in a terminal: by SSH where its port is published, else by the engine's own command. */
/** Where its SSH server is, if it publishes one. */
export function sshPort(row) {
  return row.ports.find((port) => port.port === 22 && port.host_port)?.host_port || 0;
}

/** What leads into it from a terminal: SSH as AWS's console shows it, or the engine's own way. */
export function shellCommand(row, store) {
  const port = sshPort(row);
  if (port) {
    const key = row.key ? `-i '${`${row.key}.pem`.replaceAll("'", "'\\''")}' ` : "";
    return `ssh ${key}-p ${port} ec2-user@127.0.0.1`;
  }
  const engine = (store.head.engine || "").startsWith("Podman") ? "podman" : "docker";
  return `${engine} exec -it ${row.container} /bin/sh`;
}
