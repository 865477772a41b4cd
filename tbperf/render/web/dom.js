// Elements without a template language: text only ever reaches the page through text nodes and attributes that are set
// as values, so that no name in a trace can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: el("td.figure", {title: "…"}, "text", child). Functions become listeners; null leaves one out. */
export function el(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElement(name), classes, attributes, children);
}

/** The same for drawings. */
export function svg(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElementNS(SVG, name), classes, attributes, children);
}

function filled(node, classes, attributes, children) {
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(key, value);
    else if (key === "style") for (const [property, to] of Object.entries(value)) node.style.setProperty(property, to);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Show control and direction-changing characters as their code: names in traces are not to be trusted. */
export function printable(text) {
  return String(text).replace(HIDDEN, (c) => `\\x${c.codePointAt(0).toString(16).padStart(2, "0")}`);
}

/** Copy a text, and say so on the button that asked for it. */
export async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch {
    button.textContent = "select it and copy by hand";
  }
  setTimeout(() => (button.textContent = before), 1500);
}
