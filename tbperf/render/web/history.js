// A history on one page: what shifted where, each run's step drawn to scale, and what was set differently.
//
// The document is described by docs/history.schema.json. Nothing is computed here that it does not hold.

import { el, printable } from "./dom.js";
import { duration, plain, share } from "./format.js";
import { stageColor } from "./stages.js";
import { nameCell, table } from "./table.js";
import { themeBar } from "./theme.js";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const found = read("history");
const titles = read("titles");
const idle = found.runs.some((run) => Object.keys(run.causes).length);
const longest = Math.max(...found.runs.map((run) => run.figures.step_time ?? 0), 1);
const shifted = new Map();
for (const shift of found.shifts) shifted.set(shift.at, [...(shifted.get(shift.at) ?? []), shift]);

const title = (name) => printable(titles[name] ?? name.replace(/^(stage|cause)\./, ""));
const amount = (value, unit) => (unit === "ns" ? duration(value) : unit === "share" ? share(value) : plain(value));

/** Idle causes or, without a device, stages: name, time, colour. */
function parts(run) {
  const drawn = Object.entries(idle ? run.causes : run.stages);
  const color = (name) => (idle ? `--cause-${name}` : stageColor(name));
  return drawn.map(([name, ns]) => ({ name, ns, color: color(name), words: title(`${idle ? "cause" : "stage"}.${name}`) }));
}

/** The step of a run, to the scale of the longest. */
function bar(run) {
  const step = run.figures.step_time ?? 0;
  const pieces = parts(run);
  const text = pieces.map((part) => `${part.words} ${duration(part.ns)}`).join(", ");
  const rest = Math.max(0, step - pieces.reduce((sum, part) => sum + part.ns, 0));
  return el(
    "div.run-bar",
    { role: "img", "aria-label": `${duration(step)}: ${text}`, style: { width: `${(100 * step) / longest}%` } },
    pieces.map((part) =>
      el("span", { title: `${part.words}: ${duration(part.ns)}`, style: { "flex-grow": String(part.ns), background: `var(${part.color})` } }),
    ),
    el("span.rest", { title: `${idle ? "busy" : "the rest"}: ${duration(rest)}`, style: { "flex-grow": String(rest) } }),
  );
}

function legend() {
  const named = new Map(found.runs.flatMap(parts).map((part) => [part.name, part]));
  const item = (words, style, more = "") => el("li", {}, el(`span.key${more}`, { "aria-hidden": "true", style }), words);
  return el(
    "ul.legend",
    {},
    [...named.values()].map((part) => item(part.words, { background: `var(${part.color})` })),
    item(idle ? "busy" : "the rest", {}, ".rest"),
  );
}

function runs() {
  const rows = found.runs.map((run, at) => ({
    at: at + 1,
    name: run.name,
    when: run.recorded_unix_ns,
    steps: run.steps,
    step_time: run.figures.step_time ?? null,
    throughput: run.figures.throughput ?? null,
    idle: run.figures.idle ?? null,
    drawn: at,
    shift: (shifted.get(at) ?? []).map((shift) => title(shift.name)).join(", "),
  }));
  const time = (ns) => (ns === null ? "–" : new Date(ns / 1e6).toISOString().slice(0, 16).replace("T", " "));
  const columns = [
    { key: "at", label: "run", figure: true, show: plain },
    { key: "name", label: "name", figure: false, cell: (value) => nameCell(value, value.slice(value.lastIndexOf("/") + 1)) },
    { key: "when", label: "recorded, UTC", figure: false, show: time },
    { key: "steps", label: "steps", figure: true, show: plain },
    { key: "step_time", label: "a step", figure: true, show: duration },
    { key: "throughput", label: "images/s", figure: true, show: plain },
    idle && { key: "idle", label: "idle", figure: true, show: share },
    { key: "drawn", label: "step, to scale", figure: false, cell: (at) => bar(found.runs[at]) },
    { key: "shift", label: "shifts here", figure: false, cell: (value) => el("span.word.is-new", {}, value) },
  ].filter(Boolean);
  return table({ caption: "Runs", note: "in the order in which they were recorded", columns, rows, few: 40 });
}

function shifts() {
  if (!found.shifts.length) return null;
  const columns = [
    { key: "name", label: "figure", figure: false, cell: (value) => title(value) },
    { key: "at", label: "from run", figure: true, show: (value) => plain(value + 1) },
    { key: "before", label: "before", figure: true, show: (value, row) => amount(value, row.unit) },
    { key: "after", label: "after", figure: true, show: (value, row) => amount(value, row.unit) },
  ];
  return table({ caption: "Shifts", note: "the surest first", columns, rows: found.shifts });
}

function settings() {
  const rows = found.runs.flatMap((run, at) => run.changed.map((setting) => ({ run: at + 1, ...setting })));
  if (!rows.length) return null;
  const text = (key, label) => ({ key, label, figure: false, show: (value) => (value === null ? "–" : printable(value)) });
  const columns = [{ key: "run", label: "run", figure: true, show: plain }, text("kind", "kind"), text("name", "name"), text("a", "before"), text("b", "now")];
  return table({ caption: "Set differently than in the run before", columns, rows });
}

const page = document.getElementById("page");
page.before(themeBar());
page.replaceChildren(
  el(
    "header.head",
    {},
    el("p.product", {}, `tbperf history${found.phase ? ` · ${printable(found.phase)}` : ""}`),
    el("h1.verdict", {}, printable(found.verdict[0])),
    found.verdict.slice(1).map((sentence) => el("p.verdict", {}, printable(sentence))),
    found.cautions.length > 0 && el("ul.cautions", { "aria-label": "What makes the figures less certain" }, found.cautions.map((text) => el("li", {}, printable(text)))),
  ),
  el("section", { id: "runs", "aria-label": "Runs" }, el("h2", {}, "Runs"), legend(), runs()),
  ...[shifts(), settings()].filter(Boolean).map((content) => el("section", {}, content)),
);
