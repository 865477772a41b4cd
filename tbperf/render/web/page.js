// The entry of the HTML report: everything it needs lies in the page.

import { drawReport } from "./report.js";
import { themeBar } from "./theme.js";

const read = (id) => JSON.parse(document.getElementById(id).textContent);

const page = document.getElementById("page");
const drawn = drawReport(page, { report: read("report"), words: read("words"), timelines: read("timelines") });
page.before(themeBar(() => drawn.repaint()));
window.tbperf = drawn;

// On paper everything that can be opened is open.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.finding:not([open])")];
  for (const finding of opened) finding.open = true;
});
addEventListener("afterprint", () => {
  for (const finding of opened) finding.open = false;
});
