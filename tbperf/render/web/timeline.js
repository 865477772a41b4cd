// The timeline: streams, idle time by cause, steps, stages and host threads over time, on one canvas.
//
// Each frame draws what is visible and no more: a block that is at least two pixels wide is drawn as itself; of what is
// smaller, a pixel shows how much of its time is covered, and by which sort most, from running sums. So the cost of a
// frame depends on the pixels and not on the events.

import { decodeNames, decodeTrack, firstAt } from "./columns.js";
import { el, printable } from "./dom.js";
import { duration, kernelName, plain, share } from "./format.js";
import { stageColor } from "./stages.js";

const GUTTER = 190;
const RULER = 24;
const LANE = 15;
const BETWEEN = 7;
const LABELS = 1200;
const HEIGHT = 460;

/** The CSS variable that gives each sort its colour; idle causes bring their own. */
const COLORS = {
  kernel: "--kernels",
  collective: "--collectives",
  memcpy: "--copies",
  memset: "--memsets",
  step: "--quiet",
  range: "--cause-host_op",
  operator: "--cause-sync",
  api: "--cause-launch",
  "waiting call": "--cause-dataloader",
  "copy call": "--cause-memcpy",
  "allocation call": "--cause-allocation",
  "module loading": "--cause-module_load",
  python: "--cause-python",
  profiler: "--cause-profiler",
  "system call": "--cause-queued",
};

const KERNELS = new Set(["kernel", "collective"]);

/** Draw a timeline document into an element; returns {show(place), repaint(), close(), whole(), view(from, to), frames}. */
export async function drawTimeline(box, document_, words) {
  const tracks = [];
  for (const track of document_.tracks) tracks.push({ ...track, lanes: await decodeTrack(track, document_.start_ns) });
  const names = await decodeNames(document_.names);
  const timeline = new Timeline(box, { ...document_, names }, tracks, words);
  timeline.open();
  return timeline;
}

class Timeline {
  constructor(box, document_, tracks, words) {
    this.box = box;
    this.document = document_;
    this.words = words;
    this.tracks = tracks.map((track) => ({ ...track, shown: true, folded: track.kind === "python" && track.lanes.length > 2 }));
    this.names = document_.names.map(printable);
    this.labels = new Map();
    const room = Math.max(1, document_.end_ns - document_.start_ns) * 0.01;
    this.bounds = [document_.start_ns - room, document_.end_ns + room];
    this.from = this.bounds[0];
    this.to = this.bounds[1];
    this.selected = null;
    this.marked = null;
    this.hits = null;
    this.frames = [];
    this.wanted = 0;
  }

  open() {
    const { document: doc } = this;
    const button = (text, label, act) => el("button", { type: "button", "aria-label": label, title: label, click: act }, text);
    this.search = el("input.search", {
      type: "search",
      placeholder: "Search the timeline",
      "aria-label": "Search the timeline",
      input: () => this.find(this.search.value),
      keydown: (event) => event.key === "Enter" && (event.preventDefault(), this.nextHit(event.shiftKey ? -1 : 1)),
    });
    this.found = el("span.status", { role: "status" });
    this.range = el("span.status.range");
    const tracks = el(
      "details.tracks",
      {},
      el("summary", {}, "rows"),
      el(
        "div",
        {},
        this.tracks.map((track) => this.trackSwitch(track)),
      ),
    );
    const tools = el(
      "div.timeline-tools",
      {},
      button("+", "Zoom in", () => this.zoom(0.5)),
      button("−", "Zoom out", () => this.zoom(2)),
      button("whole", "Show the whole window", () => this.whole()),
      this.tracks.some((track) => track.kind === "idle") && button("next gap", "Go to the next long gap", () => this.nextGap()),
      tracks,
      this.search,
      this.found,
      this.range,
    );
    const hint = el("p.quiet.hint", { id: `hint-${doc.start_ns}` }, "Drag to move, Ctrl + wheel or + and − to zoom, arrows to move, double click to zoom to a block, 0 for the whole.");
    this.canvas = el("canvas", {
      tabindex: 0,
      role: "application",
      "aria-label": this.description(),
      "aria-describedby": hint.id,
    });
    this.spacer = el("div.spacer");
    this.tip = el("div.tip", { hidden: true });
    this.scroller = el("div.scroller", { scroll: () => this.repaintSoon() }, this.canvas, this.spacer);
    this.detail = el("div.detail", { role: "status" }, "Click a block to read about it.");
    this.box.replaceChildren(...[tools, el("div.frame", {}, this.scroller, this.tip), this.detail, hint, this.merged()].filter(Boolean));
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.listen();
    this.readColors();
    this.layout();
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(this.scroller);
    this.paper = () => this.repaint();
    matchMedia("print").addEventListener("change", this.paper);
  }

