// Tables that sort by their headings, search, and show the dearest rows first.

import { el, printable } from "./dom.js";
import { bytes, columnUnit, fileName, inUnit, kernelName, plain, share } from "./format.js";

const FEW = 12;
const LONG = 36;

/**
 * What a column of some name shows; a column is told by the ending of its name, as everywhere in the report.
 * Each returns {label, figure, show(value), sort(value)}.
 */
export function columnOf(key, rows, label = null) {
  const values = rows.map((row) => row[key]);
  const words = (label ?? key.replace(/_(ns|bytes|per_s)$/, "").replaceAll("_", " ")).trim();
  const numeric = values.some((value) => typeof value === "number");
  if (key.endsWith("_ns")) {
    const unit = columnUnit(values);
    return { key, label: `${words} ${unit.unit}`, figure: true, show: (value) => inUnit(value, unit) };
  }
  if (key.endsWith("bytes") && numeric) return { key, label: words || "size", figure: true, show: bytes };
  if (key === "bytes_per_s") {
    return { key, label: label ?? "speed", figure: true, show: (v) => (v === null ? "–" : `${bytes(v)}/s`) };
  }
  if (/(^|_)share$/.test(key)) {
    return { key, label: `${words} %`, figure: true, show: (v) => (v === null ? "–" : (100 * v).toFixed(1)) };
  }
  if (numeric) return { key, label: words, figure: true, show: plain };
  return { key, label: words, figure: false, show: shown };
}

/** Whatever a cell may hold, as text. */
export function shown(value) {
  if (value === null || value === undefined || value === "") return "–";
  if (value === true) return "yes";
  if (value === false) return "no";
  if (typeof value === "number") return plain(value);
  if (Array.isArray(value)) return value.map(shown).join(", ");
  if (typeof value === "object") return byPart(value);
  return printable(value);
}

/** «backward 76 %, optimizer 24 %»: the parts that make up most of a row. */
function byPart(parts) {
  const entries = Object.entries(parts);
  if (!entries.every(([, value]) => typeof value === "number")) {
    return entries.map(([name, value]) => `${printable(name)} ${shown(value)}`).join(", ");
  }
  const whole = entries.reduce((sum, [, value]) => sum + Math.max(0, value), 0);
  if (!whole) return "–";
  const large = entries.sort((a, b) => b[1] - a[1]).filter(([, value]) => value >= whole / 20);
  return large
    .slice(0, 3)
    .map(([name, value]) => `${printable(name)} ${share(value / whole)}`)
    .join(", ");
}

/** A name, shortened where it is long; the whole of it stands in its title and is what a search looks at. */
export function nameCell(text, short = kernelName(text)) {
  return el("span.name", { title: printable(text) }, printable(short) || "–");
}

/**
 * A table: caption, columns ({key, label, figure, show, title, cell}), rows. A cell carries its exact value in
 * data-value. More than a few rows bring a search field and a button for the rest.
 */
