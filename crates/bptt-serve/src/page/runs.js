// The list of runs, the newest first, with the verdict of each.

import { byId, el, prose } from "./dom.js";
import { count, number } from "./format.js";
import { State } from "./state.js";
import { themeButton } from "./theme.js";
import { run } from "./start.js";
import { curvesAddress, namesAsText, namesIn, runLinks, statusInWords } from "./run.js";
import { BUSY, read } from "./server.js";

/** How often the status of a training is read, and how long a busy server is left alone, ms. */
const AGAIN = 1000;

/** Resolves after this time, ms. */
const wait = (time) => new Promise((done) => setTimeout(done, time));

/** A time in seconds since 1970, in the reader's time zone. */
function dateOf(seconds) {
  const then = new Date(1000 * seconds);
  const two = (value) => String(value).padStart(2, "0");
  const day = `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())}`;
  return el("time", { datetime: then.toISOString() }, `${day} ${two(then.getHours())}:${two(then.getMinutes())}`);
}

/** What is said after the updates of a training that has not simply finished. */
function stateOf({ state, ending }) {
  if (state === "running" || state === "interrupted") return `, ${state}`;
  return ending == null || ending === "finished" ? "" : `, ${ending}`;
}

/** Cell and size, updates, held-out loss and date. */
function facts(of) {
  const { cell, hidden, layers, bidirectional, updates, held_out: heldOut, unit, date: then } = of;
  const parts = [];
  if (cell != null) parts.push([`${cell}, ${count(hidden, "unit")}${layers > 1 ? `, ${layers} layers` : ""}${bidirectional ? ", bidirectional" : ""}`]);
  if (updates != null) parts.push([count(updates, "update"), stateOf(of)]);
  if (heldOut != null) parts.push([unit === "loss" ? `held-out loss ${number(heldOut)}` : `${number(heldOut)} ${unit} held out`]);
  if (then != null) parts.push([dateOf(then)]);
  return parts.map((part) => el("span", {}, part));
}

/** The entry of a run; `choose` is called with its name and whether its curves are wanted. */
function entry(of, chosen, choose) {
  const box = el("input", { type: "checkbox", value: of.name, "aria-label": `Curves of ${of.name}` });
  box.checked = chosen;
  box.addEventListener("change", () => choose(of.name, box.checked));
  const links = of.complete ? runLinks(of.name) : [];
  return el("li", { "data-run": of.name },
    el("h3", {}, el("bdi", {}, of.name)),
    el("p", { class: "verdict" }, of.complete ? "…" : "The training has not ended, or was interrupted."),
    el("p", { class: "hint facts-line" }, facts(of)),
    el("p", { class: "links" }, links, el("label", {}, box, "Curves")));
}

/** The verdict of a run; a busy server is asked again. */
async function verdictOf(name) {
  for (;;) {
    try {
      return prose((await read("/api/runs/verdict", { run: name })).sentence ?? "");
    } catch (error) {
      if (!BUSY.includes(error.status)) return [`There is no verdict: ${error.message}`];
    }
    await wait(AGAIN);
  }
}

/** Shows the list, and the verdicts one after another. */
async function showList({ live, runs }, state, alive) {
  const listed = runs.filter(({ name }) => name !== live);
  const chosen = () => namesIn(state.now.runs).filter((name) => runs.some((of) => of.name === name));
  const choose = (name, wanted) => {
    const names = new Set(chosen());
    if (wanted) names.add(name);
    else names.delete(name);
    state.set({ runs: namesAsText(runs.map((of) => of.name).filter((of) => names.has(of))) });
    showChosen();
  };
  const showChosen = () => {
    const names = chosen();
    for (const link of document.querySelectorAll('a[href^="/live"]')) link.setAttribute("href", curvesAddress(names));
    byId("chosen").textContent = names.length > 0 ? `${count(names.length, "run")} chosen` : "none is chosen";
  };
  const entries = listed.map((of) => entry(of, chosen().includes(of.name), choose));
  byId("run-list").replaceChildren(...entries);
  byId("list").hidden = listed.length === 0;
  byId("none").hidden = listed.length > 0 || live != null;
  showChosen();
  for (const [i, of] of listed.entries()) {
    if (!of.complete) continue;
    const words = await verdictOf(of.name);
    if (!alive()) return;
    entries[i].querySelector(".verdict").replaceChildren(...words);
  }
}

/** Shows the training until it has ended. */
async function follow() {
  for (;;) {
    const now = await read("/api/live/status");
    byId("now").hidden = false;
    byId("now-name").replaceChildren("Training of ", el("bdi", {}, now.name));
    byId("now-status").textContent = statusInWords(now);
    byId("progress").max = now.updates;
    byId("progress").value = now.step;
    if (now.status === "ended") return;
    await wait(AGAIN);
  }
}

async function start() {
  const state = new State({ runs: "" }, (choice) => choice);
  let shown = 0;
  const show = async (list) => {
    const mine = ++shown;
    await showList(list, state, () => mine === shown);
  };
  const list = await read("/api/runs");
  const verdicts = show(list);
  themeButton(byId("theme"), () => {});
  document.documentElement.dataset.ready = "";
  if (list.live != null) {
    await follow();
    // What was the running training is one of the runs now.
    byId("now").hidden = true;
    await show({ ...(await read("/api/runs")), live: null });
  }
  await verdicts;
}

run(start);
