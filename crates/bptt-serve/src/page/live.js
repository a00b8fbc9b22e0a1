// A running training, with curves of other runs.

import { byId, el } from "./dom.js";
import { Ledger, unpack } from "./ledger.js";
import { State } from "./state.js";
import { themeButton } from "./theme.js";
import { Heatmap, cellInWords } from "./heatmap.js";
import { rainbowInWords, showRainbow } from "./flow.js";
import { factList } from "./training.js";
import { parameterName } from "./tables.js";
import { Charts, tooltip } from "./view.js";
import { curvesInWords, hueOf, showCurves } from "./curves.js";
import { loadPlotly, run, showProblem } from "./start.js";
import { namesAsText, namesIn, runLinks, statusInWords } from "./run.js";
import { ask, read } from "./server.js";

/** Interval for reading the curves of other runs, and for drawing charts that are not in view, ms. */
const AGAIN = 2000;

/** The number of points beyond which a curve is thinned to half of them. */
const POINTS = 4000;

/** A curve with evenly spaced points, if it has too many. */
function thinned(points) {
  if (points.length <= POINTS) return points;
  const gap = (2 * (points.at(-1)[0] - points[0][0])) / POINTS;
  let kept = -Infinity;
  return points.filter(([step], i) => {
    if (step - kept < gap && i < points.length - 1) return false;
    kept = step;
    return true;
  });
}

/** The curves of a run with the new points in `news`. */
function joined(training, news) {
  const add = (old, fresh) => {
    const last = old.at(-1)?.[0] ?? -1;
    return thinned([...old, ...fresh.filter(([step]) => step > last)]);
  };
  const curves = ["steps", "traces", "evaluations"].map((key) => [key, add(training[key], news[key])]);
  return { ...training, ...Object.fromEntries(curves) };
}

/** The contents of the page, from the messages of the server. */
class Page {
  constructor(state) {
    Object.assign(this, { state, live: null, names: [], others: new Map(), ledger: null, drawing: false });
  }

  /** The runs with curves, the training first; a run keeps its color. */
  runs() {
    const chosen = namesIn(this.state.now.runs);
    const all = this.names.map((name, i) => ({ name, training: this.others.get(name), hue: hueOf(i + 1) }));
    const live = this.live ? [{ name: this.live.name, training: this.live.training, hue: hueOf(0) }] : [];
    return [...live, ...all.filter(({ name, training }) => training && chosen.includes(name))];
  }

  /** The view of the parts that show the ledger. */
  view() {
    const { subject, ledger } = this.ledger;
    const { entry, scale, k, t } = this.state.now;
    const found = ledger.entries.findIndex((e) => `${e.layer} ${e.direction} ${e.parameter}` === entry);
    const entryIndex = Math.max(0, found);
    const within = (value) => Math.min(value, ledger.steps - 1);
    return { subject, ledger, entry: ledger.entry(entryIndex), entryIndex, gate: null, scale, k: within(k), t: within(t) };
  }
}

/** The status line, the bar and the buttons. */
function showStatus(live) {
  const { name, status, step, updates, training } = live;
  byId("status").textContent = statusInWords(live);
  byId("progress").max = updates;
  byId("progress").value = step;
  byId("pause").textContent = status === "paused" ? "Resume" : "Pause";
  for (const id of ["pause", "stop"]) byId(id).disabled = status === "ended" || status === "stopping";
  byId("rate-form").querySelector("button").disabled = status === "ended";
  const links = byId("links");
  links.hidden = status !== "ended";
  if (status === "ended" && links.childElementCount === 0) links.replaceChildren(...runLinks(name));
  const rate = training.steps.at(-1)?.[4];
  if (document.activeElement !== byId("rate") && rate != null) byId("rate").value = String(Number(rate.toPrecision(6)));
  document.documentElement.dataset.status = status;
}

function showLedger(page) {
  const { ledger, tooLong } = page.ledger;
  byId("heatmap").hidden = false;
  byId("rainbow").hidden = tooLong != null;
  for (const id of ["heatmap-chart", "heatmap-key", "cell-words"]) byId(id).hidden = tooLong != null;
  if (tooLong != null) {
    byId("ledger-words").textContent = `The window of ${tooLong} steps is too long to be drawn during training; the report after the training shows it.`;
    return;
  }
  const view = page.view();
  byId("ledger-words").textContent = `The first sequence of update ${ledger.step}, before the update: the contribution of step t to the gradient of loss k.`;
  const name = (e) => `${parameterName(e)}${ledger.entries.some((o) => o.layer > 0 || o.direction !== e.direction) ? `, layer ${e.layer} ${e.direction}` : ""}`;
  const options = ledger.entries.map((e) => [`${e.layer} ${e.direction} ${e.parameter}`, name(e)]);
  const select = byId("entry");
  if (select.options.length !== options.length) select.replaceChildren(...options.map(([value, words]) => el("option", { value }, words)));
  select.selectedIndex = view.entryIndex;
  for (const radio of document.querySelectorAll("input[name=scale]")) radio.checked = radio.value === page.state.now.scale;
  byId("cell-words").replaceChildren(...cellInWords(view, view.k, view.t));
  byId("rainbow-words").replaceChildren(...rainbowInWords(view));
}

