// The raw trace in Perfetto's own page, which takes it from this browser by a message: nothing is uploaded.

import { el, printable } from "./dom.js";
import { bytes } from "./format.js";

const ORIGIN = "https://ui.perfetto.dev";
const PATIENCE_MS = 15000;

/** Show traces, each {name, address}; says in a sentence what keeps it from doing so. */
export function perfetto(box, sources) {
  const status = el("p.quiet", { role: "status" });
  const place = el("div");
  const choose = sources.map((source) => el("button", { type: "button", click: () => show(source) }, printable(source.name)));
  box.replaceChildren(el("h2", {}, "Raw trace"), sources.length > 1 && el("p", {}, choose), status, place);
  if (sources.length === 1) show(sources[0]);

  async function show(source) {
    const frame = el("iframe", { src: ORIGIN, title: "Perfetto trace viewer", allow: "", referrerpolicy: "no-referrer" });
    place.replaceChildren(frame);
    status.textContent = `Waiting for ${ORIGIN} …`;
    if (!(await answers(frame))) {
      place.replaceChildren();
      status.textContent = `${ORIGIN} cannot be reached from this browser, so the raw trace cannot be shown here. The timeline below needs no network; the file itself opens in any viewer of Chrome traces.`;
      return;
    }
    try {
      const buffer = await download(source, (done, all) => (status.textContent = `Reading ${printable(source.name)}: ${bytes(done)}${all ? ` of ${bytes(all)}` : ""}`));
      frame.contentWindow.postMessage({ perfetto: { buffer, title: source.name, fileName: source.name } }, ORIGIN, [buffer]);
      status.textContent = "Shown by Perfetto's page in this browser; nothing was uploaded.";
    } catch (error) {
      status.textContent = `The trace cannot be read: ${error.message}`;
    }
  }
}

/** Ask the page in a frame whether it is there, until it says so. */
function answers(frame) {
  return new Promise((resolve) => {
    const began = performance.now();
    const timer = setInterval(() => {
      if (performance.now() - began > PATIENCE_MS || !navigator.onLine) finish(false);
      else frame.contentWindow?.postMessage("PING", ORIGIN);
    }, 200);
    const heard = (event) => event.origin === ORIGIN && event.data === "PONG" && finish(true);
    window.addEventListener("message", heard);
    function finish(there) {
      clearInterval(timer);
      window.removeEventListener("message", heard);
      resolve(there);
    }
  });
}

/** Read a file piece by piece. */
async function download({ address }, progress) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`TensorBoard answers ${response.status}`);
  const all = Number(response.headers.get("Content-Length")) || 0;
  const pieces = [];
  let done = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done: ended, value } = await reader.read();
    if (ended) break;
    pieces.push(value);
    done += value.length;
    progress(done, all);
  }
  return new Blob(pieces).arrayBuffer();
}
