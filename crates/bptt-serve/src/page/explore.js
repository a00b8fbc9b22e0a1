// A text read by a run: each word colored by its contribution to the chosen loss.

import { byId, el, prose } from "./dom.js";
import { Ledger, unpack } from "./ledger.js";
import { State } from "./state.js";
import { themeButton } from "./theme.js";
import { Heatmap, cellInWords } from "./heatmap.js";
import { Words, contributionTable, lossInWords } from "./words.js";
import { factList } from "./training.js";
import { connect, showControls } from "./controls.js";
import { Charts, possible, tellingCell, tooltip, viewOf } from "./view.js";
import { loadPlotly, run } from "./start.js";
import { Newest, read } from "./server.js";

/** The initial choice: the last stage, and a telling cell instead of k and t. */
const SHOWN = { network: 0, stage: 1e6, cell: "0 forward", parameter: "weight_hh", gate: "all", scale: "log", k: 1e6, t: 1e6 };

function showRun({ subject }) {
  const [first, ...others] = subject.verdict;
  byId("headline").replaceChildren(...prose(first ?? ""));
  byId("findings").replaceChildren(...others.map((sentence) => el("li", {}, prose(sentence))));
  byId("facts").replaceChildren(factList(subject.facts));
}

async function start() {
  const { runs } = await read("/api/runs");
  const names = runs.filter(({ complete }) => complete).map(({ name }) => name);
  byId("run").replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  const state = new State({ run: names[0] ?? "", sentence: "", ...SHOWN }, (choice) => (names.includes(choice.run) ? choice : { ...choice, run: names[0] ?? "" }));
  let [result, ledgers] = [null, new Map()];
  let drawable = false;
  const bytes = { now: null };
  const ledgerOf = (network, stage) => {
    const key = `${network} ${stage}`;
    if (!ledgers.has(key)) ledgers.set(key, new Ledger(result.data.subjects[network].stages[stage], bytes.now));
    return ledgers.get(key);
  };
  const choice = () => {
    const shown = possible(state.now, result.data, ledgerOf);
    const ledger = ledgerOf(shown.network, shown.stage);
    const cell = tellingCell(ledger, ledger.find("weight_hh") ?? ledger.entry(0), state.now.k === SHOWN.k ? null : shown.k);
    if (state.now.k === SHOWN.k) shown.k = cell.k;
    if (state.now.t === SHOWN.t) shown.t = cell.t;
    return shown;
  };
  const view = () => viewOf(choice(), result.data, ledgerOf);
  const words = new Words(byId("words"), (k) => state.set({ k, t: Math.min(k, choice().t) }), byId("words-key"));
  const heatmap = new Heatmap(byId("heatmap-chart"), byId("heatmap-key"), (cell) => state.set(cell), tooltip(view));
  const charts = new Charts({ "heatmap-chart": (_, shown) => heatmap.show(shown) });
  const show = () => {
    const shown = view();
    for (const id of ["controls", "text", "heatmap", "verdict"]) byId(id).hidden = false;
    showControls(shown, result.data.subjects, choice());
    words.show(shown);
    byId("loss-words").replaceChildren(...lossInWords(shown));
    byId("loss-table").replaceChildren(contributionTable(shown, 8));
    byId("cell-words").replaceChildren(...cellInWords(shown, shown.k, shown.t));
    showRun(shown);
    if (drawable) charts.show(shown);
  };
  const texts = new Newest("/api/explore", async (answer) => {
    bytes.now = await unpack(answer.numbers);
    [result, ledgers] = [answer, new Map()];
    byId("answer").textContent = "";
    show();
    document.documentElement.dataset.computed = String(Number(document.documentElement.dataset.computed ?? 0) + 1);
  }, (error) => (byId("answer").textContent = error.message));
  const compute = () => {
    byId("answer").textContent = "Computing …";
    texts.ask({ run: state.now.run, ...(state.now.sentence !== "" && { text: state.now.sentence }) });
  };

  connect(state);
  byId("explore-form").addEventListener("submit", (event) => {
    event.preventDefault();
    state.set({ run: byId("run").value, sentence: byId("sentence").value, k: SHOWN.k, t: SHOWN.t });
  });
  byId("run").addEventListener("input", () => byId("explore-form").requestSubmit());
  state.listen((now, before) => {
    if (now.run !== before.run || now.sentence !== before.sentence) compute();
    else if (result) show();
  });
  byId("run").value = state.now.run;
  byId("sentence").value = state.now.sentence;
  if (names.length === 0) byId("answer").textContent = "There are no runs; bptt train and bptt demo create some.";
  else compute();
  await loadPlotly();
  drawable = true;
  themeButton(byId("theme"), () => result && show());
  if (result) show();
  document.documentElement.dataset.ready = "";
}

run(start);
