// The laboratory: the server computes a new ledger for every change.

import { byId, el, prose } from "./dom.js";
import { number, ofLog10 } from "./format.js";
import { Ledger, unpack } from "./ledger.js";
import { State } from "./state.js";
import { themeButton } from "./theme.js";
import { Heatmap, cellInWords } from "./heatmap.js";
import { profileInWords, showProfile } from "./flow.js";
import { Lead, fateOf } from "./lead.js";
import { NetworkView } from "./network.js";
import { Comparison } from "./compare.js";
import { connect, showControls } from "./controls.js";
import { Charts, possible, tellingCell, tooltip, viewOf } from "./view.js";
import { formulaNodes } from "./formula.js";
import { loadPlotly, run, showProblem } from "./start.js";
import { Newest, ask } from "./server.js";

const TEXT = "Because no food was available in the market, John had to skip dinner.";

/** The settings of the network with their initial values. A σ of 0 keeps the scale of the initialization. */
const NETWORK = { example: "text", kind: "rnn", beside: "", init: "uniform", sigma: 1.2, length: 64, hidden: 64, seed: 1, level: "char", sentence: TEXT };

/** Networks to begin with: a title, settings that differ from the initial ones, and what their numbers show. */
const STORIES = [
  {
    title: "It vanishes", settings: { sigma: 0.5 }, fate: "vanish",
    says: ({ sigma, kept }) => `With σ_max = ${number(sigma)}, every step back multiplies the gradient by less than 1, here by ${kept} on average: the terms of far steps are nearly nothing.`,
  },
  {
    title: "σ_max > 1, and it still vanishes", settings: {}, fate: "vanish",
    says: ({ sigma, kept }) => `σ_max = ${number(sigma)} is above 1, and still a step back multiplies the gradient by ${kept} on average: only its part in the direction of the largest singular value could grow.`,
  },
  {
    title: "It explodes", settings: { kind: "rnn_identity", init: "orthogonal", sigma: 1.3 }, fate: "explode",
    says: ({ sigma, kept }) => `All singular values are ${number(sigma)} and no activation makes the gradient smaller: a step back multiplies it by ${kept}.`,
  },
  {
    title: "An LSTM keeps more", settings: { kind: "lstm", beside: "rnn", init: "identity", sigma: 1.5 }, fate: null,
    says: ({ sigma, kept, other }) => `With ${number(sigma)} times the identity as W_hh in both, the LSTM keeps more of the gradient than the tanh RNN beside it: × ${kept} per step back, compared with × ${number(Math.exp(other))}.`,
  },
];

/** The initial choice: a telling cell instead of these. */
const SHOWN = { network: 0, stage: 0, cell: "0 forward", parameter: "weight_hh", gate: "all", scale: "log", k: 1e6, t: 1e6 };

/** What happens to the gradient, in words. */
const FATES = {
  unknown: "There are too few steps to tell",
  vanish: "It vanishes",
  shrink: "It becomes smaller",
  stay: "It neither vanishes nor explodes",
  grow: "It grows",
  explode: "It explodes",
};

/** Whether the cell is marked so in the list: "vanilla", or "recurrent", with recurrent weights. */
function marked(kind, mark) {
  return mark in ([...byId("kind").options].find(({ value }) => value === kind)?.dataset ?? {});
}

/** The title of a cell. */
function titleOf(kind) {
  return [...byId("kind").options].find(({ value }) => value === kind)?.textContent ?? kind;
}

