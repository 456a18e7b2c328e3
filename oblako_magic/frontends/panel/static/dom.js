// Small helpers: elements, icons, numbers as words. Text goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (on* are listeners, true is an empty attribute, null and false are left out). */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const ICONS = {
  start: "M5 3.5v9l7.5-4.5z",
  stop: "M4 4h8v8H4z",
  reboot: "M8 3a5 5 0 1 0 4.9 6h-1.6A3.5 3.5 0 1 1 8 4.5c1 0 1.8.4 2.5 1L8.5 7.5H13V3l-1.5 1.5A5 5 0 0 0 8 3z",
  terminate: "M6 2h4l.5 1H13v1.5H3V3h2.5zM4 5.5h8L11.3 14H4.7z",
  more: "M8 2.5a1.3 1.3 0 1 1 0 2.6 1.3 1.3 0 0 1 0-2.6zm0 4.2a1.3 1.3 0 1 1 0 2.6 1.3 1.3 0 0 1 0-2.6zm0 4.2a1.3 1.3 0 1 1 0 2.6 1.3 1.3 0 0 1 0-2.6z",
  copy: "M5 2h7.5v9H11V3.5H5zM3 5h7v9H3zm1.3 1.3v6.4h4.4V6.3z",
  logs: "M2.5 3h11v1.4h-11zm0 3.2h8v1.4h-8zm0 3.2h11v1.4h-11zm0 3.2h6V14h-6z",
  edit: "M11.3 2.3l2.4 2.4-7.9 7.9-3.1.700.7-3.1z",
  close: "M4.2 3.2L8 7l3.8-3.8 1 1L9 8l3.8 3.8-1 1L8 9l-3.8 3.8-1-1L7 8 3.2 4.2z",
  search: "M7 2.5a4.5 4.5 0 0 1 3.6 7.2l3 3-1 1-3-3A4.5 4.5 0 1 1 7 2.5zM7 4a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  columns: "M2.5 3h3v10h-3zm4 0h3v10h-3zm4 0h3v10h-3z",
  plus: "M7.2 3h1.6v4.2H13v1.6H8.8V13H7.2V8.8H3V7.2h4.2z",
  open: "M9 2.5h4.5V7H12V5L7.5 9.5l-1-1L11 4H9zM3 4h4v1.5H4.5v6h6V9H12v4H3z",
  shell: "M2 3h12v10H2zm1.4 1.4v7.2h9.2V4.4zM4.5 6l2.2 2-2.2 2-.9-.9L4.9 8 3.6 6.9zM7.5 9.4h3.5v1.2H7.5z",
  warning: "M8 2l6.5 11.5h-13zM7.3 6.5v3.7h1.4V6.5zm0 4.6v1.3h1.4v-1.3z",
};

/** A decorative icon: the button around it has the words. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "ob-icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  return svg;
}

/** A button; with `icon` alone its label is what a screen reader and the tooltip say. */
export function button(label, onclick, { symbol = "", kind = "", quiet = false, ...attributes } = {}) {
  const words = quiet ? [] : [label];
  const named = quiet ? { "aria-label": label, title: label } : {};
  const node = h("button", { type: "button", class: `ob-button ${kind}`.trim(), onclick, ...named, ...attributes });
  node.append(...(symbol ? [icon(symbol)] : []), ...words);
  return node;
}

/** A small line of numbers, the last one at the right. */
export function sparkline(values, ceiling) {
  const width = 48, height = 16;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("class", "ob-spark");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "polyline");
  svg.append(line);
  drawSparkline(svg, values, ceiling);
  return svg;
}

export function drawSparkline(svg, values, ceiling) {
  const width = 48, height = 16, step = width / (HISTORY - 1);
  const top = Math.max(ceiling || 0, ...values, 1e-9);
  const points = values.map((value, index) => {
    const x = width - (values.length - 1 - index) * step;
    return `${x.toFixed(1)},${(height - 1 - (value / top) * (height - 2)).toFixed(1)}`;
  });
  svg.firstChild.setAttribute("points", points.join(" "));
}

export const HISTORY = 30; // readings that a row remembers: a minute

export function bytes(count) {
  if (count === null || count === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (Math.abs(count) >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${count >= 100 || unit === 0 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

/** How long ago, in two words at most. */
export function duration(seconds) {
  if (!(seconds >= 0)) return "";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

/** Put text on the clipboard; where the page may not, by a selection. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "ob-offscreen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** A button that copies, and says so for a moment. */
export function copyButton(text, label, { quiet = true } = {}) {
  const node = button(label, async (event) => {
    event.stopPropagation();
    const done = await copyText(typeof text === "function" ? text() : text);
    node.classList.toggle("ob-done", done);
    node.title = done ? "Copied" : "Could not copy";
    setTimeout(() => {
      node.classList.remove("ob-done");
      node.title = label;
    }, 1200);
  }, { symbol: "copy", kind: "ob-quiet ob-copy", quiet });
  return node;
}

/** Only links that a browser may safely open. */
export function link(url, text, attributes = {}) {
  if (!/^https?:\/\//.test(url)) return h("span", {}, text);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer", class: "ob-link", ...attributes }, text);
}
