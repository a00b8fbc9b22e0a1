// Start of a page: plotly is loaded after the first paint, and errors are shown.

import { byId, el } from "./dom.js";

/** Resolves when charts can be drawn. */
export async function loadPlotly() {
  await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
  await new Promise((done, failed) => {
    document.head.append(el("script", { src: "/assets/plotly.js", onload: done, onerror: () => failed(new Error("plotly cannot be loaded")) }));
  });
}

/** Shows an error, or hides it. */
export function showProblem(error) {
  byId("problem").hidden = error == null;
  byId("problem").textContent = error == null ? "" : error.message;
}

/** Starts a page and shows its errors. */
export function run(start) {
  start().catch((error) => {
    showProblem(error);
    throw error;
  });
}
