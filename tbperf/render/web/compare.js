// A comparison on one page: what changed and why, each difference with its interval, and what was set differently.
//
// The document is described by docs/compare.schema.json. Nothing is computed here that it does not hold.

import { el, printable, svg } from "./dom.js";
import { duration, kernelName, plain, share } from "./format.js";
import { nameCell, table } from "./table.js";
import { themeBar } from "./theme.js";

const CHANGED = new Set(["less", "more", "added", "gone"]);
const WORDS = { noise: "noise", unknown: "noise unknown", added: "new", gone: "gone" };
const SORTS = {
  kernel: "Kernels",
  family: "Kernels by family",
  operator: "Operators, own time",
  "operator with shapes": "Operators by shapes",
};

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const found = read("comparison");
const titles = read("titles");
const [WIDTH, HEIGHT] = [220, 16];

/** «better», «worse», or what else became of a figure. */
function word(row) {
  if (!["less", "more"].includes(row.change)) return WORDS[row.change];
  if (row.better === null) return row.change;
  return (row.change === "less") === (row.better === "low") ? "better" : "worse";
}

function amount(value, unit) {
  if (value === null) return "–";
  if (unit === "ns") return duration(value);
  return unit === "share" ? share(value) : plain(value);
}

function percent(value, of) {
  if (value === null || !of) return "–";
  const share = (100 * value) / of;
  return `${share >= 0 ? "+" : "−"}${Math.abs(share).toFixed(Math.abs(share) < 100 ? 1 : 0)} %`;
}

