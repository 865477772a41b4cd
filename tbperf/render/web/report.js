// The report on one page: verdict and findings first, then where the time went, then every table.
//
// drawReport takes the report document (docs/report.schema.json), the words that explain it, and timelines (one a
// trace, or null), and draws into an element. It computes nothing that the report does not hold.

import { bars, lineChart, stackedBar, stepStrip } from "./charts.js";
import { copyText, el, printable } from "./dom.js";
import { bytes, duration, fileName, plain, share, shareAtLeast, withUnit } from "./format.js";
import { markdown } from "./markdown.js";
import { stageColor } from "./stages.js";
import { columnsOf, flattened, shown, table } from "./table.js";
import { drawTimeline } from "./timeline.js";

const OWNERS = [
  ["compute_ns", "kernels"],
  ["exposed_comm_ns", "collectives"],
  ["exposed_memcpy_ns", "copies"],
  ["exposed_memset_ns", "memsets"],
  ["idle_ns", "idle"],
];

/** Sorts of the host's work that are no operators, and the cause of idle time whose colour they share. */
const WORK_COLORS = {
  profiler: "profiler",
  "waiting for a batch": "dataloader",
  "loading a batch": "dataloader",
  "waiting for the GPU": "sync",
  "calls of the GPU's runtime": "launch",
  "waiting for a thread": "queued",
  autograd: "python",
  python: "python",
  unknown: "unknown",
};

const SEVERITIES = { high: "●", medium: "◐", low: "○", info: "·" };

/** The lists of a trace: [key in the report, title, columns in their order, columns not shown]. */
const TABLES = [
  ["kernels", "Kernels", [
    "name", ["total_ns", "time"], "share", "calls", ["mean_ns", "mean"], ["max_ns", "longest"], "family",
    ["tensor_cores", "tensor cores"], ["stage", "launched in"], "blocks", ["block_threads", "threads a block"],
    ["occupancy", "occupancy %"], ["min_ns", "shortest"], "device", "longest_start_ns"]],
  ["families", "Kernels by sort of work", ["family", ["total_ns", "time"], "share", "calls", ["tiny_calls", "calls < 10 µs"]]],
  ["operators", "Operators", [
    "name", ["self_ns", "own time"], "share", "calls", ["total_ns", "with callees"], ["gpu_ns", "GPU work"], ["stage", "in stage"]]],
  ["operator_shapes", "Operators by inputs", ["name", "shapes", ["self_ns", "own time"], "share", "calls", ["gpu_ns", "GPU work"]]],
  ["memcpy", "Copies", [
    ["copy_kind", "direction"], ["host_memory", "host memory"], ["total_ns", "time"], ["exposed_ns", "exposed"],
    ["host_blocked_ns", "host blocked"], "calls", ["bytes", "size"], ["bytes_per_s", "speed"]]],
  ["collectives", "Collectives", ["operation", ["total_ns", "time"], ["exposed_ns", "exposed"], "calls", "device"]],
  ["syncs", "Calls that wait for the GPU", [["api", "call"], ["host_ns", "host time"], "calls", "stage", ["op", "operator"]]],
  ["allocations", "Allocation calls", [["api", "call"], ["host_ns", "host time"], "calls", "stage", ["op", "operator"]]],
  ["module_loads", "Loading of modules", [["api", "call"], ["host_ns", "host time"], "calls", "stage", ["op", "operator"]]],
  ["memory", "Memory", [
    "device", ["peak_allocated_bytes", "peak"], ["peak_reserved_bytes", "reserved"], ["capacity_bytes", "capacity"],
    "allocations", ["allocated_bytes", "allocated in all"]], ["stage_peak_bytes"]],
  ["copies", "Longest copies", [
    ["copy_kind", "direction"], ["host_memory", "host memory"], ["dur_ns", "time"], ["exposed_ns", "exposed"], ["bytes", "size"],
    ["bytes_per_s", "speed"], ["of_best", "of the best"], ["could_overlap_ns", "could overlap"], ["host_blocked_ns", "host blocked"],
    "step", "stage", ["start_ns", "at"]]],
  ["loader_work", "What loader workers do", ["name", "work", ["self_ns", "own time"], "share", "calls"]],
  ["loader_workers", "Loader workers", []],
  ["hardware", "Hardware while the steps ran", ["series", "device", "mean", ["p50", "median"], "min", "max", ["low_step", "lowest in step"], ["high_step", "highest in step"], "samples"]],
  ["throttling", "Reasons to run slower", ["device", "reason", "share", ["dur_ns", "time"], ["start_ns", "from"]]],
  ["threads", "Threads in operators", ["thread", "main", ["busy_ns", "busy"], "share"]],
  ["threads_at_once", "Threads at work at once", ["threads", ["host_ns", "time"], "share"]],
];

const MODULE_SOURCES = {
  python: "told apart by Python calls",
  ranges: "told apart by the ranges of tbperf record",
  shapes: "operators, told apart by the shapes of their weights and their order in the step",
};

const TITLES = { nsys: "What NVIDIA’s tools state", io: "Input and output", loading: "Supply and demand", cores: "Threads and cores" };

