// The laboratory: the server computes a new ledger for every change.

import { byId, el, prose } from "./dom.js";
import { number } from "./format.js";
import { Ledger, unpack } from "./ledger.js";
import { State } from "./state.js";
import { themeButton } from "./theme.js";
import { Heatmap, cellInWords } from "./heatmap.js";
import { profileInWords, showProfile } from "./flow.js";
import { connect, showControls } from "./controls.js";
import { Charts, possible, tooltip, viewOf } from "./view.js";
import { formulaNodes } from "./formula.js";
import { loadPlotly, run, showProblem } from "./start.js";
import { Newest } from "./server.js";

const TEXT = "Because no food was available in the market, John had to skip dinner.";

/** The settings of the network with their initial values. A σ of 0 keeps the scale of the initialization. */
const NETWORK = { example: "text", kind: "rnn", init: "uniform", sigma: 1.2, length: 64, hidden: 64, seed: 1, level: "char", sentence: TEXT };

/** The initial choice: the last loss and its first step. */
const SHOWN = { network: 0, stage: 0, cell: "0 forward", parameter: "weight_hh", gate: "all", scale: "log", k: 1e6, t: 1e6 };

/** The largest change per step, in nats, that counts as none: less than a third over 64 steps. */
const LEVEL = 5e-3;

/** Whether the cell is marked so in the list: "vanilla", or "recurrent", with recurrent weights. */
function marked(kind, mark) {
  return mark in ([...byId("kind").options].find(({ value }) => value === kind)?.dataset ?? {});
}

/** The nearest possible network to a choice. */
function sound(choice) {
  const now = { ...choice };
  for (const key of ["example", "kind", "level"]) {
    if (![...byId(key).options].some(({ value }) => value === now[key])) now[key] = NETWORK[key];
  }
  if (now.example === "article" && !marked(now.kind, "vanilla") && now.init === "article") now.init = "uniform";
  if (now.example === "text" && now.init === "article") now.init = NETWORK.init;
  if (![...byId("init").options].some(({ value }) => value === now.init)) now.init = NETWORK.init;
  const within = (key, low, high) => (now[key] = Math.max(low, Math.min(now[key], high)));
  within("length", 1, 200);
  within("hidden", 1, 128);
  if (now.sigma !== 0) within("sigma", 0.05, 4);
  return now;
}

/** The request to the server. */
function laboratory({ example, kind, init, sigma, length, hidden, seed, level, sentence }) {
  const scaled = sigma !== 0 && marked(kind, "recurrent");
  return { example, text: example === "text" ? sentence : "", level, cell: kind, hidden, init, sigma_max: scaled ? sigma : null, seed, steps: length };
}

/** Updates the form from the choice and the answer of the server. */
function showForm(now, result) {
  for (const key of ["example", "kind", "init", "level", "sentence", "hidden", "seed"]) {
    if (document.activeElement !== byId(key) || byId(key).tagName === "SELECT") byId(key).value = now[key];
  }
  const hide = (id, hidden) => (byId(id).closest(".control").hidden = hidden);
  const article = now.example === "article";
  for (const id of ["init", "sigma", "as-drawn"]) hide(id, !marked(now.kind, "recurrent"));
  for (const id of ["hidden", "sentence", "level"]) hide(id, article);
  hide("seed", now.init === "article" || now.init === "identity");
  byId("init").querySelector("[value=article]").hidden = !article || !marked(now.kind, "vanilla");
  const most = result?.most_steps ?? 200;
  byId("length").max = most;
  byId("length").value = Math.min(now.length, most);
  byId("length-name").textContent = Math.min(now.length, most);
  byId("hidden-name").textContent = now.hidden;
  const sigma = now.sigma === 0 ? (result?.sigma_max ?? 1) : now.sigma;
  byId("sigma").value = sigma;
  byId("sigma-name").textContent = `${number(sigma)}${now.sigma === 0 ? " (initial)" : ""}`;
  byId("sigma").setAttribute("aria-valuetext", number(sigma));
  byId("as-drawn").disabled = now.sigma === 0;
}

/** Whether the gradient vanishes or explodes, and why σ_max alone does not determine it. */
function showReading({ sigma_max: sigma, slopes }, entry, kind) {
  const decay = entry.decay_per_step;
  const kept = decay == null ? null : Math.exp(decay);
  const fate = kept == null ? "There are too few steps to tell" : Math.abs(decay) < LEVEL ? "It neither vanishes nor explodes" : decay < 0 ? "It vanishes" : "It explodes";
  const left = kept == null ? "" : `: contributions are multiplied by ${number(kept)} per step farther back`;
  byId("reading").replaceChildren(el("strong", {}, fate), `${left}.`);
  byId("reading").dataset.kept = kept ?? "";
  if (!marked(kind, "recurrent")) return byId("misreading").replaceChildren();
  const parts = [`σ_max = ${number(sigma)}`];
  if (slopes) parts.push(` and φ′ is at most ${number(slopes[0])}, ${number(slopes[1])} on average, so a step multiplies the gradient by at most ${number(sigma * slopes[0])}`);
  let moral = "";
  if (slopes && sigma * slopes[0] < 1) moral = "; this is below 1, so the gradient must vanish.";
  else if (kept != null && sigma > 1 && decay < LEVEL) moral = ". “σ_max > 1, so it explodes” is a misreading: above 1 it may grow, but only in the direction of the largest singular value, and every step also multiplies by φ′.";
  else if (kept != null && decay > LEVEL) moral = ". Here it grows: σ_max > 1 is necessary for that, but not sufficient.";
  else moral = ".";
  if (!slopes) moral = decay < LEVEL && sigma > 1 ? ". “σ_max > 1, so it explodes” is a misreading: gates also scale the gradient at every step." : ".";
  byId("misreading").replaceChildren(...prose(`${parts.join("")}${moral}`));
}

