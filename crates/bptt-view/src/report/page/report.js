// The report: what is chosen becomes a view, and every part of the page shows it.

import { byId, el, prose } from "./dom.js";
import { Ledger, unpack } from "./ledger.js";
import { State } from "./state.js";
import { themeButton } from "./theme.js";
import { Heatmap, cellInWords } from "./heatmap.js";
import { profileInWords, rainbowInWords, showProfile, showRainbow } from "./flow.js";
import { Words, contributionTable, lossInWords } from "./words.js";
import { factList, hasTraining, showTraining, stageTable } from "./training.js";
import { balanceTable, entryTable, gateTable, perLossTable, profileTable } from "./tables.js";
import { figures } from "./article.js";
import { connect, showControls } from "./controls.js";

/** The nearest thing to a choice that the report has. */
function possible(choice, data, ledgerOf) {
  const within = (value, count) => Math.max(0, Math.min(Number.isFinite(value) ? value : 0, count - 1));
  const network = within(choice.network, data.subjects.length);
  const subject = data.subjects[network];
  const stage = within(choice.stage, subject.stages.length);
  const ledger = ledgerOf(network, stage);
  const cells = ledger.entries.map((e) => `${e.layer} ${e.direction}`);
  const cell = cells.includes(choice.cell) ? choice.cell : cells[0];
  const here = ledger.entries.filter((e) => `${e.layer} ${e.direction}` === cell);
  const entry = here.find((e) => e.parameter === choice.parameter) ?? here.find((e) => e.parameter === "weight_hh") ?? here[0];
  const gate = entry.gates.includes(choice.gate) ? choice.gate : "all";
  const scale = ["log", "norm", "share"].includes(choice.scale) ? choice.scale : "log";
  return { network, stage, cell, parameter: entry.parameter, gate, scale: gate !== "all" && scale === "share" ? "log" : scale, k: within(choice.k, ledger.steps), t: within(choice.t, ledger.steps) };
}

/** What the parts of the page are given. */
function viewOf(choice, data, ledgerOf) {
  const subject = data.subjects[choice.network];
  const ledger = ledgerOf(choice.network, choice.stage);
  const entryIndex = ledger.entries.findIndex((e) => `${e.layer} ${e.direction}` === choice.cell && e.parameter === choice.parameter);
  const entry = ledger.entry(entryIndex);
  const gate = choice.gate === "all" ? null : entry.gates.indexOf(choice.gate);
  return { subject, ledger, entry, entryIndex, gate, scale: choice.scale, k: choice.k, t: choice.t };
}

/** The tooltip beside the pointer: the cell under it in words. */
function tooltip(current) {
  const tip = byId("tooltip");
  return (cell, event) => {
    tip.hidden = cell == null;
    if (cell == null) return;
    tip.replaceChildren(...cellInWords(current(), cell.k, cell.t));
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.insetInlineStart = `${Math.max(8, left)}px`;
    tip.style.insetBlockStart = `${event.clientY + 18}px`;
  };
}

/** What does not change with the choice but with the network. */
function showSubject({ subject }) {
  const [first, ...others] = subject.verdict;
  byId("headline").replaceChildren(...prose(first ?? ""));
  byId("findings").replaceChildren(...others.map((sentence) => el("li", {}, prose(sentence))));
  byId("facts").replaceChildren(factList(subject.facts));
  const trained = hasTraining(subject) || subject.stages.length > 1;
  byId("training").hidden = !trained;
  document.querySelector('nav [href="#training"]').hidden = !trained;
  byId("training-chart").hidden = !hasTraining(subject);
}

/** Fills a long table when its details are open, now or later: most are never looked at. */
function fillOpen(id, make) {
  const details = byId(id).closest("details");
  details.ontoggle = () => details.open && byId(id).replaceChildren(make());
  details.ontoggle();
}

/** The parts that are text: they need no chart and are there at once. */
function showText(view, words) {
  words.show(view);
  byId("loss-words").replaceChildren(...lossInWords(view));
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

/** The charts, each drawn when it comes near the window and whenever what it shows changes. */
class Charts {
  constructor(draws) {
    this.draws = draws;
    this.near = new Set();
    this.stale = new Set();
    const seen = new IntersectionObserver((entries) => entries.forEach((e) => this.mark(e)), { rootMargin: "400px" });
    for (const id of Object.keys(draws)) seen.observe(byId(id));
  }

  mark({ target, isIntersecting }) {
    if (isIntersecting) this.near.add(target.id);
    else this.near.delete(target.id);
    this.draw();
  }

  show(view) {
    this.view = view;
    this.stale = new Set(Object.keys(this.draws));
    this.draw();
  }

  draw() {
    if (!this.view) return;
    for (const id of this.near) {
      if (this.stale.delete(id)) this.draws[id](byId(id), this.view);
    }
  }
}

/** plotly, which the file holds compressed. */
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
  const initial = { network: 0, stage: subject.stages.length - 1, cell: "0 forward", parameter: "weight_hh", gate: "all", scale: "log", k: subject.k, t: subject.k };
  const state = new State(initial, (choice) => possible(choice, data, ledgerOf));
  const view = () => viewOf(state.now, data, ledgerOf);

  byId("title").textContent = data.title;
  byId("program").textContent = data.program;
  byId("reproduce-list").replaceChildren(...data.reproduce.map((line) => el("li", {}, el("code", {}, line))));
  const words = new Words(byId("words"), (k) => state.set({ k, t: Math.min(k, state.now.t) }));
  const heatmap = new Heatmap(byId("heatmap-chart"), byId("heatmap-key"), (cell) => state.set(cell), tooltip(view));
  const charts = new Charts({
    "heatmap-chart": (_, shown) => heatmap.show(shown),
    "profile-chart": showProfile,
    "rainbow-chart": (place, shown) => showRainbow(place, shown, (change) => state.set(change)),
    "training-chart": (place, shown) => hasTraining(shown.subject) && showTraining(place, shown),
  });
  const showAll = (drawn) => {
    const shown = view();
    showSubject(shown);
    showText(shown, words);
    showControls(shown, data.subjects, state.now);
    if (drawn) charts.show(shown);
  };
  connect(state);
  showAll(false);
  await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
  await loadPlotly();
  themeButton(byId("theme"), () => showAll(true));
  state.listen(() => showAll(true));
  showAll(true);
  document.documentElement.dataset.ready = "";
}

start().catch((error) => {
  byId("problem").hidden = false;
  byId("problem").textContent = `This report cannot be shown: ${error.message}. It needs a browser of 2023 or newer.`;
  throw error;
});