/** Drawn by a section of their own, or part of the head. */
const ELSEWHERE = new Set([
  "path", "format", "rank", "world_size", "phase", "run", "bytes", "events", "resolution_ns", "gpus", "versions", "dropped",
  "module_source", "modules", "model_parts", "notes", "truncated", "linked_share", "devices", "idle", "gaps", "gap_lengths", "what_if", "launches", "steps", "stages",
  "warnings", "skipped", "left_out", "loading", "recorded_unix_ns", "host_work", "speed", "cores", ...TABLES.map(([key]) => key),
]);

/**
 * Draw a report. timelines: one document a trace, null where there is none, or a promise of either.
 * Ids of the page begin with a prefix, where several reports share one.
 * Returns {select(index), repaint(), close(), ready}: ready is kept when the timeline of the shown trace is drawn.
 */
export function drawReport(root, { report, words, timelines = [], level = 1, prefix = "" }) {
  const page = new Page(report, words, timelines, level, prefix);
  root.replaceChildren(...page.draw());
  page.select(0);
  return page;
}

/** Name a trace among others. */
export function traceLabel(trace) {
  const parts = [trace.phase, trace.rank === null ? null : `rank ${trace.rank}`].filter(Boolean);
  return parts.length ? parts.join(" ") : printable(fileName(trace.path));
}

/** The handful of figures that stand for a trace: [{key, label, value, text, title}]. */
export function keyFigures(trace, report, words) {
  const figures = [];
  const add = (key, label, value, text, title = null) => figures.push({ key, label, value, text, title });
  const steps = trace.steps;
  if (steps.length) {
    const mean = steps.reduce((sum, step) => sum + step.dur_ns, 0) / steps.length;
    add("step_ns", "a step", mean, duration(mean), `mean of ${steps.length} steps on the host`);
  }
  for (const device of trace.devices) {
    const of = trace.devices.length > 1 ? `GPU ${device.device} ` : "GPU ";
    const window = Math.max(1, device.window_ns);
    add(`busy_${device.device}`, `${of}busy`, device.busy_ns / window, share(device.busy_ns / window), duration(device.busy_ns));
    add(`idle_${device.device}`, `${of}idle`, device.idle_ns / window, share(device.idle_ns / window), duration(device.idle_ns));
  }
  for (const row of trace.idle.slice(0, 1)) {
    const cause = words.causes[row.cause]?.words ?? row.cause;
    add("cause", cause, row.idle_ns, duration(row.idle_ns), "the largest cause of idle time");
  }
  if (trace.speed) {
    const { images_per_s: pace, image_ns: each, batch } = trace.speed;
    add("images_per_s", "images/s", pace, plain(Number(pace.toPrecision(3))), `${duration(each)} an image, ${plain(batch)} a step`);
  }
  if (!trace.devices.length && trace.cores?.used_cores != null && trace.cores.usable_cores !== null) {
    const { used_cores: used, usable_cores: usable, intra_op_threads: threads } = trace.cores;
    add("used_cores", "cores busy", used, `${used.toFixed(1)} of ${plain(usable)}`, threads === null ? null : `torch computes with ${threads} threads`);
  }
  if (!trace.devices.length) {
    for (const row of trace.stages.filter((stage) => stage.stage).slice(0, 3)) {
      add(`stage_${row.stage}`, printable(row.stage), row.share, share(row.share), duration(row.host_ns));
    }
  }
  const kernels = trace.devices.reduce((sum, device) => sum + device.kernels, 0);
  if (kernels) {
    const per = steps.length ? kernels / steps.length : kernels;
    add("kernels", steps.length ? "kernels a step" : "kernels", per, plain(Math.round(per)));
  }
  const findings = findingsOf(report, trace).filter((finding) => finding.severity !== "info");
  add("findings", findings.length === 1 ? "finding" : "findings", findings.length, plain(findings.length));
  return figures;
}

function findingsOf(report, trace) {
  return report.findings.filter((finding) => finding.trace === report.traces.indexOf(trace));
}

class Page {
  constructor(report, words, timelines, level, prefix) {
    this.prefix = prefix;
    this.report = report;
    this.words = words;
    this.timelines = timelines;
    this.level = level;
    this.body = el("div.trace");
    this.nav = el("nav.contents", { "aria-label": "Contents" });
    this.timeline = null;
  }

  heading(text, deeper = 1, id = null) {
    return el(`h${Math.min(6, this.level + deeper)}`, { id }, text);
  }

  section(id, title, ...content) {
    const children = content.flat(Infinity).filter(Boolean);
    if (!children.length) return null;
    return el("section", { id: `${this.prefix}${id}`, "data-section": id, "aria-label": title, "data-title": title }, this.heading(title), children);
  }

  draw() {
    const { report } = this;
    const head = el(
      "header.head",
      {},
      el("p.product", {}, "tbperf report"),
      el(`h${this.level}.verdict`, {}, printable(report.verdict[0] ?? "Nothing to report")),
      report.verdict.slice(1).map((sentence) => el("p.verdict", {}, printable(sentence))),
      this.cautions(),
    );
    const several = report.traces.length > 1 && this.switcher();
    return [head, several, el("div.layout", {}, this.nav, this.body)].filter(Boolean);
  }

