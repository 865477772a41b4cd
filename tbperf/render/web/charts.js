// Small charts in SVG and plain boxes. Each has its numbers as text beside it, so that none depends on seeing it.

import { el, printable, svg } from "./dom.js";
import { duration, share } from "./format.js";

/** One bar cut into parts that sum to the whole: [{name, value, color, words, title}]; with its legend as a list. */
export function stackedBar({ label, parts, total, format = duration }) {
  const shownParts = parts.filter((part) => part.value > 0);
  const text = `${label}: ${shownParts.map((p) => `${p.words} ${share(p.value / total)}`).join(", ")}`;
  const bar = el(
    "div.stack",
    { role: "img", "aria-label": text },
    shownParts.map((part) => {
      const portion = part.value / total;
      const box = el("span", {
        class: `part ${fillClass(part)}`,
        title: `${part.words}: ${format(part.value)}, ${share(portion)}`,
        style: { "flex-grow": String(portion), ...fillStyle(part) },
      });
      if (portion > 0.07) box.append(el("span.in", {}, `${portion > 0.16 ? `${part.words} ` : ""}${share(portion)}`));
      return box;
    }),
  );
  const items = parts.map((part) =>
    el(
      "li",
      { "data-part": part.name, "data-value": part.value },
      el(`span.key.${fillClass(part)}`, { "aria-hidden": "true", style: fillStyle(part) }),
      el("span.what", { title: part.title }, part.words),
      el("span.amount", {}, format(part.value)),
      el("span.share", {}, share(part.value / total)),
    ),
  );
  return el("div.chart", {}, bar, el("ul.legend", {}, items));
}

/** A part is filled by a class of the style sheet, or by a variable of it. */
const fillClass = (part) => (part.color.startsWith("--") ? "fill" : `fill-${part.color}`);
const fillStyle = (part) => (part.color.startsWith("--") ? { background: `var(${part.color})` } : {});

/** Horizontal bars, one a row: [{words, value, text, detail, color, title}]; every row says its figures. */
export function bars({ caption, rows, total, headings, jump = null }) {
  const most = Math.max(1, ...rows.map((row) => row.value));
  return el(
    "div.scroll",
    {},
    el(
      "table.bars",
      {},
      el("caption", {}, caption),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", { scope: "col" }, headings[0]),
          el("th", { scope: "col", "aria-hidden": "true" }, ""),
          headings.slice(1).map((heading) => el("th.figure", { scope: "col" }, heading)),
          jump && el("th", { scope: "col" }, el("span.hidden", {}, "Timeline")),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            { "data-row": row.name, title: row.title },
            el("th.rowhead", { scope: "row" }, el(`span.key.fill-${row.color}`, { "aria-hidden": "true" }), row.words),
            el(
              "td.bar",
              { "aria-hidden": "true" },
              el(`span.fill-${row.color}`, { style: { width: `${(100 * row.value) / most}%` } }),
            ),
            row.figures.map((figure) =>
              el("td.figure", { "data-key": figure.key, "data-value": figure.value }, figure.text),
            ),
            jump && el("td", {}, row.place && jump(row.place, row.words)),
          ),
        ),
      ),
    ),
  );
}

/** One column a step, busy below and idle above; the slowest and the mean are named. */
export function stepStrip(steps, onStep = null) {
  const most = Math.max(...steps.map((step) => step.dur_ns));
  const mean = steps.reduce((sum, step) => sum + step.dur_ns, 0) / steps.length;
  const [width, height] = [960, 110];
  const each = width / steps.length;
  const gap = each > 6 ? 2 : each > 3 ? 1 : 0;
  const y = (ns) => (height * ns) / most;
  const slowest = steps.reduce((a, b) => (b.dur_ns > a.dur_ns ? b : a));
  const known = steps.some((step) => step.busy_ns !== null);
  const text =
    `${steps.length} steps, ${duration(mean)} on average; the slowest is step ${slowest.step} with ` +
    `${duration(slowest.dur_ns)}`;
  const drawn = steps.map((step, at) => {
    const title =
      `step ${step.step}: ${duration(step.dur_ns)}` + (known ? `, GPU idle ${duration(step.idle_ns)}` : "");
    const x = at * each + gap / 2;
    const box = { x, width: Math.max(0.5, each - gap) };
    const busy = known ? y(step.busy_ns) : y(step.dur_ns);
    return svg(
      "g",
      { "data-step": step.step, click: onStep && (() => onStep(step)), class: onStep ? "clickable" : "" },
      svg("title", {}, title),
      svg("rect.fill-kernels", { ...box, y: height - busy, height: busy }),
      known && svg("rect.fill-idle", { ...box, y: height - y(step.dur_ns), height: Math.max(0, y(step.dur_ns) - busy) }),
    );
  });
  return el(
    "figure.strip",
    {},
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": text },
      drawn,
      svg("line.mean", { x1: 0, x2: width, y1: height - y(mean), y2: height - y(mean) }),
    ),
    el(
      "figcaption",
      {},
      el("span.key.fill-kernels", { "aria-hidden": "true" }),
      known ? "GPU busy " : "duration ",
      known && el("span.key.fill-idle", { "aria-hidden": "true" }),
      known && "GPU idle ",
      el("span.key.meanline", { "aria-hidden": "true" }),
      `mean ${duration(mean)} · slowest step ${slowest.step}: ${duration(slowest.dur_ns)}`,
    ),
  );
}

/** A value over time: {label, times, values, format}; the extremes and the mean are said in words. */
export function lineChart({ label, times, values, format, start, end, low = null, high = null }) {
  const [width, height] = [960, 72];
  const smallest = low ?? Math.min(0, ...values);
  const largest = Math.max(high ?? -Infinity, ...values, smallest + 1e-9);
  const x = (time) => (width * (time - start)) / Math.max(1, end - start);
  const y = (value) => height - 2 - ((height - 4) * (value - smallest)) / (largest - smallest);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const text = `mean ${format(mean)}, from ${format(Math.min(...values))} to ${format(Math.max(...values))}`;
  const path = times.map((time, at) => `${at ? "L" : "M"}${x(time).toFixed(1)} ${y(values[at]).toFixed(1)}`).join("");
  return el(
    "figure.line",
    {},
    el("figcaption", {}, el("strong", {}, printable(label)), ` ${text}`),
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${text}` },
      svg("path", { d: path, class: "curve" }),
    ),
  );
}
