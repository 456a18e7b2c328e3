// The columns: what each shows, by what it sorts, and how its cell is brought up to date.

import { bytes, copyButton, drawSparkline, duration, h, link, sparkline } from "./dom.js";

export const STATES = {
  running: "good", InService: "good",
  pending: "moving", stopping: "moving", "shutting-down": "moving",
  Pending: "moving", Stopping: "moving", Deleting: "moving", Updating: "moving",
  stopped: "off", Stopped: "off", terminated: "over", Deleted: "over", Failed: "bad",
};
const ORDER = ["Failed", "pending", "Pending", "running", "InService", "stopping", "Stopping", "Updating", "stopped",
  "Stopped", "shutting-down", "Deleting", "terminated", "Deleted"];
const DOING = { start: "starting…", stop: "stopping…", reboot: "rebooting…", terminate: "terminating…" };

export function badge(state, tone = STATES[state] || "off") {
  return h("span", { class: `ob-badge ob-${tone}` }, h("span", { class: "ob-dot", "aria-hidden": "true" }), state);
}

function stateCell(row, context) {
  const doing = context.store.asked.has(row.id) ? DOING[context.store.asked.get(row.id)] : "";
  const now = doing || row.progress || (row.rebooting ? "rebooting…" : "");
  return [
    badge(row.state, row.impaired ? "bad" : undefined),
    row.impaired && h("span", { class: "ob-mark ob-bad" }, "impaired"),
    now && h("span", { class: "ob-now" }, now),
  ];
}

function nameCell(row, context) {
  const editable = row.kind === "instance" && row.state !== "terminated";
  const shown = row.kind === "notebook"
    ? [h("span", { class: "ob-kind" }, "notebook"), h("span", { class: "ob-name" }, row.name)]
    : [h("span", { class: row.name ? "ob-name" : "ob-name ob-faint" }, row.name || "no name")];
  const mark = !row.backed && h("span", { class: "ob-mark", title: "A record without a container" }, "simulated");
  if (!editable) return [...shown, mark];
  const edit = h("button", {
    type: "button", class: "ob-edit", "aria-label": `Rename ${row.name || row.id}`, title: "Rename (F2)",
    onclick: (event) => { event.stopPropagation(); context.rename(row.id); },
  }, ...shown);
  return [edit, mark];
}

function idCell(row) {
  const id = row.kind === "notebook" ? row.machine : row.id;
  if (!id) return [];
  return [h("code", {}, id), copyButton(id, `Copy ${id}`)];
}

function portsCell(row) {
  return row.ports.map((port) => port.url
    ? link(port.url, String(port.port), {
      class: "ob-link ob-port", title: `${port.url} → port ${port.port}`,
      "aria-label": `Port ${port.port} of ${row.name || row.id}, opens ${port.url}`,
    })
    : h("span", { class: "ob-port ob-faint", title: "no host port while it does not run" }, String(port.port)));
}

/** A number with its line of the last minute; the nodes stay, so that a reading costs next to nothing. */
function figureCell(cell, row, context, index, text, ceiling) {
  const known = context.store.figures.get(row.id);
  if (!known) {
    if (cell.childNodes.length) cell.replaceChildren();
    return;
  }
  if (!cell.querySelector(".ob-spark")) cell.replaceChildren(h("span", { class: "ob-figure" }), sparkline([], 0));
  cell.firstChild.textContent = text(known);
  drawSparkline(cell.lastChild, known.history.map((reading) => reading[index]), ceiling(known));
}

function healthCell(row) {
  if (row.impaired) return [h("span", { class: "ob-bad" }, "impaired")];
  if (row.state !== "running" && row.state !== "InService") return [];
  return [row.backed ? "ok" : h("span", { class: "ob-faint" }, "simulated")];
}

function userDataCell(row) {
  const failed = row.user_data.startsWith("failed");
  return row.user_data ? [h("span", { class: failed ? "ob-bad" : "", title: row.user_data }, row.user_data)] : [];
}