  cautions() {
    if (!this.report.cautions.length) return null;
    return el(
      "ul.cautions",
      { "aria-label": "What makes the figures less certain" },
      this.report.cautions.map((caution) => el("li", {}, printable(caution))),
    );
  }

  close() {
    this.timeline?.close();
  }

  /** Draw what is drawn in pixels again, in the colours that hold now. */
  repaint() {
    this.timeline?.repaint();
  }

  /** All traces in a table, each of which can be chosen. */
  switcher() {
    this.buttons = this.report.traces.map((trace, at) =>
      el("button.choose", { type: "button", "aria-pressed": "false", click: () => this.select(at) }, traceLabel(trace)),
    );
    const rows = this.report.traces.map((trace, at) => {
      const steps = trace.steps.length;
      const device = trace.devices[0];
      const window = device ? Math.max(1, device.window_ns) : 1;
      return {
        trace: at,
        steps,
        step_ns: steps ? trace.steps.reduce((sum, step) => sum + step.dur_ns, 0) / steps : null,
        busy_share: device ? device.busy_ns / window : null,
        idle_share: device ? device.idle_ns / window : null,
        findings: findingsOf(this.report, trace).length,
        file: trace.path,
      };
    });
    const columns = columnsOf(rows, [["trace", "trace"], "steps", ["step_ns", "step"], ["busy_share", "busy"], ["idle_share", "idle"], "findings", "file"]);
    columns[0] = { ...columns[0], figure: false, cell: (at) => this.buttons[at] };
    return el(
      "section.traces",
      { "aria-label": "Traces of this report" },
      table({ caption: `${rows.length} traces`, note: "choose the one to look at", columns, rows, few: 16 }),
      this.ranks(),
    );
  }

  ranks() {
    const { ranks, rank_waits: waits } = this.report;
    return [
      ranks.length > 0 &&
        table({
          caption: "Ranks beside each other",
          note: "the one that the others wait for most first",
          columns: columnsOf(ranks, ["rank", "phase", "steps", ["step_ns", "step"], ["dataload_ns", "data wait"], ["exposed_comm_ns", "exposed comm"], ["waits_ns", "waits"], ["awaited_ns", "awaited"], ["last_in", "came last"]]),
          rows: ranks,
        }),
      waits.length > 0 &&
        table({ caption: "Who waits for whom", columns: columnsOf(waits, ["rank", ["waits_for", "waits for rank"], ["wait_ns", "wait"], "collectives"]), rows: waits, few: 6 }),
    ].filter(Boolean);
  }

  select(index) {
    this.buttons?.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
    this.timeline?.close();
    this.trace = this.report.traces[index];
    if (!this.trace) return;
    const { trace } = this;
    this.schedule(index);
    const sections = [
      this.head(trace),
      this.findings(trace),
      this.time(trace),
      this.section("timeline", "Timeline", this.timelineBox),
      this.idle(trace),
      this.host(trace),
      this.steps(trace),
      this.work(trace),
      this.model(trace),
      this.launches(trace),
      this.section("loader", "Loader", this.anything("loading", trace.loading ?? null), this.tables(trace, ["loader_work", "loader_workers"])),
      this.section("hardware", "Hardware", this.tables(trace, ["hardware", "throttling"])),
      this.charts,
      this.others(trace),
      this.seen(trace),
      this.glossary(),
    ].filter(Boolean);
    this.body.replaceChildren(...sections);
    this.links = new Map(
      sections
        .filter((section) => section.dataset.title)
        .map((section) => [
          section,
          el("li", { hidden: section.hidden }, el("a", { href: `#${section.id}`, click: (event) => follow(event, section) }, section.dataset.title)),
        ]),
    );
    this.nav.replaceChildren(el("ol", {}, [...this.links.values()]));
  }

  /** Fill the place of the timeline when its document is there. */
  schedule(index) {
    this.timeline = null;
    this.timelineBox = el("div.timeline", {}, el("p.quiet", {}, "Reading the timeline …"));
    this.charts = el("section", { id: `${this.prefix}over-time`, hidden: true, "aria-label": "Over time", "data-title": "Over time" });
    const box = this.timelineBox;
    this.ready = Promise.resolve(this.timelines[index] ?? null)
      .then(async (document_) => {
        if (!document_) {
          box.replaceChildren(el("p.quiet", {}, "This report was written without a timeline."));
          return;
        }
        const drawn = await drawTimeline(box, document_, this.words);
        if (box !== this.timelineBox) drawn.close();
        else this.timeline = drawn;
        this.overTime(document_);
      })
      .catch((error) => box.replaceChildren(el("p.quiet", {}, `The timeline cannot be drawn: ${error.message}`)));
  }

  /** Hardware and memory, as far as the recorder measured them. */
  overTime(document_) {
    const series = document_.counters ?? [];
    if (!series.length) return;
    this.charts.hidden = false;
    this.links.get(this.charts).hidden = false;
    this.charts.replaceChildren(
      this.heading("Over time"),
      ...series.map((counter) => {
        const format = counter.unit === "bytes" ? bytes : (value) => withUnit(value, counter.unit);
        const { label, times, values, low, high } = counter;
        return lineChart({ label, times, values, low, high, format, start: document_.start_ns, end: document_.end_ns });
      }),
    );
  }