  close() {
    this.observer?.disconnect();
    matchMedia("print").removeEventListener("change", this.paper);
    cancelAnimationFrame(this.wanted);
  }

  /** What the canvas shows, for those who do not see it. */
  description() {
    const names = this.tracks.map((track) => `${track.label} with ${plain(track.rows)} blocks`);
    const whole = duration(this.document.end_ns - this.document.start_ns);
    return `Timeline of ${whole}: ${names.slice(0, 12).join(", ")}. The tables of gaps, steps and stages hold the same in text.`;
  }

  merged() {
    const { events, rows, threads_left_out: out, counters_left_out: counters } = this.document;
    const parts = [];
    if (rows < events) {
      parts.push(`${plain(events)} events in ${plain(rows)} blocks: short neighbours are drawn as one striped block that says how many they are.`);
    }
    if (out) parts.push(`${plain(out)} less busy threads are left out.`);
    if (counters) parts.push(`${plain(counters)} values over time that were measured less often are left out.`);
    return parts.length ? el("p.quiet", {}, parts.join(" ")) : null;
  }

  trackSwitch(track) {
    const box = el("input", { type: "checkbox", checked: track.shown, change: () => ((track.shown = box.checked), this.layout()) });
    const fold =
      track.lanes.length > 1 &&
      el("button", { type: "button", click: () => ((track.folded = !track.folded), (fold.textContent = track.folded ? "unfold" : "fold"), this.layout()) }, track.folded ? "unfold" : "fold");
    return el("div", {}, el("label", {}, box, ` ${printable(track.label)}`), fold);
  }

  readColors() {
    const style = getComputedStyle(this.box);
    const color = (variable) => rgb(style.getPropertyValue(variable).trim());
    this.ground = color("--panel");
    this.laneGround = mix(this.ground, color("--line"), 0.35);
    this.ink = style.getPropertyValue("--ink").trim();
    this.quiet = style.getPropertyValue("--quiet").trim();
    this.line = style.getPropertyValue("--line").trim();
    this.accent = style.getPropertyValue("--accent").trim();
    this.palette = this.document.sorts.map((sort) => color(sort.startsWith("idle: ") ? `--cause-${sort.slice(6)}` : (COLORS[sort] ?? "--quiet")));
    const stages = this.tracks.find((track) => track.kind === "stages");
    const shown = new Set(stages ? stages.lanes.flatMap((lane) => Array.from(lane.name)) : []);
    this.stages = new Map([...shown].map((name) => [name, color(stageColor(this.document.names[name]))]));
    this.stageSort = this.document.sorts.indexOf("stage");
    this.variable = new Set(["operator", "range", "api", "python", "kernel"].map((sort) => this.document.sorts.indexOf(sort)));
    this.shades = new Map();
  }

  /** The colour of a block: that of its sort; stages by their name, and neighbours of one sort told apart by shade. */
  colorOf(sort, name) {
    if (sort === this.stageSort) return this.stages.get(name) ?? this.palette[sort];
    if (!this.variable.has(sort)) return this.palette[sort];
    const shade = name % 4;
    const key = sort * 4 + shade;
    let color = this.shades.get(key);
    if (!color) {
      color = mix(this.palette[sort], this.ground, shade * 0.13);
      this.shades.set(key, color);
    }
    return color;
  }