/** A difference and its interval, drawn about zero; what reaches beyond the drawing is cut off there. */
function interval(row, reach) {
  const x = (value) => WIDTH / 2 + (Math.max(-1.05, Math.min(1.05, value / reach)) * WIDTH) / 2;
  const [low, high] = [row.low ?? row.difference, row.high ?? row.difference];
  const text = `${percent(row.difference, row.expected)}, from ${percent(row.low, row.expected)} to ${percent(row.high, row.expected)}`;
  return svg(
    "svg",
    { class: `interval is-${word(row).replace(" ", "-")}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": text },
    svg("line", { class: "zero", x1: WIDTH / 2, x2: WIDTH / 2, y1: 0, y2: HEIGHT }),
    svg("line", { class: "span", x1: x(low), x2: x(high), y1: HEIGHT / 2, y2: HEIGHT / 2 }),
    svg("circle", { cx: x(row.difference), cy: HEIGHT / 2, r: 3.5 }),
  );
}

/** A time that was added or taken away. */
const moved = (ns) => (ns === null ? "–" : `${ns >= 0 ? "+" : "−"}${duration(Math.abs(ns))}`);

/** A table of differences, changes first; relative figures are shown by their share, times by their size. */
function differences(caption, note, all, name, relative = false) {
  const rows = all.filter((row) => (row.a || row.b) && !(row.name === "step_time_same_speed" && found.alike === 1));
  if (!rows.length) return null;
  const change = relative ? (value, row) => percent(value, row.expected) : moved;
  const size = (row) => (relative ? { ...row, ...scaled(row, 1 / Math.abs(row.expected || 1)) } : row);
  const drawn = rows.map(size);
  const wanted = drawn.filter((row) => CHANGED.has(row.change));
  const reach = 1.25 * Math.max(...(wanted.length ? wanted : drawn).map((row) => Math.abs(row.difference)), 1e-12);
  const columns = [
    { key: "name", label: "", figure: false, cell: (value, row) => (row.sort ? nameCell(value, name(row)) : name(row)) },
    { key: "a", label: "A", figure: true, show: (value, row) => amount(value, row.unit) },
    { key: "b", label: "B", figure: true, show: (value, row) => amount(value, row.unit) },
    !relative && { key: "share", label: "change", figure: true, show: (_, row) => percent(row.difference, row.expected) },
    { key: "difference", label: relative ? "change" : "", figure: true, show: change },
    { key: "low", label: "from", figure: true, show: change },
    { key: "high", label: "to", figure: true, show: change },
    { key: "drawn", label: "interval", figure: false, cell: (at) => interval(drawn[at], reach) },
    { key: "change", label: "", figure: false, cell: (value, row) => el(`span.word.is-${word(row).replace(" ", "-")}`, {}, word(row)) },
  ].filter(Boolean);
  if (rows.some((row) => row.calls)) columns.push({ key: "calls", label: "calls", figure: false, show: (value) => value });
  if (rows.some((row) => row.place)) columns.push({ key: "place", label: "in", figure: false, show: printable });
  return table({ caption, note, columns, rows: rows.map((row, at) => ({ ...row, drawn: at })) });
}

const scaled = (row, by) => ({
  difference: row.difference * by,
  low: row.low === null ? null : row.low * by,
  high: row.high === null ? null : row.high * by,
  expected: row.expected * by,
});

/** A row of work in the shape of the other differences. */
function asDifference(row) {
  const calls = [row.a_calls, row.b_calls].filter((number) => number !== null).map((number) => Math.round(number));
  return {
    sort: row.sort,
    name: row.name,
    unit: "ns",
    better: "low",
    a: row.a_ns,
    b: row.b_ns,
    expected: row.expected_ns,
    difference: row.difference_ns,
    low: row.low_ns,
    high: row.high_ns,
    change: row.change,
    calls: [...new Set(calls)].join(" → "),
    place: row.shapes ?? row.stage ?? "",
  };
}

function section(id, title, ...content) {
  const children = content.filter(Boolean);
  return children.length ? el("section", { id, "aria-label": title }, el("h2", {}, title), children) : null;
}

function side(label, of) {
  const steps = of.steps ? `${plain(of.steps)} ${found.source === "log" ? "unprofiled" : "profiled"} steps` : "no steps marked";
  const images = of.images ? ` · ${plain(of.images)} images a step` : "";
  return el("p.file", {}, `${label}: ${of.runs.map(printable).join(", ")}`, el("span", {}, steps + images));
}

function draw() {
  const per = { step: "a step", image: "an image", window: "in the window" }[found.per];
  const titled = (row) => printable(titles[row.name] ?? row.name);
  const work = Object.entries(SORTS).map(([sort, title]) =>
    differences(
      title,
      `time ${per}, changes first`,
      found.work.filter((row) => row.sort === sort).map(asDifference),
      (row) => kernelName(row.name),
    ),
  );
  const beyond = Math.abs(found.alike - 1) < 0.005 ? "" : `, beyond the ${found.alike.toFixed(2)} times that all took alike`;
  return [
    el(
      "header.head",
      {},
      el("p.product", {}, "tbperf comparison"),
      el("h1.verdict", {}, printable(found.verdict[0])),
      found.verdict.slice(1).map((sentence) => el("p.verdict", {}, printable(sentence))),
      found.cautions.length > 0 &&
        el("ul.cautions", { "aria-label": "What makes the comparison doubtful" }, found.cautions.map((text) => el("li", {}, printable(text)))),
    ),
    section("sides", "What is compared", side("A", found.a), side("B", found.b), settings()),
    section("figures", "Figures", differences("Figures", `${100 * found.interval} % intervals`, found.figures, titled, true)),
    section("stages", "Stages", differences("Stages on the host", `time ${per}${beyond}`, found.stages, titled)),
    section("device", "The GPU", differences("The GPU's time", `time ${per}`, found.device_parts, titled), differences("GPU work by stage", `time ${per}`, found.device_work, titled)),
    section("work", "Kernels and operators", ...work),
    section("hardware", "Hardware", hardware()),
    el("p.quiet", {}, `${100 * found.interval} % of repeated recordings would lie in the intervals; one that holds 0 is noise. tbperf ${found.tbperf}`),
  ].filter(Boolean);
}

function hardware() {
  if (!found.hardware.length) return null;
  const figure = (key, label) => ({ key, label, figure: true, show: plain });
  const columns = [{ key: "series", label: "series", figure: false, show: printable }, figure("a", "A"), figure("b", "B")];
  return table({ caption: "Hardware", note: "means over the recorded steps", columns, rows: found.hardware });
}

function settings() {
  if (!found.settings.length) return null;
  const text = (key, label) => ({ key, label, figure: false, show: (value) => (value === null ? "–" : printable(value)) });
  const columns = [text("kind", "kind"), text("name", "name"), text("a", "A"), text("b", "B")];
  return table({ caption: "Set differently", columns, rows: found.settings });
}

const page = document.getElementById("page");
page.before(themeBar());
page.replaceChildren(...draw());