  head(trace) {
    const gpus = trace.gpus.filter((gpu) => trace.devices.some((device) => device.device === gpu.device));
    const facts = [...new Set(gpus.map((gpu) => gpu.name))];
    if (!trace.devices.length) facts.push("CPU");
    if (trace.rank !== null) facts.push(`rank ${trace.rank}${trace.world_size ? ` of ${trace.world_size}` : ""}`);
    if (trace.phase) facts.push(trace.phase);
    if (trace.devices.length) facts.push(`${duration(trace.devices[0].window_ns)} window`);
    if (trace.steps.length) facts.push(`${trace.steps.length} ${trace.steps.length === 1 ? "step" : "steps"}`);
    for (const [name, version] of Object.entries(trace.versions)) if (version) facts.push(`${name} ${version}`);
    return el(
      "div.facts",
      {},
      el("p.file", {}, printable(fileName(trace.path)), el("span", {}, facts.map((fact) => printable(fact)).join(" · "))),
      el(
        "dl.figures",
        {},
        keyFigures(trace, this.report, this.words).map((figure) =>
          el(
            "div",
            { "data-key": figure.key, title: figure.title },
            el("dt", {}, figure.label),
            el("dd", { "data-value": figure.value }, figure.text),
          ),
        ),
      ),
    );
  }

  cause(name) {
    return this.words.causes[name]?.words ?? name;
  }

  /** «python: optimizer» in words. */
  change(name) {
    const { changes } = this.words;
    if (changes[name]) return changes[name];
    const [sort, of] = name.split(": ");
    return of && changes[`${sort}:`] ? changes[`${sort}:`].replace("…", printable(of)) : printable(name);
  }

  findings(trace) {
    const found = findingsOf(this.report, trace);
    const content = found.length
      ? el("div.findings", {}, found.map((finding, at) => this.finding(finding, trace, at === 0)))
      : el("p", {}, "Nothing above the noise.");
    return this.section("findings", "Findings", content);
  }

  finding(finding, trace, open) {
    const steps = trace.steps.length;
    const per = (ns) => (steps > 1 ? `${duration(ns / steps)} a step` : duration(ns));
    const gain = finding.gain
      ? finding.gain.low_ns
        ? `${per(finding.gain.low_ns)} to ${per(finding.gain.high_ns)}`
        : `up to ${per(finding.gain.high_ns)}`
      : null;
    const page = this.words.rules[finding.code];
    return el(
      `details.finding.severity-${finding.severity}`,
      { open, "data-code": finding.code },
      el(
        "summary",
        {},
        el("span.mark", { "aria-hidden": "true" }, SEVERITIES[finding.severity] ?? "·"),
        el("span.severity", {}, finding.severity),
        el("span.title", {}, printable(finding.title)),
        el("span.cost", { "data-value": finding.cost_ns }, finding.cost_ns ? `${per(finding.cost_ns)} · ${share(finding.cost_share)}` : ""),
      ),
      el(
        "div.finding-body",
        {},
        gain && el("p.gain", {}, "Could save ", el("strong", {}, gain), el("span.quiet", {}, ` · confidence ${finding.confidence}`)),
        finding.advice.length > 0 && el("div.advice", {}, el("h3", {}, "What to change"), el("ul", {}, finding.advice.map((advice) => this.advice(advice)))),
        finding.evidence.length > 0 &&
          el(
            "div.evidence",
            {},
            el("h3", {}, "Evidence"),
            el(
              "dl",
              {},
              finding.evidence.map((evidence) =>
                el("div", {}, el("dt", {}, printable(evidence.name)), el("dd", { "data-value": evidence.value }, printable(withUnit(evidence.value, evidence.unit)))),
              ),
            ),
          ),
        el(
          "p.links",
          {},
          finding.places.map((place, at) => this.jump(place, at ? `place ${at + 1}: ${printable(place.name)}` : printable(place.name), at ? String(at + 1) : "on the timeline")),
          el("span.quiet", {}, finding.code),
        ),
        page && el("details.why", {}, el("summary", {}, `What ${finding.code} means, and how it is measured`), el("div", {}, markdown(page, 4))),
      ),
    );
  }

  advice(advice) {
    const text = argumentText(advice);
    return el(
      "li",
      {},
      el("span", {}, printable(advice.action)),
      text && el("code.argument", {}, printable(text)),
      text && el("button.copy", { type: "button", "aria-label": `Copy ${text}`, click: (event) => copyText(text, event.target) }, "copy"),
      text && advice.from !== null && el("span.quiet", {}, `now ${printable(shown(advice.from))}`),
    );
  }

  /** A button that shows a place on the timeline. */
  jump(place, what, text = "on the timeline") {
    return el(
      "button.jump",
      {
        type: "button",
        "aria-label": `Show on the timeline: ${what}`,
        title: `${what}, ${duration(place.dur_ns)}`,
        click: () => {
          this.timelineBox.scrollIntoView({ block: "center", behavior: "smooth" });
          this.timeline?.show(place);
        },
      },
      text,
    );
  }

