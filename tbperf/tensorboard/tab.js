// tbperf's tab: choose a recording of the log folder, read its report, hold it against another one.
//
// TensorBoard imports this module in a frame of its own and calls render(). All addresses are relative to this module,
// so that any --path_prefix works.

import { el, printable } from "./web/dom.js";
import { bytes, duration, plain, share } from "./web/format.js";
import { drawReport, keyFigures } from "./web/report.js";
import { perfetto } from "./web/perfetto.js";

const address = (path, query = {}) => {
  const url = new URL(path, import.meta.url);
  for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
  return url;
};

const POLL_MS = 400;
const RESCAN_MS = 5000;

export async function render() {
  document.documentElement.lang = "en";
  document.head.append(el("link", { rel: "stylesheet", href: address("web/style.css") }));
  const tab = new Tab();
  followTheme(() => tab.repaint());
  window.tbperf = tab;
  await tab.open();
}

/** Be dark when TensorBoard is. */
function followTheme(changed) {
  const apply = () => {
    const outer = window.parent.document.body;
    document.documentElement.dataset.theme = outer.classList.contains("dark-mode") ? "dark" : "light";
    changed();
  };
  try {
    apply();
    new MutationObserver(apply).observe(window.parent.document.body, { attributes: true, attributeFilter: ["class"] });
  } catch {
    // Shown outside of TensorBoard: the system's theme holds.
  }
}

async function ask(path, query) {
  const response = await fetch(address(path, query));
  const document_ = await response.json();
  return { status: response.status, document: document_ };
}

const newest = (captures) => captures.reduce((a, b) => (a && a.modified_ns >= b.modified_ns ? a : b), null);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

class Tab {
  constructor() {
    this.captures = [];
    this.columns = [];
    this.first = el("select", { id: "first", change: () => this.show() });
    this.second = el("select", { id: "second", change: () => this.show() });
    this.notes = el("div.notes", { role: "status" });
    this.raw = el("button", { type: "button", hidden: true, click: () => this.openPerfetto() }, "raw trace in Perfetto");
    this.perfetto = el("section.perfetto", { hidden: true, "aria-label": "Raw trace" });
    this.difference = el("section.difference", { hidden: true, "aria-label": "Differences" });
    this.body = el("div.captures");
  }

  async open() {
    document.body.append(
      el(
        "main.tbperf",
        {},
        el(
          "div.choose-captures",
          {},
          el("label", { for: "first" }, "Recording"),
          this.first,
          el("label", { for: "second" }, "compare with"),
          this.second,
          this.raw,
        ),
        this.notes,
        this.perfetto,
        this.difference,
        this.body,
      ),
    );
    const words = await ask("words");
    if (words.status !== 200) {
      this.say(words.document.error);
      return;
    }
    this.words = words.document;
    for (;;) {
      await this.rescan();
      await wait(this.captures.length || !this.scanning ? RESCAN_MS : POLL_MS);
      while (document.hidden) await wait(RESCAN_MS);
    }
  }

  say(...lines) {
    this.notes.replaceChildren(...lines.filter(Boolean).map((line) => el("p", {}, printable(line))));
  }

  /** Ask what lies in the log folder; what is shown stays, and is read again only where its files have changed. */
  async rescan() {
    let found;
    try {
      found = (await ask("captures")).document;
    } catch {
      this.say("TensorBoard does not answer any longer.");
      return;
    }
    this.scanning = found.scanning;
    const changed = JSON.stringify(found.captures) !== JSON.stringify(this.captures);
    this.captures = found.captures ?? [];
    const empty = !found.scanning && !this.captures.length;
    this.say(
      found.error,
      found.scanning && "Looking for recordings …",
      empty && "No recording lies in the log folder yet. `tbperf record -- yolo train …` makes one; traces of torch.profiler are read, too.",
      ...(found.notes ?? []),
    );
    if (changed) {
      this.list();
      await this.show();
    }
  }

  list() {
    const chosen = [this.first.value, this.second.value];
    const groups = new Map();
    for (const capture of this.captures) groups.set(capture.run, [...(groups.get(capture.run) ?? []), capture]);
    const options = () =>
      [...groups].map(([run, captures]) =>
        el("optgroup", { label: printable(run || "log folder") }, captures.map((c) => el("option", { value: c.id }, `${printable(c.name)} (${bytes(c.bytes)})`))),
      );
    this.first.replaceChildren(...options());
    this.second.replaceChildren(el("option", { value: "" }, "nothing"), ...options());
    const known = (id) => this.captures.some((capture) => capture.id === id);
    this.first.value = known(chosen[0]) ? chosen[0] : newest(this.captures)?.id ?? "";
    this.second.value = known(chosen[1]) ? chosen[1] : "";
  }

  /** Show what is chosen; columns whose recording is shown already stay as they are. */
  async show() {
    const ids = [this.first.value, this.second.value].filter(Boolean);
    const wanted = ids.map((id) => this.captures.find((capture) => capture.id === id));
    this.raw.hidden = !wanted[0]?.files.length;
    this.perfetto.hidden = true;
    this.perfetto.replaceChildren();
    const before = this.columns;
    this.columns = wanted.map((capture, at) => {
      const same = before[at];
      return same && same.capture.id === capture.id && same.capture.state === capture.state ? same : new Column(this, capture, at);
    });
    for (const column of before) if (!this.columns.includes(column)) column.close();
    this.body.className = this.columns.length > 1 ? "captures beside" : "captures";
    this.body.replaceChildren(...this.columns.map((column) => column.box));
    this.compare();
  }