export function table({ caption, note = null, columns, rows, few = FEW }) {
  let order = null;
  let all = rows.length <= few + 3;
  let wanted = "";
  const body = el("tbody");
  const more = el("button.more", { type: "button", click: () => ((all = true), draw()) });
  const status = el("span.status", { role: "status" });
  const headings = columns.map((column) =>
    el(
      column.figure ? "th.figure" : "th",
      { scope: "col", title: column.title, "aria-sort": "none" },
      el("button", { type: "button", click: () => sortBy(column) }, column.label),
    ),
  );
  const texts = rows.map((row) => JSON.stringify(row).toLowerCase());

  function sortBy(column) {
    const falling = !(order?.column === column && order.falling);
    const rising = !column.figure && order?.column !== column;
    order = { column, falling: rising ? false : falling };
    headings.forEach((heading, at) => {
      const direction = order.falling ? "descending" : "ascending";
      heading.setAttribute("aria-sort", columns[at] === column ? direction : "none");
    });
    draw();
  }

  function draw() {
    let indices = rows.map((_, at) => at);
    if (wanted) indices = indices.filter((at) => texts[at].includes(wanted));
    if (order) {
      const value = (at) => rows[at][order.column.key];
      const sign = order.falling ? -1 : 1;
      indices.sort((a, b) => {
        const [one, two] = [value(a), value(b)];
        if (one === null || one === undefined) return 1;
        if (two === null || two === undefined) return -1;
        if (typeof one === "number" && typeof two === "number") return sign * (one - two);
        return sign * shown(one).localeCompare(shown(two));
      });
    }
    const visible = all ? indices : indices.slice(0, few);
    body.replaceChildren(...visible.map((at) => tableRow(rows[at])));
    more.hidden = visible.length === indices.length;
    more.textContent = `Show all ${indices.length.toLocaleString("en-US")}`;
    status.textContent = wanted ? `${indices.length} of ${rows.length} rows` : "";
  }

  function tableRow(row) {
    return el(
      "tr",
      {},
      columns.map((column, at) => {
        const value = row[column.key];
        const exact = typeof value === "number" ? value : null;
        const content = column.cell ? column.cell(value, row) : column.show(value, row);
        const tag = at === 0 && !column.figure ? "th.rowhead" : column.figure ? "td.figure" : "td";
        return el(tag, { "data-value": exact, "data-key": column.key, scope: tag === "th.rowhead" && "row" }, content);
      }),
    );
  }

  draw();
  const search =
    rows.length > few &&
    el("input.search", {
      type: "search",
      placeholder: `Search ${rows.length.toLocaleString("en-US")} rows`,
      "aria-label": `Search in ${caption}`,
      input: (event) => ((wanted = event.target.value.trim().toLowerCase()), draw()),
    });
  const grid = el(
    "table",
    {},
    el("caption", {}, caption, note && el("span.note", {}, note)),
    el("thead", {}, el("tr", {}, headings)),
    body,
  );
  return el(
    "div.table",
    {},
    search && el("div.tools", {}, search, status),
    el("div.scroll", { tabindex: 0, role: "region", "aria-label": `${caption}, table` }, grid),
    more,
  );
}

/** The known columns of some rows in their order, then whatever else the rows hold; without hidden and empty ones. */
export function columnsOf(rows, known = [], hidden = []) {
  const named = new Map(known.map((entry) => (Array.isArray(entry) ? entry : [entry, null])));
  const present = Object.keys(rows[0] ?? {});
  const keys = [...new Set([...named.keys(), ...present])].filter((key) => present.includes(key) && !hidden.includes(key));
  return keys
    .map((key) => {
      const column = columnOf(key, rows, named.get(key) ?? null);
      if (key === "name") return { ...column, cell: (value) => nameCell(value) };
      if (key === "path") return { ...column, cell: (value) => nameCell(value, value) };
      if (key === "file") return { ...column, cell: (value) => nameCell(value, fileName(value)) };
      return column.figure ? column : { ...column, cell: (value) => longText(shown(value)) };
    })
    .filter((column) => rows.some((row) => !isEmpty(row[column.key])));
}

/** Rows in which {ns: {total, mean}} has become {total_ns, mean_ns}: what is measured several ways gets a column a way. */
export function flattened(rows) {
  const unit = /(^|_)(ns|bytes)$/;
  return rows.map((row) =>
    Object.fromEntries(
      Object.entries(row).flatMap(([key, value]) => {
        if (!unit.test(key) || value === null || typeof value !== "object" || Array.isArray(value)) return [[key, value]];
        return Object.entries(value).map(([way, number]) => [`${way}_${key}`, number]);
      }),
    ),
  );
}

function isEmpty(value) {
  return value === null || value === undefined || (typeof value === "object" && !Object.keys(value).length);
}

function longText(text) {
  return text.length > LONG ? el("span.words", { title: text }, text) : text;
}