  time(trace) {
    const { owners } = this.words;
    const parts = trace.devices.map((device) => {
      const gpu = trace.gpus.find((one) => one.device === device.device);
      const name = `${gpu ? printable(gpu.name) : "GPU"}${trace.devices.length > 1 ? ` (${device.device})` : ""}`;
      return el(
        "div.device",
        { "data-device": device.device },
        el("h3", {}, name, el("span.quiet", {}, ` ${duration(device.window_ns)} window, first start to last end of its work`)),
        stackedBar({
          label: `Where the time of ${name} went`,
          total: Math.max(1, device.window_ns),
          parts: OWNERS.filter(([key]) => device[key]).map(([key, owner]) => ({ name: key, value: device[key], color: owner, words: owner, title: owners[owner] })),
        }),
      );
    });
    if (!parts.length) {
      const stages = trace.stages.filter((row) => row.host_ns > 0);
      const total = stages.reduce((sum, row) => sum + row.host_ns, 0);
      if (!total) return null;
      parts.push(
        stackedBar({
          label: "Where the time of the steps went",
          total,
          parts: stages.map((row) => ({
            name: row.stage ?? "(no stage)",
            value: row.host_ns,
            color: stageColor(row.stage),
            words: printable(row.stage ?? "no stage"),
          })),
        }),
      );
    }
    parts.push(this.profiling(trace.unprofiled ?? null));
    return this.section("time", trace.devices.length ? "Where the GPU’s time went" : "Where the time went", parts);
  }

  /** By how much recording slowed the steps, and each stage. */
  profiling(found) {
    if (!found) return null;
    const idle = found.devices.map((device) => `GPU ${device.device} idles about ${share(device.idle_share)} of it`);
    const without = [`a step takes ${duration(found.step_ns)} without the profiler, ${duration(found.profiled_step_ns)} with it`, ...idle].join("; ");
    const columns = columnsOf(found.stages, ["stage", "unprofiled_ns", "profiled_ns"]);
    return el(
      "details.profiling",
      {},
      el("summary", {}, `What recording costs: ${without}`),
      table({ caption: "Stages of a step, mean", columns: this.explained("unprofiled", columns), rows: found.stages, few: 16 }),
    );
  }

  idle(trace) {
    if (!trace.idle.length) return null;
    const windows = new Map(trace.devices.map((device) => [device.device, Math.max(1, device.window_ns)]));
    const several = trace.devices.length > 1;
    const rows = trace.idle.map((row) => ({
      name: row.cause,
      words: this.cause(row.cause) + (several ? `, GPU ${row.device}` : ""),
      title: this.words.causes[row.cause]?.definition,
      value: row.idle_ns,
      color: `cause-${row.cause}`,
      place: { start_ns: row.longest_start_ns, dur_ns: row.longest_ns },
      figures: [
        { key: "idle_ns", value: row.idle_ns, text: duration(row.idle_ns) },
        { key: "share", value: null, text: share(row.idle_ns / windows.get(row.device)) },
        { key: "gaps", value: row.gaps, text: plain(row.gaps) },
        { key: "longest_ns", value: row.longest_ns, text: duration(row.longest_ns) },
      ],
    }));
    const whatIf = trace.what_if.map((row) => ({ ...row, change: this.change(row.change) }));
    const gaps = trace.gaps.map((gap) => ({ ...gap, show: gap.start_ns }));
    const columns = columnsOf(
      gaps,
      [["dur_ns", "gap"], "cause", ["cause_ns", "of that"], ["show", "place"], "step", "stage", ["host", "the host was in"], ["line", "Python"], ["before", "after this work"], ["after", "before this work"], ["start_ns", "at"], "device"],
      oneDevice(trace),
    ).map((column) => {
      if (column.key === "cause") return { ...column, cell: (cause) => el("span.words", {}, el(`span.key.fill-cause-${cause}`, { "aria-hidden": "true" }), this.cause(cause)) };
      if (column.key === "show") return { ...column, figure: false, cell: (_, gap) => this.jump(gap, `gap of ${duration(gap.dur_ns)}`) };
      if (column.key === "before" || column.key === "after") {
        const names = columnsOf(gaps.map((gap) => ({ name: gap[column.key] })), ["name"])[0];
        return { ...column, cell: names.cell };
      }
      return column;
    });
    return this.section(
      "idle",
      "Why it idles",
      bars({ caption: "Idle time by cause; every idle nanosecond has exactly one", headings: ["The GPU is", "time", "of the window", "gaps", "longest"], rows, jump: (place, words) => this.jump(place, words) }),
      trace.what_if.length > 0 &&
        table({
          caption: "What removing a cause would save",
          note: "by replaying the run without it",
          columns: columnsOf(whatIf, ["change", ["low_ns", "at least"], ["high_ns", "at most"], "device"], oneDevice(trace)),
          rows: whatIf,
        }),
      gaps.length > 0 && table({ caption: "Longest gaps", columns, rows: gaps, few: 8 }),
      trace.gap_lengths.length > 0 && this.gapLengths(trace),
    );
  }