  layout() {
    const width = Math.max(320, this.scroller.clientWidth);
    let y = RULER;
    for (const track of this.tracks) {
      track.visible = track.shown ? (track.folded ? track.lanes.slice(0, 1) : track.lanes) : [];
      track.y = y;
      if (track.visible.length) y += track.visible.length * (LANE + 1) + BETWEEN;
    }
    this.total = y + 4;
    this.height = Math.min(this.total, HEIGHT);
    this.width = width;
    this.scroller.style.height = `${this.height}px`;
    this.spacer.style.height = `${Math.max(0, this.total - this.height)}px`;
    this.scale = Math.min(2, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(width * this.scale);
    this.canvas.height = Math.round(this.height * this.scale);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${this.height}px`;
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.row = new Uint32Array(this.canvas.width);
    this.draw();
  }

  repaint() {
    this.readColors();
    this.draw();
  }

  repaintSoon() {
    if (!this.wanted) this.wanted = requestAnimationFrame(() => ((this.wanted = 0), this.draw()));
  }

  // -- drawing

  draw() {
    const begun = performance.now();
    const { context, scale, pixels, canvas } = this;
    const top = this.scroller.scrollTop;
    const gutter = Math.round(GUTTER * scale);
    const perNs = (canvas.width - gutter) / (this.to - this.from);
    const labels = [];
    pixels.fill(pack(this.ground));
    for (const track of this.tracks) {
      for (let at = 0; at < track.visible.length; at += 1) {
        const y = track.y + at * (LANE + 1) - top;
        if (y + LANE < RULER || y > this.height) continue;
        this.fillLane(track.visible[at], gutter, perNs, y, labels);
        const first = Math.max(Math.round(y * scale), Math.round(RULER * scale));
        const last = Math.min(Math.round((y + LANE) * scale), canvas.height);
        const part = this.row.subarray(gutter);
        for (let line = first; line < last; line += 1) pixels.set(part, line * canvas.width + gutter);
      }
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.putImageData(this.image, 0, 0);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    this.drawText(labels);
    this.drawGutter(top);
    this.drawMarks(perNs / scale, top);
    this.drawRuler(perNs / scale);
    const whole = this.document.end_ns - this.document.start_ns;
    this.range.textContent = `${duration(Math.min(whole, this.to - this.from))} of ${duration(whole)}`;
    this.frames.push(performance.now() - begun);
    if (this.frames.length > 2000) this.frames.splice(0, 1000);
  }

  /** Fill one line of pixels for a lane, and note the labels of its wide blocks. */
  fillLane(lane, gutter, perNs, y, labels) {
    const { row, from, to, scale } = this;
    const { start, end, name, sort, count, covered, sums } = lane;
    const ground = this.laneGround;
    const width = row.length;
    const wide = 34 * scale;
    row.fill(pack(ground), gutter);
    let at = firstAt(start, from);
    while (at > 0 && end[at - 1] > from) at -= 1;
    const last = firstAt(start, to, at);
    const dim = lane.hits;
    while (at < last) {
      const left = gutter + (start[at] - from) * perNs;
      const size = (end[at] - start[at]) * perNs;
      if (size >= 2) {
        const x0 = Math.max(gutter, Math.round(left));
        const x1 = Math.min(width, Math.max(x0 + 1, Math.round(left + size)));
        let color = this.colorOf(sort[at], name[at]);
        if (dim && dim[at + 1] === dim[at]) color = mix(ground, color, 0.22);
        const gap = x1 - x0 >= 3 * scale ? Math.round(scale) : 0;
        if (count[at] > 1) {
          const shade = pack(mix(ground, color, Math.max(0.25, covered[at] / (end[at] - start[at]))));
          const between = pack(mix(ground, color, 0.2));
          for (let x = x0; x < x1 - gap; x += 1) row[x] = x % 6 < 4 ? shade : between;
        } else row.fill(pack(color), x0, x1 - gap);
        if (x1 - x0 > wide && labels.length < LABELS) labels.push([x0 / scale, y, (x1 - x0) / scale, lane, at, color]);
        at += 1;
        continue;
      }
      // Smaller than that: all that begins in this pixel, at once.
      const pixel = Math.max(gutter, Math.floor(left));
      const until = from + (pixel + 1 - gutter) / perNs;
      let next = firstAt(start, until, at + 1, Math.min(last, at + 2));
      if (next === at + 2) next = firstAt(start, until, next, last);
      // Blocks of a lane follow each other: only the last one can reach far beyond the pixel, and is drawn as itself.
      if (next > at + 1 && (end[next - 1] - start[next - 1]) * perNs >= 2) next -= 1;
      let most = 0;
      let whole = 0;
      let dominant = sort[at];
      for (let of = 0; of < sums.length; of += 1) {
        const sum = sums[of][1][next] - sums[of][1][at];
        whole += sum;
        if (sum > most) {
          most = sum;
          dominant = sums[of][0];
        }
      }
      if (pixel < width) {
        const color = dominant === this.stageSort ? this.colorOf(dominant, name[at]) : this.palette[dominant];
        let weight = Math.min(1, 0.3 + 0.7 * whole * perNs);
        if (dim) weight = dim[next] > dim[at] ? 1 : weight * 0.22;
        row[pixel] = pack(mix(ground, color, weight));
      }
      at = next;
    }
  }

  drawText(labels) {
    const { context } = this;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "left";
    for (const [x, y, width, lane, at, color] of labels) {
      if (y < RULER - LANE) continue;
      context.fillStyle = luminance(color) > 0.42 ? "#101316" : "#ffffff";
      const room = Math.floor((width - 8) / 6.1);
      const text = this.labelOf(lane, at);
      const long = duration(lane.end[at] - lane.start[at]);
      const shown = text.length + long.length + 2 <= room ? `${text}  ${long}` : text.length <= room ? text : `${text.slice(0, Math.max(1, room - 1))}…`;
      if (room > 2) context.fillText(shown, x + 4, y + LANE / 2 + 0.5);
    }
  }

  /** The short name of a block; how many it stands for where it stands for several. */
  labelOf(lane, at) {
    if (lane.count[at] > 1) return `${plain(lane.count[at])} blocks`;
    const code = lane.name[at];
    let label = this.labels.get(code);
    if (label === undefined) {
      const name = this.names[code];
      const cause = this.document.sorts[lane.sort[at]].startsWith("idle: ") && this.words.causes[name];
      label = cause ? cause.words : KERNELS.has(this.document.sorts[lane.sort[at]]) ? kernelName(name) : name;
      this.labels.set(code, label);
    }
    return label;
  }

  drawGutter(top) {
    const { context } = this;
    context.fillStyle = css(this.ground);
    context.fillRect(0, 0, GUTTER, this.height);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "left";
    for (const track of this.tracks) {
      if (!track.visible.length) continue;
      const y = track.y - top;
      const tall = track.visible.length * (LANE + 1);
      if (y + tall < RULER || y > this.height) continue;
      const at = Math.min(Math.max(y, RULER) + LANE / 2 + 0.5, y + tall - LANE / 2);
      context.fillStyle = this.ink;
      const mark = track.lanes.length > 1 ? (track.folded ? "▸ " : "▾ ") : "";
      const text = mark + printable(track.label);
      context.fillText(text.length > 29 ? `${text.slice(0, 28)}…` : text, 4, at);
      context.fillStyle = this.line;
      context.fillRect(0, y + tall + BETWEEN / 2, this.width, 0.5);
    }
  }

  drawRuler(perNs) {
    const { context } = this;
    context.fillStyle = css(this.ground);
    context.fillRect(0, 0, this.width, RULER);
    context.fillStyle = this.quiet;
    context.strokeStyle = this.line;
    context.lineWidth = 1;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    const rough = 110 / perNs;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
    const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step / 1e6) + 1e-9)));
    for (let time = Math.ceil(this.from / step) * step; time < this.to; time += step) {
      const x = GUTTER + (time - this.from) * perNs;
      context.globalAlpha = 0.6;
      context.fillRect(x, RULER - 6, 1, 6);
      context.globalAlpha = 1;
      const text = ((time || 0) / 1e6).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
      context.fillText(`${text} ms`, x + 4, RULER / 2);
    }
    context.fillStyle = this.line;
    context.fillRect(0, RULER - 0.5, this.width, 0.5);
    // Where in the whole this is.
    const [first, last] = this.bounds;
    const room = this.width - GUTTER;
    const left = GUTTER + (room * (this.from - first)) / (last - first);
    context.fillStyle = this.accent;
    context.fillRect(left, 0, Math.max(3, (room * (this.to - this.from)) / (last - first)), 2);
  }

  drawMarks(perNs, top) {
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(GUTTER, RULER, this.width - GUTTER, this.height - RULER);
    context.clip();
    if (this.marked) {
      const x = GUTTER + (this.marked[0] - this.from) * perNs;
      const width = Math.max(2, (this.marked[1] - this.marked[0]) * perNs);
      context.fillStyle = this.accent;
      context.globalAlpha = 0.1;
      context.fillRect(x, RULER, width, this.height);
      context.globalAlpha = 0.9;
      context.fillRect(x - 1, RULER, 1, this.height);
      context.fillRect(x + width, RULER, 1, this.height);
    }
    if (this.selected) {
      const { track, lane, at } = this.selected;
      const index = track.visible.indexOf(lane);
      if (index >= 0) {
        const x = GUTTER + (lane.start[at] - this.from) * perNs;
        context.globalAlpha = 1;
        context.strokeStyle = this.ink;
        context.lineWidth = 2;
        context.strokeRect(x, track.y + index * (LANE + 1) - top, Math.max(3, (lane.end[at] - lane.start[at]) * perNs), LANE);
      }
    }
    context.restore();
  }

  // -- moving

  /** Show a span of time, without leaving the trace. */
  view(from, to) {
    const [first, last] = this.bounds;
    const span = Math.min(last - first, Math.max(200, to - from));
    const begin = Math.max(first, Math.min((from + to - span) / 2, last - span));
    this.from = begin;
    this.to = begin + span;
    this.repaintSoon();
  }

  whole() {
    this.view(...this.bounds);
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    this.view(around - (around - this.from) * factor, around + (this.to - around) * factor);
  }

  pan(part) {
    const by = (this.to - this.from) * part;
    const [first, last] = this.bounds;
    const kept = Math.max(first - this.from, Math.min(by, last - this.to));
    this.from += kept;
    this.to += kept;
    this.repaintSoon();
  }

  /** Show a place: {start_ns, dur_ns}, with a name if it has one. */
  show({ start_ns: from, dur_ns: long, name = null }) {
    this.marked = [from, from + long];
    this.select(null);
    this.detail.replaceChildren(...[name && el("strong.name", {}, printable(name)), el("span.quiet", {}, placeText(from, long))].filter(Boolean));
    const room = Math.max(long, 2000);
    this.view(from - room * 0.6, from + long + room * 0.6);
  }

  nextGap() {
    const idle = this.tracks.filter((track) => track.kind === "idle").flatMap((track) => track.lanes.map((lane) => ({ track, lane })));
    const rows = idle.flatMap(({ track, lane }) => longestRows(lane, 50).map((at) => ({ track, lane, at })));
    rows.sort((a, b) => a.lane.start[a.at] - b.lane.start[b.at]);
    const now = this.selected ? this.selected.lane.start[this.selected.at] : -Infinity;
    const next = rows.find(({ lane, at }) => lane.start[at] > now) ?? rows[0];
    if (next) this.goTo(next);
  }

  goTo(row) {
    this.select(row);
    const { lane, at, track } = row;
    const long = Math.max(lane.end[at] - lane.start[at], 2000);
    this.view(lane.start[at] - long * 0.8, lane.end[at] + long * 0.8);
    const y = track.y + Math.max(0, track.visible.indexOf(lane)) * (LANE + 1);
    if (y < this.scroller.scrollTop + RULER || y > this.scroller.scrollTop + this.height - 2 * LANE) this.scroller.scrollTop = y - this.height / 2;
  }

  // -- searching

  find(text) {
    const wanted = text.trim().toLowerCase();
    this.hits = null;
    if (!wanted) {
      for (const lane of this.lanes()) lane.hits = null;
      this.found.textContent = "";
      this.repaintSoon();
      return;
    }
    const matches = Uint8Array.from(this.names, (name) => (name.toLowerCase().includes(wanted) ? 1 : 0));
    const hits = [];
    for (const track of this.tracks) {
      for (const lane of track.lanes) {
        lane.hits = new Int32Array(lane.start.length + 1);
        for (let at = 0; at < lane.start.length; at += 1) {
          lane.hits[at + 1] = lane.hits[at] + matches[lane.name[at]];
          if (matches[lane.name[at]]) hits.push({ track, lane, at });
        }
      }
    }
    hits.sort((a, b) => a.lane.start[a.at] - b.lane.start[b.at]);
    this.hits = { rows: hits, at: -1 };
    this.found.textContent = hits.length ? `${plain(hits.length)} found, Enter for the next` : "nothing found";
    this.repaintSoon();
  }

  nextHit(direction) {
    if (!this.hits?.rows.length) return;
    const { rows } = this.hits;
    this.hits.at = (this.hits.at + direction + rows.length) % rows.length;
    this.found.textContent = `${plain(this.hits.at + 1)} of ${plain(rows.length)}`;
    this.goTo(rows[this.hits.at]);
  }

  *lanes() {
    for (const track of this.tracks) yield* track.lanes;
  }

  // -- pointing

  listen() {
    const { canvas } = this;
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      drag = { x: event.clientX, y: event.clientY, from: this.from, to: this.to, top: this.scroller.scrollTop, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!drag) return this.hover(event);
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.moved && Math.hypot(dx, dy) < 4) return undefined;
      drag.moved = true;
      this.tip.hidden = true;
      const by = (-dx * (drag.to - drag.from)) / (this.width - GUTTER);
      const [first, last] = this.bounds;
      const kept = Math.max(first - drag.from, Math.min(by, last - drag.to));
      this.from = drag.from + kept;
      this.to = drag.to + kept;
      this.scroller.scrollTop = drag.top - dy;
      this.repaintSoon();
      return undefined;
    });
    const drop = (event) => {
      if (drag && !drag.moved && event.type === "pointerup") this.click(event);
      drag = null;
    };
    canvas.addEventListener("pointerup", drop);
    canvas.addEventListener("pointercancel", drop);
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    canvas.addEventListener("dblclick", (event) => {
      const row = this.rowAt(event);
      if (row) this.show({ start_ns: row.lane.start[row.at], dur_ns: row.lane.end[row.at] - row.lane.start[row.at] });
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) {
          event.preventDefault();
          this.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.006), this.timeAt(event));
        } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          event.preventDefault();
          this.pan((event.shiftKey ? event.deltaY || event.deltaX : event.deltaX) / this.width);
        }
      },
      { passive: false },
    );
    const keys = {
      ArrowLeft: () => this.pan(-0.15),
      ArrowRight: () => this.pan(0.15),
      a: () => this.pan(-0.15),
      d: () => this.pan(0.15),
      "+": () => this.zoom(0.6),
      "=": () => this.zoom(0.6),
      w: () => this.zoom(0.6),
      "-": () => this.zoom(1 / 0.6),
      s: () => this.zoom(1 / 0.6),
      0: () => this.whole(),
      Home: () => this.whole(),
      n: () => this.nextGap(),
      ".": () => this.neighbour(1),
      ",": () => this.neighbour(-1),
      Escape: () => ((this.marked = null), this.select(null)),
    };
    canvas.addEventListener("keydown", (event) => {
      const act = keys[event.key];
      if (!act || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      act();
    });
  }

  neighbour(direction) {
    if (!this.selected) return;
    const { track, lane, at } = this.selected;
    const next = at + direction;
    if (next >= 0 && next < lane.start.length) this.goTo({ track, lane, at: next });
  }

  timeAt(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left - GUTTER;
    return this.from + (Math.max(0, x) * (this.to - this.from)) / (this.width - GUTTER);
  }

  trackAt(event) {
    const y = event.clientY - this.canvas.getBoundingClientRect().top;
    if (y < RULER) return null;
    const at = y + this.scroller.scrollTop;
    const track = this.tracks.find((one) => one.visible.length && at >= one.y && at < one.y + one.visible.length * (LANE + 1));
    return track ? { track, lane: track.visible[Math.floor((at - track.y) / (LANE + 1))] } : null;
  }

  rowAt(event) {
    const found = this.trackAt(event);
    if (!found) return null;
    const time = this.timeAt(event);
    const slack = (2 * (this.to - this.from)) / this.width;
    const { start, end } = found.lane;
    let at = firstAt(start, time + slack) - 1;
    let best = null;
    for (let tries = 0; at >= 0 && tries < 8; tries += 1, at -= 1) {
      if (end[at] >= time && start[at] <= time) return { ...found, at };
      if (best === null && end[at] + slack >= time) best = at;
    }
    return best === null ? null : { ...found, at: best };
  }

  click(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    if (x < GUTTER) {
      const found = this.trackAt(event);
      if (found && found.track.lanes.length > 1) {
        found.track.folded = !found.track.folded;
        this.layout();
      }
      return;
    }
    this.select(this.rowAt(event));
  }

  hover(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    const row = x < GUTTER ? null : this.rowAt(event);
    this.tip.hidden = !row;
    if (!row) return;
    const { lane, at } = row;
    const label = this.labelOf(lane, at);
    this.tip.replaceChildren(
      el("strong", {}, label.length > 90 ? `${label.slice(0, 89)}…` : label),
      el("span", {}, ` ${duration(lane.end[at] - lane.start[at])}`),
    );
    const box = this.scroller.getBoundingClientRect();
    this.tip.style.left = `${Math.min(Math.max(0, event.clientX - box.left + 12), Math.max(0, box.width - 260))}px`;
    this.tip.style.top = `${event.clientY - box.top + 16}px`;
  }

  select(row) {
    this.selected = row;
    this.repaintSoon();
    if (!row) {
      this.detail.textContent = "Click a block to read about it.";
      return;
    }
    const { track, lane, at } = row;
    const long = lane.end[at] - lane.start[at];
    const sort = this.document.sorts[lane.sort[at]];
    const cause = sort.startsWith("idle: ") ? this.words.causes[sort.slice(6)] : null;
    const several = lane.count[at] > 1;
    const facts = [
      several ? `${plain(lane.count[at])} blocks in ${duration(long)}, ${share(long ? lane.covered[at] / long : 1)} of it covered; the longest:` : sort.replace("idle: ", "idle, "),
      several ? null : duration(long),
      momentText(lane.start[at]),
      printable(track.label),
    ];
    this.detail.replaceChildren(
      cause ? el("strong", {}, cause.words) : el("strong.name", {}, this.names[lane.name[at]]),
      el("span.quiet", {}, facts.filter(Boolean).join(" · ")),
      cause ? el("span.quiet", {}, cause.definition) : "",
    );
  }
}

function momentText(ns) {
  return `at ${(ns / 1e6).toLocaleString("en-US", { maximumFractionDigits: 6 })} ms`;
}

function placeText(start, long) {
  return `${duration(long)} ${momentText(start)}`;
}

/** The rows of a lane that last longest. */
function longestRows(lane, count) {
  const rows = Array.from(lane.start.keys());
  return rows.sort((a, b) => lane.end[b] - lane.start[b] - (lane.end[a] - lane.start[a])).slice(0, count);
}

/** «#1f5bbf», the only form of colours in the style sheet, as [red, green, blue]. */
function rgb(text) {
  const hex = text.replace("#", "");
  return [0, 2, 4].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) || 0);
}

function mix(one, other, part) {
  return [one[0] + (other[0] - one[0]) * part, one[1] + (other[1] - one[1]) * part, one[2] + (other[2] - one[2]) * part];
}

/** As the pixels of a canvas lie in memory on every machine that browsers run on: little-endian RGBA. */
function pack([red, green, blue]) {
  return ((255 << 24) | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red)) >>> 0;
}

function css([red, green, blue]) {
  return `rgb(${Math.round(red)} ${Math.round(green)} ${Math.round(blue)})`;
}

function luminance([red, green, blue]) {
  return (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
}
