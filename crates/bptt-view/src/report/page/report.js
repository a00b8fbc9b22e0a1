// The report: the choice becomes a view, which every part of the page shows.

import { byId, el, prose } from "./dom.js";
import { Ledger, unpack } from "./ledger.js";
import { State } from "./state.js";
import { themeButton } from "./theme.js";
import { Heatmap, cellInWords } from "./heatmap.js";
import { profileInWords, rainbowInWords, showProfile, showRainbow } from "./flow.js";
import { Words, contributionTable, lossInWords } from "./words.js";
import { factList, hasTraining, showTraining, stageTable } from "./training.js";
import { balanceTable, entryTable, gateTable, perLossTable, profileTable } from "./tables.js";
import { Lead } from "./lead.js";
import { NetworkView } from "./network.js";
import { figures } from "./article.js";
import { Comparison } from "./compare.js";
import { glossary, linked } from "./glossary.js";
import { connect, showControls } from "./controls.js";
import { Charts, possible, tellingCell, tooltip, viewOf } from "./view.js";

/** The parts that depend on the network only. */
function showSubject({ subject }) {
  const [first, ...others] = subject.verdict;
  byId("headline").replaceChildren(...linked(prose(first ?? "")));
  byId("findings").replaceChildren(...others.map((sentence) => el("li", {}, linked(prose(sentence)))));
  byId("facts").replaceChildren(factList(subject.facts));
  const trained = hasTraining(subject) || subject.stages.length > 1;
  byId("training").hidden = !trained;
  document.querySelector('nav [href="#training"]').hidden = !trained;
  byId("training-chart").hidden = !hasTraining(subject);
}

/** Fills a long table when its details are opened. */
function fillOpen(id, make) {
  const details = byId(id).closest("details");
  details.ontoggle = () => details.open && byId(id).replaceChildren(make());
  details.ontoggle();
}

/** The parts that are text, which are shown before the charts. */
function showText(view, { words, lead, network, comparison }) {
  lead.show(view);
  comparison.show(view);
  words.show(view);
  network.show(view);
  byId("loss-words").replaceChildren(...linked(lossInWords(view)));
  byId("loss-table").replaceChildren(contributionTable(view, 8));
  byId("cell-words").replaceChildren(...cellInWords(view, view.k, view.t));
  byId("profile-words").textContent = profileInWords(view);
  byId("rainbow-words").replaceChildren(...rainbowInWords(view));
  byId("tables-list").replaceChildren(entryTable(view), gateTable(view), perLossTable(view), balanceTable(view));
  fillOpen("profile-table", () => profileTable(view));
  fillOpen("row-table", () => contributionTable(view));
  byId("stage-table").replaceChildren(stageTable(view));
  byId("figures").replaceChildren(...figures(view));
}

/** Resolves when what has been shown is painted. */
function painted() {
  return new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
}

/** Loads plotly, which the file contains compressed. */
async function loadPlotly() {
  const source = new TextDecoder().decode(await unpack(byId("plotly").textContent));
  document.head.append(el("script", {}, source));
}

async function start() {
  const data = JSON.parse(byId("data").textContent);
  const numbers = await unpack(byId("numbers").textContent);
  const opened = new Map();
  const ledgerOf = (network, stage) => {
    const key = `${network} ${stage}`;
    if (!opened.has(key)) opened.set(key, new Ledger(data.subjects[network].stages[stage], numbers));
    return opened.get(key);
  };
  const subject = data.subjects[0];
  const ledger = ledgerOf(0, subject.stages.length - 1);
  // The last loss is what the data say if nobody has asked for one.
  const wanted = subject.k === ledger.losses.at(-1) ? null : subject.k;
  const cell = tellingCell(ledger, ledger.find("weight_hh") ?? ledger.entry(0), wanted);
  const initial = { network: 0, stage: subject.stages.length - 1, cell: "0 forward", parameter: "weight_hh", gate: "all", scale: "log", ...cell };
  const state = new State(initial, (choice) => possible(choice, data, ledgerOf));
  const view = () => viewOf(state.now, data, ledgerOf);

  byId("title").textContent = data.title;
  byId("program").textContent = data.program;
  byId("reproduce").hidden = document.querySelector("a[href='#reproduce']").hidden = data.reproduce.length === 0;
  byId("reproduce-list").replaceChildren(...data.reproduce.map((line) => el("li", {}, el("code", {}, line))));
  byId("terms").replaceChildren(...glossary(data.glossary));
  const words = new Words(byId("words"), (k) => state.set({ k, t: Math.min(k, state.now.t) }), byId("words-key"));
  const network = new NetworkView(byId("network-chart"), byId("network-words"), (change) => state.set(change));
  const lead = new Lead(byId("lead"), byId("lead-words"));
  const comparison = new Comparison(byId("compare-charts"), byId("compare-words"), (cell) => state.set(cell));
  comparison.compare(data, ledgerOf);
  const heatmap = new Heatmap(byId("heatmap-chart"), byId("heatmap-key"), (cell) => state.set(cell), tooltip(view));
  const charts = new Charts({
    "heatmap-chart": (_, shown) => heatmap.show(shown),
    "profile-chart": showProfile,
    "rainbow-chart": (place, shown) => showRainbow(place, shown, (change) => state.set(change)),
    "training-chart": (place, shown) => hasTraining(shown.subject) && showTraining(place, shown),
  });
  const showWords = () => {
    const shown = view();
    showSubject(shown);
    showText(shown, { words, lead, network, comparison });
    showControls(shown, data.subjects, state.now);
  };
  const showCharts = () => charts.show(view());
  connect(state);
  state.listen(showWords);
  // The lead picture is painted before anything else is computed.
  showSubject(view());
  lead.show(view());
  await painted();
  showWords();
  await painted();
  await loadPlotly();
  themeButton(byId("theme"), () => {
    showWords();
    showCharts();
  });
  state.listen(showCharts);
  showCharts();
  document.documentElement.dataset.ready = "";
}

start().catch((error) => {
  byId("problem").hidden = false;
  byId("problem").textContent = `This report cannot be shown: ${error.message}. It needs a browser of 2023 or newer.`;
  throw error;
});