/** The choice of other runs. */
function offerRuns(page, changed) {
  const chosen = new Set(namesIn(page.state.now.runs));
  byId("runs").hidden = page.names.length === 0;
  const boxes = page.names.map((name, i) => {
    const box = el("input", { type: "checkbox", value: name });
    box.checked = chosen.has(name);
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      page.state.set({ runs: namesAsText(page.names.filter((n) => chosen.has(n))) });
      changed();
    });
    return el("label", {}, box, el("span", { class: "swatch", style: `background: ${hueOf(i + 1)}` }), el("bdi", {}, name));
  });
  byId("runs").replaceChildren(el("legend", {}, page.live ? "Other runs" : "Runs"), ...boxes);
}

/** Reads the curves of the chosen runs, repeatedly for those that have not ended. */
async function follow(page, changed) {
  const chosen = namesIn(page.state.now.runs).filter((name) => page.names.includes(name));
  const open = chosen.filter((name) => !page.others.get(name)?.end);
  for (const name of open) page.others.set(name, await read("/api/runs/curves", { run: name }));
  if (open.length > 0) changed();
}

/** Receives the events of the training. */
function listen(page, changed) {
  const source = new EventSource("/api/live");
  const on = (name, use) =>
    source.addEventListener(name, async ({ data }) => {
      await use(JSON.parse(data));
      changed();
    });
  on("everything", ({ steps, traces, evaluations, unit, ...others }) => {
    page.live = { ...others, training: { steps, traces, evaluations, unit } };
    byId("name").textContent = others.name;
    byId("facts").replaceChildren(factList(others.facts));
    byId("ask").hidden = false;
    offerRuns(page, changed);
  });
  on("news", ({ steps, traces, evaluations, ...status }) => {
    if (page.live) page.live = { ...page.live, ...status, training: joined(page.live.training, { steps, traces, evaluations }) };
  });
  on("ledger", async ({ data, numbers, too_long: tooLong }) => {
    if (tooLong != null) page.ledger = { tooLong };
    else page.ledger = { subject: data.subjects[0], ledger: new Ledger(data.subjects[0].stages[0], await unpack(numbers)) };
  });
  source.addEventListener("end", () => source.close());
  source.addEventListener("error", () => {
    if (page.live?.status === "ended") return source.close();
    byId("status").textContent = "The server does not answer; reconnecting.";
  });
}

/** Connects the buttons with the training. */
function connectButtons(page) {
  const send = async (question, words) => {
    try {
      await ask("/api/live/ask", question);
      byId("answer").textContent = words;
    } catch (error) {
      byId("answer").textContent = error.message;
    }
  };
  byId("pause").addEventListener("click", () => {
    const paused = page.live.status === "paused";
    send({ action: paused ? "resume" : "pause" }, "");
  });
  byId("stop").addEventListener("click", () => send({ action: "stop" }, "The network is kept."));
  byId("rate-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const value = byId("rate").valueAsNumber;
    byId("rate").blur();
    send({ action: "learning_rate", value }, `The base learning rate is ${value} from the next update on.`);
  });
}

async function start() {
  const initial = { runs: "", entry: "0 forward weight_hh", scale: "log", k: 1e9, t: 1e9 };
  const state = new State(initial, (choice) => ({ ...choice, scale: ["log", "norm", "share"].includes(choice.scale) ? choice.scale : "log" }));
  const page = new Page(state);
  const heatmap = new Heatmap(byId("heatmap-chart"), byId("heatmap-key"), (cell) => state.set(cell), tooltip(() => page.view()));
  let drawable = false;
  const charts = new Charts({
    "curves-chart": (place) => !place.hidden && showCurves(place, page.runs()),
    "heatmap-chart": () => page.ledger?.ledger && heatmap.show(page.view()),
    "rainbow-chart": (place) => page.ledger?.ledger && showRainbow(place, page.view(), (change) => state.set(change)),
  }, { pause: AGAIN });
  const show = () => {
    page.drawing = false;
    if (page.live) showStatus(page.live);
    const runs = page.runs();
    // Axes without a curve say nothing.
    byId("curves-chart").hidden = runs.every(({ training }) => training.steps.length === 0);
    byId("curves-words").textContent = runs.length > 0 ? curvesInWords(runs) : "No run is chosen.";
    if (page.ledger) showLedger(page);
    if (drawable) charts.show(page);
  };
  // Several messages are drawn once.
  const changed = () => {
    if (page.drawing) return;
    page.drawing = true;
    requestAnimationFrame(show);
  };
  const problem = (error) => showProblem(error);

  const list = await read("/api/runs");
  page.names = list.runs.map(({ name }) => name).filter((name) => name !== list.live);
  byId("progress-place").hidden = list.live == null;
  byId("facts-place").hidden = list.live == null;
  if (!list.live) byId("status").textContent = "bptt train --serve shows a running training here. Choose finished runs below to see their curves.";
  offerRuns(page, () => follow(page, changed).catch(problem));
  await follow(page, changed);
  setInterval(() => follow(page, changed).catch(problem), AGAIN);
  if (list.live) listen(page, changed);
  connectButtons(page);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("entry").addEventListener("input", ({ target }) => state.set({ entry: target.value }));
  for (const radio of document.querySelectorAll("input[name=scale]")) {
    radio.addEventListener("change", () => state.set({ scale: radio.value }));
  }
  state.listen(changed);
  await loadPlotly();
  drawable = true;
  themeButton(byId("theme"), () => {
    offerRuns(page, () => follow(page, changed).catch(problem));
    changed();
  });
  show();
  document.documentElement.dataset.ready = "";
}

run(start);