  compare() {
    const reports = this.columns.map((column) => column.report);
    this.difference.hidden = reports.length < 2 || reports.some((report) => !report);
    if (!this.difference.hidden) {
      this.difference.replaceChildren(el("h2", {}, "Differences"), differences(this.columns.map((c) => c.capture.name), reports, this.words));
    }
  }

  openPerfetto() {
    const capture = this.captures.find(({ id }) => id === this.first.value);
    this.perfetto.hidden = !this.perfetto.hidden;
    if (this.perfetto.hidden || !capture) {
      this.perfetto.replaceChildren();
      return;
    }
    const sources = capture.files.map((file) => ({ name: file, address: address("trace", { id: capture.id, file }) }));
    perfetto(this.perfetto, sources);
  }

  repaint() {
    for (const column of this.columns) column.page?.repaint();
  }
}

/** One recording: its progress while it is analyzed, then its report. */
class Column {
  constructor(tab, capture, at) {
    this.tab = tab;
    this.capture = capture;
    this.report = null;
    this.page = null;
    this.closed = false;
    this.box = el("article.capture", { "data-capture": capture.id, "aria-label": printable(capture.name), id: `capture-${at}` });
    this.ready = this.load();
  }

  close() {
    this.closed = true;
    this.page?.close();
  }

  async load() {
    const { id } = this.capture;
    this.report = await this.part("report");
    if (!this.report || this.closed) return;
    const count = this.report.traces.length;
    const document_ = this.part("timeline");
    const timelines = Array.from({ length: count }, (_, at) => document_.then((all) => all?.[at] ?? null));
    this.page = drawReport(this.box, { report: this.report, words: this.tab.words, timelines, level: 1, prefix: `${id}-` });
    this.tab.compare();
    await this.page.ready;
  }

  /** Ask for a part of the results until it is there. */
  async part(name) {
    while (!this.closed) {
      let answer;
      try {
        answer = await ask(name, { id: this.capture.id });
      } catch {
        await wait(RESCAN_MS);
        continue;
      }
      if (answer.status === 200) return answer.document;
      if (answer.status !== 202) {
        this.box.replaceChildren(
          el("p.failed", { role: "alert" }, `${printable(this.capture.name)}: ${printable(answer.document.error)}`),
          answer.document.hint && el("p.quiet", {}, printable(answer.document.hint)),
        );
        return null;
      }
      this.tell(answer.document);
      await wait(POLL_MS);
    }
    return null;
  }

  tell({ state, bytes: read = 0, events = 0, bytes_in_all: all, reading }) {
    if (this.report) return;
    const known = state === "running" && read > 0;
    const what = state === "waiting" ? "waits for its turn" : known ? `${bytes(read)} of ${bytes(all)} read, ${plain(events)} events` : "is being analyzed";
    this.box.replaceChildren(
      el(
        "div.progress",
        { role: "status" },
        el("p", {}, el("strong", {}, printable(reading ?? this.capture.name)), ` ${what}`),
        el("progress", known ? { max: all, value: Math.min(read, all), "aria-label": "read so far" } : { "aria-label": "at work" }),
        el("p.quiet", {}, "The analysis is done once; its result is kept."),
      ),
    );
  }
}

/** The key figures of two reports in one table; per step, where both have steps. */
function differences(names, reports, words) {
  const sides = reports.map((report) => figuresOf(report, words));
  const keys = [...new Set(sides.flatMap((side) => [...side.keys()]))];
  const rows = keys.map((key) => {
    const [one, other] = sides.map((side) => side.get(key));
    const { label, format } = one ?? other;
    const change = one && other && one.value ? (other.value - one.value) / one.value : null;
    const text = change === null ? "–" : `${change > 0 ? "+" : change < 0 ? "−" : "±"}${share(Math.abs(change))}`;
    const cell = (figure) => el("td.figure", { "data-value": figure?.value }, figure ? format(figure.value) : "–");
    return el("tr", { "data-key": key }, el("th.rowhead", { scope: "row" }, label), cell(one), cell(other), el("td.figure", { "data-value": change }, text));
  });
  return el(
    "div.scroll",
    {},
    el(
      "table",
      {},
      el("caption", {}, "Key figures of the first trace of each"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, ""), names.map((name) => el("th.figure", { scope: "col" }, printable(name))), el("th.figure", { scope: "col" }, "change"))),
      el("tbody", {}, rows),
    ),
  );
}

function figuresOf(report, words) {
  const [trace] = report.traces;
  const figures = new Map();
  const steps = trace.steps.length;
  const per = steps ? " a step" : "";
  for (const { key, label, value } of keyFigures(trace, report, words)) {
    const format = key === "step_ns" ? duration : /^(busy|idle|stage)_/.test(key) ? share : plain;
    if (key !== "cause" && key !== "findings") figures.set(key, { label, value, format });
  }
  for (const row of trace.idle) {
    const several = trace.devices.length > 1 ? `, GPU ${row.device}` : "";
    const label = `${words.causes[row.cause]?.words ?? row.cause}${several}${per}`;
    figures.set(`idle_${row.cause}_${row.device}`, { label, value: row.idle_ns / Math.max(1, steps), format: duration });
  }
  for (const row of trace.stages) {
    if (row.stage === null || !steps) continue;
    figures.set(`host_${row.stage}`, { label: `stage ${printable(row.stage)} on the host${per}`, value: row.host_ns / steps, format: duration });
  }
  return figures;
}