async function start() {
  const state = new State({ ...NETWORK, ...SHOWN }, sound);
  let [result, opened] = [null, null];
  let drawable = false;
  const choice = () => {
    const shown = possible(state.now, result.data, () => opened);
    // By default, the last loss and its first step are shown.
    if (state.now.t === SHOWN.t) shown.t = 0;
    return shown;
  };
  const view = () => viewOf(choice(), result.data, () => opened);
  const choose = (cell) => state.set(cell);
  const heatmap = new Heatmap(byId("heatmap-chart"), byId("heatmap-key"), choose, tooltip(view));
  const charts = new Charts({ "heatmap-chart": (_, shown) => heatmap.show(shown), "profile-chart": showProfile });

  const formulas = new Newest("/api/lab/formula", (found) => {
    const { entry, subject } = view();
    byId("formula-place").replaceChildren(...formulaNodes(found, { parameter: entry.parameter, subject, sigma: result.sigma_max }));
  }, (error) => byId("formula-place").replaceChildren(el("p", {}, error.message)));

  const show = () => {
    const shown = view();
    showForm(state.now, result);
    // The contributions to the bias are the gradient of the pre-activations itself.
    showReading(result, opened.find("bias") ?? opened.find("bias_ih"), state.now.kind);
    showControls(shown, result.data.subjects, choice());
    byId("cell-words").replaceChildren(...cellInWords(shown, shown.k, shown.t));
    byId("profile-words").textContent = profileInWords(shown);
    byId("findings").replaceChildren(...shown.subject.verdict.map((sentence) => el("li", {}, prose(sentence))));
    if (drawable) charts.show(shown);
    if (shown.entry.state(shown.k, shown.t) === ".") byId("formula-place").replaceChildren(el("p", {}, "No path leads from this step to this loss."));
    else formulas.ask({ lab: laboratory(state.now), k: shown.k, t: shown.t });
  };
  const use = async (answer, lab) => {
    const began = performance.now();
    opened = new Ledger(answer.data.subjects[0].stages[0], await unpack(answer.numbers));
    result = answer;
    showProblem(null);
    show();
    byId("took").textContent = `Computed and drawn in ${Math.round(performance.now() - lab.asked)} ms, of which the page took ${Math.round(performance.now() - began)} ms.`;
    document.documentElement.dataset.computed = String(Number(document.documentElement.dataset.computed ?? 0) + 1);
  };
  const networks = new Newest("/api/lab", use, showProblem);
  const compute = () => {
    const lab = laboratory(state.now);
    // Not a part of the request.
    Object.defineProperty(lab, "asked", { value: performance.now(), enumerable: false });
    networks.ask(lab);
  };

  const change = (id, key, value) => byId(id).addEventListener("input", ({ target }) => {
    const now = value(target);
    if (!Number.isNaN(now)) state.set({ [key]: now });
  });
  const text = ({ value }) => value;
  const whole = ({ value }) => Number(value);
  for (const key of ["kind", "init", "level", "sentence"]) change(key, key, text);
  byId("example").addEventListener("input", ({ target: { value } }) => {
    // The example of the article starts with its own weights.
    state.set(value === "article" ? { example: value, kind: "rnn", init: "article", sigma: 0, ...fresh } : { ...NETWORK, ...fresh });
  });
  const fresh = { k: SHOWN.k, t: SHOWN.t };
  change("sigma", "sigma", whole);
  change("length", "length", whole);
  change("hidden", "hidden", whole);
  change("seed", "seed", ({ valueAsNumber }) => valueAsNumber);
  byId("as-drawn").addEventListener("click", () => state.set({ sigma: 0 }));
  byId("network-form").addEventListener("submit", (event) => event.preventDefault());
  connect(state);
  state.listen((now, before) => {
    const changed = Object.keys(NETWORK).some((key) => now[key] !== before[key]);
    showForm(now, result);
    if (changed) compute();
    else if (result) show();
  });
  showForm(state.now, null);
  compute();
  await loadPlotly();
  drawable = true;
  themeButton(byId("theme"), () => result && show());
  if (result) show();
  document.documentElement.dataset.ready = "";
}

run(start);
