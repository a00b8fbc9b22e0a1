// What every page needs at its start: plotly, once the page has been painted, and a place for what goes wrong.

import { byId, el } from "./dom.js";

/** Resolves when charts can be drawn. */
export async function loadPlotly() {
  await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
  await new Promise((done, failed) => {
    document.head.append(el("script", { src: "/assets/plotly.js", onload: done, onerror: () => failed(new Error("plotly cannot be loaded")) }));
  });
}

/** Shows what went wrong; nothing if all is well. */
export function showProblem(error) {
  byId("problem").hidden = error == null;
  byId("problem").textContent = error == null ? "" : error.message;
}

/** Starts a page and shows what goes wrong. */
export function run(start) {
  start().catch((error) => {
    showProblem(error);
    throw error;
  });
}