  /** What the host did with the steps, by sort of work; images and cores, where they were recorded. */
  host(trace) {
    const works = trace.host_work ?? [];
    const total = works.reduce((sum, row) => sum + row.host_ns, 0);
    const steps = Math.max(1, trace.steps.length);
    const rows = works.map((row) => ({
      name: row.work,
      words: this.words.work[row.work]?.words ?? printable(row.work),
      title: this.words.work[row.work]?.definition,
      value: row.host_ns,
      color: `cause-${WORK_COLORS[row.work] ?? "host_op"}`,
      place: { start_ns: row.longest_start_ns, dur_ns: row.longest_ns },
      figures: [
        { key: "step_ns", value: row.host_ns / steps, text: duration(row.host_ns / steps) },
        { key: "share", value: null, text: share(row.host_ns / Math.max(1, total)) },
        { key: "longest_ns", value: row.longest_ns, text: duration(row.longest_ns) },
        { key: "stage", value: null, text: printable(Object.keys(row.stage).slice(0, 3).join(", ")) },
      ],
    }));
    const speed = trace.speed && [
      el("h3", {}, "Speed"),
      el("dl.facts-list", {}, [
        ["images/s", plain(Number(trace.speed.images_per_s.toPrecision(3)))],
        ["images a step", plain(trace.speed.batch)],
        ["an image", duration(trace.speed.image_ns)],
        ...Object.entries(trace.speed.printed_ns).map(([name, ns]) => [`${name}, an image`, duration(ns)]),
      ].map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)))),
    ];
    return this.section(
      "host",
      "What the host does",
      rows.length > 0 &&
        bars({
          caption: trace.steps.length ? "Time of the steps by sort of work; every nanosecond has exactly one" : "Time of the trace by sort of work",
          headings: ["The program’s loop is in", trace.steps.length ? "a step" : "time", "share", "longest", "stages"],
          rows,
          jump: (place, words) => this.jump(place, words),
        }),
      speed,
      this.anything("cores", trace.cores ?? null),
      this.tables(trace, ["threads_at_once", "threads"]),
    );
  }

  gapLengths(trace) {
    const rows = trace.gap_lengths.map((row) => ({
      length: row.to_ns === null ? `${duration(row.from_ns)} and more` : `${duration(row.from_ns)} to ${duration(row.to_ns)}`,
      gaps: row.gaps,
      idle_ns: row.idle_ns,
      device: row.device,
    }));
    return table({ caption: "Gaps by length", columns: columnsOf(rows, ["length", "gaps", ["idle_ns", "idle"]], oneDevice(trace)), rows });
  }

  steps(trace) {
    const steps = trace.steps.length
      ? [
          trace.steps.length > 1 && stepStrip(trace.steps, (step) => {
            this.timelineBox.scrollIntoView({ block: "center", behavior: "smooth" });
            this.timeline?.show(step);
          }),
          table({ caption: "Steps", columns: columnsOf(trace.steps, ["step", ["dur_ns", "duration"], ["busy_ns", "GPU busy"], ["idle_ns", "GPU idle"], "images", ["cpu_ns", "processor time"], ["start_ns", "at"]]), rows: trace.steps, few: 6 }),
        ]
      : [];
    const stages = trace.stages.map((row) => ({ ...row, stage: row.stage ?? "(no stage)" }));
    const staged = stages.length
      ? table({
          caption: "Stages on the host",
          note: trace.steps.length ? "inside the steps; a stage that is open inside another counts for itself" : "over the whole trace",
          columns: this.placed(columnsOf(stages, ["stage", ["host_ns", "host"], "share", "calls", ["op_ns", "in operators"], ["gpu_ns", "GPU work"], ["idle_ns", "GPU idle"], ["most_ns", "most in a step"], ["most_step", "that step"], ["longest_ns", "longest"], "longest_start_ns"]), stages),
          rows: stages,
          few: 20,
        })
      : null;
    return this.section("steps", "Steps and stages", steps, staged);
  }

  work(trace) {
    return this.section("work", "Where the work goes", this.tables(trace, ["kernels", "families", "operators", "operator_shapes", "collectives"]));
  }

  model(trace) {
    if (!trace.modules.length) return null;
    const what = trace.devices.length ? "GPU work" : "time in operators";
    const parts = trace.model_parts.map((row) => ({ ...row, part: row.part ?? "(in none)" }));
    const rows = trace.modules.map((row) => ({ ...row, path: row.path ?? "(in no module)", calls: row.path === null ? null : row.calls }));
    const nested = (value, row) =>
      el("span.name", { title: printable(value), style: { "margin-left": `${row.level}rem` } }, printable(value.slice(value.lastIndexOf("/") + 1)));
    const columns = columnsOf(rows, [
      "path", ["kind", "class"], ["total_ns", what], ["total_share", "share"], ["total_backward_ns", "of that backward"],
      ["share", "without modules inside"], "calls", ["self_ns", "own host time"], "part",
    ], ["level", "op_ns", "backward_op_ns", "gpu_ns", "backward_gpu_ns"]).map((column) => (column.key === "path" ? { ...column, label: "module", cell: nested } : column));
    return this.section(
      "model",
      "Which part of the model costs",
      parts.length > 0 &&
        table({
          caption: "Parts of the model",
          note: `${what}, backward included`,
          columns: this.explained("model_parts", columnsOf(parts, ["part", ["total_ns", what], "share", ["backward_ns", "of that backward"]])),
          rows: parts,
        }),
      table({ caption: "Modules", note: MODULE_SOURCES[trace.module_source], columns: this.explained("modules", columns), rows, few: 40 }),
    );
  }

  launches(trace) {
    const { launches } = trace;
    const content = [];
    if (launches) {
      const rows = ["latency_ns", "queue_ns"]
        .filter((key) => launches[key])
        .map((key) => ({ what: key === "latency_ns" ? "launch call → kernel starts" : "launched, waiting in the queue", ...renamed(launches[key]) }));
      content.push(
        el(
          "dl.facts-list",
          {},
          Object.entries(launches)
            .filter(([key]) => !["latency_ns", "queue_ns"].includes(key))
            .map(([key, value]) => el("div", { "data-key": key }, el("dt", { title: this.words.fields.launches?.[key] }, key.replace(/_ns$/, "").replaceAll("_", " ")), el("dd", { "data-value": value }, key.endsWith("_ns") ? duration(value) : plain(value)))),
        ),
        rows.length > 0 && table({ caption: "From launch to start", columns: columnsOf(rows, ["what", ["p50_ns", "median"], ["p90_ns", "90 %"], ["p99_ns", "99 %"], ["max_ns", "longest"]]), rows }),
      );
    }
    content.push(...this.tables(trace, ["memcpy", "copies", "syncs", "allocations", "module_loads"]));
    return this.section("launches", "Copies, launches, waits", content);
  }

  /** Every list or table of the trace that has no place of its own: the report grows faster than this page. */
  others(trace) {
    const unknown = Object.keys(trace).filter((key) => !ELSEWHERE.has(key));
    const known = this.tables(trace, ["memory"]);
    const grown = unknown.flatMap((key) => this.anything(key, trace[key]));
    return this.section("more", "Memory and more", [...known, ...grown]);
  }

  anything(key, value) {
    const title = TITLES[key] ?? key.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());
    if (Array.isArray(value)) {
      if (!value.length || typeof value[0] !== "object") return [];
      const rows = flattened(value);
      return [table({ caption: title, columns: this.placed(this.explained(key, columnsOf(rows)), rows), rows })];
    }
    if (value === null || typeof value !== "object") return [];
    const lists = Object.entries(value).filter(([, part]) => Array.isArray(part) && part.length > 0 && typeof part[0] === "object");
    const plainParts = Object.entries(value).filter(([, part]) => !Array.isArray(part) && part !== null);
    const facts = plainParts.map(([name, part]) =>
      el("div", { "data-key": name }, el("dt", { title: this.words.fields[key]?.[name] }, name.replace(/_ns$/, "").replaceAll("_", " ")), el("dd", {}, fact(name, part))),
    );
    const content = [facts.length > 0 && el("dl.facts-list", {}, facts), lists.flatMap(([name, part]) => this.anything(name, part))];
    if (!lists.length) return [el("h3", {}, title), ...content.flat().filter(Boolean)];
    return [el("details.more-tables", {}, el("summary", {}, el("h3", {}, title)), content.flat())];
  }

  tables(trace, keys) {
    return keys.flatMap((key) => {
      const [, title, known, hidden = []] = TABLES.find(([name]) => name === key);
      const rows = trace[key] ?? [];
      if (!rows.length) return [];
      const single = key === "memory" ? [] : oneDevice(trace);
      const columns = this.explained(key, columnsOf(rows, known, [...hidden, ...single])).map((column) => measured(column, rows));
      return [table({ caption: title, columns: this.placed(columns, rows), rows })];
    });
  }

  /** Let each row lead to the longest of what it sums up, where the report says when that was. */
  placed(columns, rows) {
    return columns.map((column) => {
      if (column.key === "start_ns" && "dur_ns" in rows[0]) {
        return { ...column, cell: (value, row) => this.jump(row, `at ${column.show(value)}`, column.show(value)) };
      }
      if (column.key !== "longest_start_ns") return column;
      const placeOf = (row) => ({ start_ns: row.longest_start_ns, dur_ns: row.longest_ns ?? row.max_ns ?? 0 });
      const cell = (value, row) => value !== null && this.jump(placeOf(row), shown(row.name ?? row.api ?? row.stage ?? "the longest"));
      return { ...column, label: "longest", figure: false, cell };
    });
  }

  /** Give each heading the definition of its field as its title. */
  explained(key, columns) {
    const definitions = this.words.fields[key] ?? {};
    return columns.map((column) => ({ ...column, title: definitions[column.key] ?? null }));
  }

  seen(trace) {
    const named = trace.stages.filter((row) => row.stage !== null);
    const seen = [`${plain(trace.events)} events, ${bytes(trace.bytes)}`];
    if (trace.linked_share !== null) seen.push(`${shareAtLeast(trace.linked_share)} of the GPU work is linked to its launch`);
    if (trace.resolution_ns > 1) seen.push(`times come in steps of ${plain(trace.resolution_ns / 1000)} µs`);
    if (named.length) seen.push(`${shareAtLeast(named.reduce((sum, row) => sum + row.share, 0))} of the steps are named by stage`);
    const dropped = Object.entries(trace.dropped).map(([reason, count]) => `${plain(count)} events dropped: ${reason.replaceAll("_", " ")}`);
    if (trace.truncated) dropped.push("the end of the file: it is cut short, the figures hold for what is there");
    const reasons = new Map();
    for (const { analysis, reason } of trace.skipped) reasons.set(reason, [...(reasons.get(reason) ?? []), analysis.replaceAll("_", " ")]);
    const unseen = [...reasons].map(([reason, analyses]) => `${reason} (${analyses.join(", ")})`);
    const left = (trace.left_out ?? []).map(({ table, rows, cost, unit, counted_in: row }) => `${table.replaceAll("_", " ")}: ${plain(rows)} more rows, ${unit === "B" ? bytes(cost) : duration(cost)} in all${row ? ` (counted in ${row})` : ""}`);
    const list = (title, items) => (items.length ? [el("h3", {}, title), el("ul", {}, items.map((item) => el("li", {}, printable(item))))] : []);
    return this.section(
      "seen",
      "What was seen, and what was not",
      ...list("Seen", seen),
      ...list("Not seen", [...dropped, ...unseen]),
      ...list("Left out, for there is too much of it", left),
      ...list("Notes", trace.notes),
      ...list("The recorder warned", trace.warnings ?? []),
      trace.run && this.run(trace.run),
      el("p.quiet", {}, `${printable(trace.path)} · ${trace.format} · read by tbperf ${this.report.tbperf}`),
    );
  }

  run(run) {
    const phases = Object.entries(run.arguments);
    return [
      el("h3", {}, "The recorded command"),
      el("pre.command", { tabindex: 0 }, printable(run.command.join(" "))),
      el("p.quiet", {}, `${printable(run.status)}${run.exit_code === null ? "" : `, exit code ${run.exit_code}`}`),
      phases.map(([phase, values]) =>
        el(
          "details",
          {},
          el("summary", {}, `Arguments of ${printable(phase)}`),
          el("dl.facts-list", {}, Object.entries(values).map(([name, value]) => el("div", {}, el("dt", {}, printable(name)), el("dd", {}, shown(value))))),
        ),
      ),
    ];
  }

  glossary() {
    const { words } = this;
    const entries = (pairs) => el("dl.glossary", {}, pairs.map(([term, text]) => el("div", {}, el("dt", {}, term), el("dd", {}, text))));
    return this.section(
      "glossary",
      "Glossary",
      el("h3", {}, "The partition of a device’s time"),
      el("p.quiet", {}, "Each nanosecond of the window has exactly one owner, the first of these that applies."),
      entries(Object.entries(words.owners)),
      el("h3", {}, "Causes of idle time"),
      el("p.quiet", {}, "Each idle nanosecond has exactly one cause: what the launching thread was doing."),
      entries(Object.entries(words.causes).map(([name, { words: text, definition }]) => [name, text === definition ? text : `${text}: ${definition}`])),
      el("h3", {}, "Sorts of the host’s work"),
      el("p.quiet", {}, "Each nanosecond of a step has exactly one sort: what the thread of the program’s loop was doing."),
      entries(Object.entries(words.work).map(([name, { words: text, definition }]) => [name, text === definition ? text : `${text}: ${definition}`])),
      el("h3", {}, "Words"),
      entries(Object.entries(words.terms)),
    );
  }
}