/** The nearest possible network to a choice. */
function sound(choice) {
  const now = { ...choice };
  for (const key of ["example", "kind", "level"]) {
    if (![...byId(key).options].some(({ value }) => value === now[key])) now[key] = NETWORK[key];
  }
  if (![...byId("beside").options].some(({ value }) => value === now.beside)) now.beside = "";
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
  for (const key of ["example", "kind", "beside", "init", "level", "sentence", "hidden", "seed"]) {
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
  const { fate, near, far, change } = fateOf(entry);
  const kept = entry.decay_per_step == null ? null : Math.exp(entry.decay_per_step);
  const left = fate === "unknown" ? "" : `: ‖da‖ at lag ${far[0]} is ${ofLog10(change)} times that at lag ${near[0]}, × ${number(kept)} per step farther back`;
  byId("reading").replaceChildren(el("strong", {}, FATES[fate]), `${left}.`);
  byId("reading").dataset.kept = kept ?? "";
  if (!marked(kind, "recurrent")) return byId("misreading").replaceChildren();
  const parts = [`σ_max = ${number(sigma)}`];
  if (slopes) parts.push(` and φ′ is at most ${number(slopes[0])}, ${number(slopes[1])} on average, so a step multiplies the gradient by at most ${number(sigma * slopes[0])}`);
  const larger = fate === "grow" || fate === "explode";
  let moral = ".";
  if (slopes && sigma * slopes[0] < 1) moral = "; this is below 1, so the gradient must vanish.";
  else if (slopes && larger) moral = ". Here it grows: σ_max > 1 is necessary for that, but not sufficient.";
  else if (slopes && fate !== "unknown" && sigma > 1) moral = ". “σ_max > 1, so it explodes” is a misreading: above 1 it may grow, but only in the direction of the largest singular value, and every step also multiplies by φ′.";
  else if (!slopes && !larger && fate !== "unknown" && sigma > 1) moral = ". “σ_max > 1, so it explodes” is a misreading: gates also scale the gradient at every step.";
  byId("misreading").replaceChildren(...prose(`${parts.join("")}${moral}`));
}

/** The contributions to the bias are the gradient of the pre-activations itself. */
function preActivations(ledger) {
  return ledger.find("bias") ?? ledger.find("bias_ih");
}

/** The settings of a story. */
function settingsOf({ settings }) {
  return { ...NETWORK, ...settings };
}

/** Makes the buttons of the stories. */
function offerStories(tell) {
  byId("stories").replaceChildren(...STORIES.map((story, i) => {
    const title = el("span", {}, prose(story.title));
    return el("button", { type: "button", "aria-pressed": "false", onclick: () => tell(story) }, `${i + 1}. `, title);
  }));
}

/** The story whose network is chosen, if its numbers show what it says. */
function showStory(now, { sigma_max: sigma }, entry, other) {
  const chosen = STORIES.findIndex((story) => Object.entries(settingsOf(story)).every(([key, value]) => now[key] === value));
  [...byId("stories").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
  byId("story").replaceChildren();
  if (chosen < 0) return;
  const { fate, says } = STORIES[chosen];
  const decay = entry.decay_per_step;
  const holds = fate == null ? other != null && other.decay_per_step < decay : fateOf(entry).fate === fate;
  if (holds) byId("story").replaceChildren(...prose(says({ sigma, kept: number(Math.exp(decay)), other: other?.decay_per_step })));
}

async function start() {
  const state = new State({ ...NETWORK, ...SHOWN }, sound);
  let [result, opened, beside] = [null, null, null];
  let drawable = false;
  const choice = () => {
    const shown = possible(state.now, result.data, () => opened);
    const cell = tellingCell(opened, opened.find("weight_hh") ?? opened.entry(0), state.now.k === SHOWN.k ? null : shown.k);
    if (state.now.k === SHOWN.k) shown.k = cell.k;
    if (state.now.t === SHOWN.t) shown.t = cell.t;
    return shown;
  };
  const view = () => viewOf(choice(), result.data, () => opened);
  const choose = (cell) => state.set(cell);
  const heatmap = new Heatmap(byId("heatmap-chart"), byId("heatmap-key"), choose, tooltip(view));
  const lead = new Lead(byId("lead"), byId("lead-words"));
  const network = new NetworkView(byId("network-chart"), byId("network-words"), choose);
  const comparison = new Comparison(byId("compare-charts"), byId("compare-words"));
  const charts = new Charts({ "heatmap-chart": (_, shown) => heatmap.show(shown), "profile-chart": showProfile });

  const formulas = new Newest("/api/lab/formula", (found) => {
    const { entry, subject } = view();
    byId("formula-place").replaceChildren(...formulaNodes(found, { parameter: entry.parameter, subject, sigma: result.sigma_max }));
  }, (error) => byId("formula-place").replaceChildren(el("p", {}, error.message)));

  const show = () => {
    const shown = view();
    showForm(state.now, result);
    showReading(result, preActivations(opened), state.now.kind);
    showStory(state.now, result, preActivations(opened), beside && preActivations(beside));
    lead.show(shown);
    network.show(shown);
    comparison.show(shown);
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
    const answers = lab.other ? [answer, await ask("/api/lab", lab.other)] : [answer];
    const ledgers = [];
    for (const { data, numbers } of answers) ledgers.push(new Ledger(data.subjects[0].stages[0], await unpack(numbers)));
    [opened, beside = null] = ledgers;
    result = answer;
    const subjects = answers.map(({ data }) => ({ ...data.subjects[0], name: titleOf(data.subjects[0].cell) }));
    comparison.compare({ subjects }, (i) => ledgers[i]);
    showProblem(null);
    show();
    byId("took").textContent = `Computed and drawn in ${Math.round(performance.now() - lab.asked)} ms, of which the page took ${Math.round(performance.now() - began)} ms.`;
    document.documentElement.dataset.computed = String(Number(document.documentElement.dataset.computed ?? 0) + 1);
  };
  let answered;
  const first = new Promise((done) => (answered = done));
  const networks = new Newest("/api/lab", (answer, lab) => use(answer, lab).finally(answered), (error) => {
    showProblem(error);
    answered();
  });
  const compute = () => {
    const lab = laboratory(state.now);
    const { beside: kind } = state.now;
    const other = kind === "" ? null : laboratory(sound({ ...state.now, kind }));
    // Not a part of the request.
    Object.defineProperties(lab, { asked: { value: performance.now() }, other: { value: other } });
    networks.ask(lab);
  };

  const change = (id, key, value) => byId(id).addEventListener("input", ({ target }) => {
    const now = value(target);
    if (!Number.isNaN(now)) state.set({ [key]: now });
  });
  const fresh = { k: SHOWN.k, t: SHOWN.t };
  const text = ({ value }) => value;
  const whole = ({ value }) => Number(value);
  for (const key of ["kind", "beside", "init", "level", "sentence"]) change(key, key, text);
  byId("example").addEventListener("input", ({ target: { value } }) => {
    // The example of the article starts with its own weights.
    state.set(value === "article" ? { example: value, kind: "rnn", init: "article", sigma: 0, ...fresh } : { ...NETWORK, ...fresh });
  });
  change("sigma", "sigma", whole);
  change("length", "length", whole);
  change("hidden", "hidden", whole);
  change("seed", "seed", ({ valueAsNumber }) => valueAsNumber);
  byId("as-drawn").addEventListener("click", () => state.set({ sigma: 0 }));
  byId("network-form").addEventListener("submit", (event) => event.preventDefault());
  offerStories((story) => state.set({ ...settingsOf(story), ...fresh }));
  connect(state);
  state.listen((now, before) => {
    const changed = Object.keys(NETWORK).some((key) => now[key] !== before[key]);
    showForm(now, result);
    if (changed) compute();
    else if (result) show();
  });
  showForm(state.now, null);
  compute();
  // The lead picture, which needs no plotly, is painted before plotly is evaluated.
  await first;
  await loadPlotly();
  drawable = true;
  themeButton(byId("theme"), () => result && show());
  if (result) show();
  document.documentElement.dataset.ready = "";
}

run(start);