const text = (key, tag = "span") => (row) => (row[key] ? [h(tag, { title: row[key] }, row[key])] : []);

/** `cells` makes the content anew, and only when `key` of the row differs; `draw` brings a cell up to date in place. */
export const COLUMNS = [
  { id: "state", title: "State", cells: stateCell, sort: (row) => ORDER.indexOf(row.state) },
  { id: "name", title: "Name", cells: nameCell, sort: (row) => row.name.toLowerCase() || "\uffff" },
  { id: "id", title: "Instance", cells: idCell, sort: (row) => row.id },
  { id: "ports", title: "Ports", cells: portsCell, sort: (row) => (row.ports[0] ? row.ports[0].port : 1e9) },
  {
    id: "uptime", title: "Uptime", sort: (row) => -row.launched,
    draw: (cell, row) => {
      const on = row.state === "running" || row.state === "InService";
      const words = on && row.launched ? duration(Date.now() / 1000 - row.launched) : "";
      if (cell.textContent !== words) cell.textContent = words;
    },
  },
  {
    id: "cpu", title: "CPU", sort: (row, store) => -(store.figures.get(row.id)?.cpu ?? -1),
    draw: (cell, row, context) =>
      figureCell(cell, row, context, 0, (known) => `${known.cpu.toFixed(known.cpu < 10 ? 1 : 0)} %`, () => 10),
  },
  {
    id: "memory", title: "Memory", sort: (row, store) => -(store.figures.get(row.id)?.memory ?? -1),
    draw: (cell, row, context) =>
      figureCell(cell, row, context, 1, (known) => bytes(known.memory), (known) => known.memory * 1.5),
  },
  { id: "type", title: "Type", cells: text("type"), sort: (row) => row.type },
  { id: "image", title: "Image", cells: text("image"), sort: (row) => row.image },
  { id: "private", title: "Private address", cells: text("private"), sort: (row) => address(row.private), hidden: true },
  { id: "public", title: "Public address", cells: text("public"), sort: (row) => address(row.public), hidden: true },
  { id: "zone", title: "Zone", cells: text("zone"), sort: (row) => row.zone, hidden: true },
  { id: "user_data", title: "User data", cells: userDataCell, sort: (row) => row.user_data, hidden: true },
  { id: "health", title: "Health", cells: healthCell, sort: (row) => (row.impaired ? 0 : 1), hidden: true },
  { id: "region", title: "Region", cells: text("region"), sort: (row) => row.region, hidden: true },
  { id: "key", title: "Key", cells: text("key"), sort: (row) => row.key, hidden: true },
];

function address(value) {
  return value.split(".").map((part) => part.padStart(3, "0")).join(".") || "\uffff";
}

export function chosenColumns(view) {
  const ids = view.columns;
  return COLUMNS.filter((column) => (ids ? ids.includes(column.id) : !column.hidden));
}

/** Whether a row answers to words, `tag:KEY=VALUE`, `state:STATE`, `type:`, `image:`. */
export function matches(row, words) {
  return words.every((word) => {
    const [, field, value] = word.match(/^(tag|state|type|image|zone|key):(.*)$/) || [];
    if (field === "tag") {
      const [key, wanted] = value.split("=");
      return Object.entries(row.tags).some(([name, own]) =>
        name.toLowerCase() === key && (wanted === undefined || own.toLowerCase().includes(wanted)));
    }
    if (field) return String(row[field] || "").toLowerCase().includes(value);
    return haystack(row).includes(word);
  });
}

const haystacks = new WeakMap(); // rows are replaced, never changed

function haystack(row) {
  if (!haystacks.has(row)) {
    const tags = Object.entries(row.tags).map(([key, value]) => `${key}=${value}`);
    const ports = row.ports.map((port) => `${port.port} ${port.host_port}`);
    haystacks.set(row, [row.name, row.id, row.state, row.type, row.image, row.private, row.public, row.zone,
      row.remark, ...tags, ...ports].join(" ").toLowerCase());
  }
  return haystacks.get(row);
}