/** Columns that say nothing where there is only one device. */
function oneDevice(trace) {
  return trace.devices.length > 1 ? [] : ["device"];
}

const MEASURES = new Set(["mean", "p50", "min", "max"]);
const UNITS = { percent: "%", watts: "W", celsius: "°C", mhz: "MHz", bytes: "bytes", share: "share" };

/** Show values of a series in the unit that its name ends with: «power_watts». */
function measured(column, rows) {
  if (!("series" in (rows[0] ?? {}))) return column;
  const split = (series) => {
    const at = series.lastIndexOf("_");
    const unit = UNITS[series.slice(at + 1)];
    return unit ? [series.slice(0, at), unit] : [series, ""];
  };
  if (column.key === "series") return { ...column, cell: (series) => printable(split(series)[0].replaceAll("_", " ")) };
  return MEASURES.has(column.key) ? { ...column, cell: (value, row) => withUnit(value, split(row.series)[1]) } : column;
}

/** A value by the ending of its name, with its unit. */
function fact(name, value) {
  if (typeof value !== "number") return shown(value);
  if (name.endsWith("_ns")) return duration(value);
  if (name.endsWith("bytes")) return bytes(value);
  return /(^|_)share$/.test(name) ? share(value) : plain(value);
}

function renamed(times) {
  return Object.fromEntries(Object.entries(times).map(([key, value]) => [`${key}_ns`, value]));
}

function follow(event, section) {
  event.preventDefault();
  section.scrollIntoView({ behavior: "smooth" });
  const heading = section.querySelector("h1,h2,h3");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

/** The argument as it is written on the command line. */
export function argumentText(advice) {
  if (advice.argument === null) return null;
  const to = advice.to === true ? "True" : advice.to === false ? "False" : advice.to;
  if (advice.argument.startsWith("-")) return to === null ? advice.argument : `${advice.argument} ${to}`;
  return to === null ? advice.argument : `${advice.argument}=${to}`;
}
