// Numbers for people. Exact values stay in the data; what is shown is rounded.

const THIN = "\u202f";
const number = (value, digits) =>
  value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** A duration with its unit: milliseconds, or seconds and microseconds where those read better. */
export function duration(ns) {
  if (ns === null || ns === undefined) return "–";
  const size = Math.abs(ns);
  if (size >= 10e9) return `${number(ns / 1e9, 1)}${THIN}s`;
  if (size >= 1e5 || size === 0) return `${number(ns / 1e6, size >= 10e6 ? 1 : size >= 1e6 ? 2 : 3)}${THIN}ms`;
  return size >= 1e3 ? `${number(ns / 1e3, size >= 1e4 ? 1 : 2)}${THIN}µs` : `${number(ns, 0)}${THIN}ns`;
}

/** A share as a percentage: whole from 10 % on, with a decimal below. */
export function share(value) {
  if (value === null || value === undefined) return "–";
  const percent = 100 * value;
  return `${number(percent, percent >= 9.95 ? 0 : 1)}${THIN}%`;
}

/** A percentage that is never rounded up: 99.96 is not 100. */
export function shareAtLeast(value) {
  return `${number(Math.floor(1000 * value + 1e-6) / 10, 1)}${THIN}%`;
}

/** A size in decimal units. */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (Math.abs(count) >= 1000 && at < units.length - 1) {
    count /= 1000;
    at += 1;
  }
  return `${number(count, at ? 1 : 0)}${THIN}${units[at]}`;
}

/** A plain number: integers with separators, others with three digits that count. */
export function plain(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return number(value, 0);
  const size = Math.abs(value);
  return number(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

/** A value with the unit that evidence names. */
export function withUnit(value, unit) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (unit === "share") return share(value);
  if (unit === "ns") return duration(value);
  if (unit === "bytes") return bytes(value);
  return unit ? `${plain(value)}${THIN}${unit}` : plain(value);
}

/** The unit in which a column of nanoseconds reads best, by its largest value. */
export function columnUnit(values) {
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value ?? 0)), 0);
  if (largest >= 100e9) return { unit: "s", by: 1e9 };
  return largest >= 1e6 ? { unit: "ms", by: 1e6 } : { unit: "µs", by: 1e3 };
}

/** A value in the unit of its column, without the unit. */
export function inUnit(ns, { unit, by }) {
  if (ns === null || ns === undefined) return "–";
  const value = ns / by;
  const digits = unit === "µs" ? 1 : value >= 9.995 || value === 0 ? 1 : 2;
  return number(value, digits);
}

const DECORATION = /\(anonymous namespace\)::|\bat::native::|\bat::detail::|^void |\bc10::|\bstd::/g;

/** A C++ kernel name without what does not tell it apart: no namespaces, no parameter list. */
export function kernelName(name) {
  const short = name.replace(DECORATION, "");
  let depth = 0;
  for (let at = 0; at < short.length; at += 1) {
    if (short[at] === "<") depth += 1;
    else if (short[at] === ">" && short[at - 1] !== "-") depth -= 1;
    else if (short[at] === "(" && depth === 0 && at) return short.slice(0, at);
  }
  return short;
}

/** The last part of a path. */
export function fileName(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}
