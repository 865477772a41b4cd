// The entry of the HTML report: everything it needs lies in the page.

import { el } from "./dom.js";
import { drawReport } from "./report.js";

const read = (id) => JSON.parse(document.getElementById(id).textContent);

const page = document.getElementById("page");
const theme = el("button", { type: "button", click: toggleTheme });
const print = el("button", { type: "button", click: () => window.print() }, "print");
page.before(el("div.tbperf-bar.bar-top", {}, theme, print));

const drawn = drawReport(page, { report: read("report"), words: read("words"), timelines: read("timelines") });
window.tbperf = drawn;

/** What the page shows: the theme that was chosen here, else that of the system. */
function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function toggleTheme() {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  name();
  drawn.repaint();
}

function name() {
  theme.textContent = dark() ? "light" : "dark";
  theme.setAttribute("aria-label", `Switch to the ${dark() ? "light" : "dark"} theme`);
}

name();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (name(), drawn.repaint()));
