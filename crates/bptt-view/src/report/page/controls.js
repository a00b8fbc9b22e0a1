// The controls.

import { byId, el } from "./dom.js";
import { parameterName } from "./tables.js";
import { stageName } from "./training.js";

/** Sets the options `[value, words]` of a select. */
function offer(select, options, chosen) {
  const key = JSON.stringify(options);
  if (select.dataset.options !== key) {
    select.dataset.options = key;
    select.replaceChildren(...options.map(([value, words]) => el("option", { value }, words)));
  }
  select.value = String(chosen);
}

/** Hides a control with a single choice. */
function hideUnless(possible, id) {
  byId(id).closest(".control").hidden = !possible;
}

function cellName({ layer, direction }, both) {
  return both ? `layer ${layer}, ${direction}` : `layer ${layer}`;
}

/** Connects the controls with `state`. */
export function connect(state) {
  const change = (id, key, read = (node) => node.valueAsNumber) =>
    byId(id).addEventListener("input", ({ target }) => {
      const value = read(target);
      if (!Number.isNaN(value)) state.set({ [key]: value });
    });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  const whole = (node) => Number(node.value);
  change("network", "network", whole);
  change("stage", "stage");
  change("cell", "cell", (node) => node.value);
  change("parameter", "parameter", (node) => node.value);
  change("gate", "gate", (node) => node.value);
  change("loss", "k");
  change("step", "t");
  for (const radio of document.querySelectorAll("input[name=scale]")) {
    radio.addEventListener("change", () => state.set({ scale: radio.value }));
  }
}

/** Updates the controls. */
export function showControls(view, subjects, choice) {
  const { subject, ledger, entry } = view;
  offer(byId("network"), subjects.map((of, i) => [i, of.name]), choice.network);
  hideUnless(subjects.length > 1, "network");

  const stage = byId("stage");
  stage.max = subject.stages.length - 1;
  stage.value = choice.stage;
  const words = stageName(subject.stages[choice.stage], subject.stages);
  byId("stage-name").textContent = words;
  stage.setAttribute("aria-valuetext", words);
  hideUnless(subject.stages.length > 1, "stage");

  const both = ledger.entries.some((e) => e.direction === "reverse");
  const cells = new Map(ledger.entries.map((e) => [`${e.layer} ${e.direction}`, cellName(e, both)]));
  offer(byId("cell"), [...cells], choice.cell);
  hideUnless(cells.size > 1, "cell");
  const there = ledger.entries.filter((e) => `${e.layer} ${e.direction}` === choice.cell);
  offer(byId("parameter"), there.map((e) => [e.parameter, parameterName(e)]), choice.parameter);
  offer(byId("gate"), [["all", "all gates"], ...entry.gates.map((gate) => [gate, `gate ${gate}`])], choice.gate);
  hideUnless(entry.gates.length > 0, "gate");

  for (const radio of document.querySelectorAll("input[name=scale]")) radio.checked = radio.value === choice.scale;
  for (const [id, value] of [["loss", choice.k], ["step", choice.t]]) {
    byId(id).max = ledger.steps - 1;
    if (document.activeElement !== byId(id)) byId(id).value = value;
  }
}
