// The bar above a page: light or dark, and print.

import { el } from "./dom.js";

/** What the page shows: the theme that was chosen here, else that of the system. */
function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** The bar; repaint is called when the colours have changed. */
export function themeBar(repaint = () => {}) {
  const theme = el("button", { type: "button", click: toggle });
  const print = el("button", { type: "button", click: () => window.print() }, "print");

  function toggle() {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    name();
    repaint();
  }

  function name() {
    theme.textContent = dark() ? "light" : "dark";
    theme.setAttribute("aria-label", `Switch to the ${dark() ? "light" : "dark"} theme`);
  }

  name();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (name(), repaint()));
  return el("div.tbperf-bar.bar-top", {}, theme, print);
}
