// The tables.

import { table } from "./dom.js";
import { number, ofLog10, percent } from "./format.js";
import { linked } from "./glossary.js";
import { profileOf } from "./flow.js";

const PARAMETERS = {
  weight_ih: "W_ih, input weights",
  weight_hh: "W_hh, recurrent weights",
  bias: "b, biases",
  bias_ih: "b_ih, biases of the input side",
  bias_hh: "b_hh, biases of the recurrent side",
  input: "x, inputs",
  initial_state: "h₀, the initial state",
  initial_cell_state: "c₀, the initial cell state",
  head_weight: "W_hy, the readout's weights",
  head_bias: "b_y, the readout's biases",
};

/** Letters of the parameters' names; others are written as they are. */
const LETTERS = { weight: "W", bias: "b", gamma: "γ", beta: "β", peephole: "p" };

/** `weight_ih` as W_{ih}. */
export function letter(parameter) {
  const [name, ...side] = parameter.split("_");
  return name in LETTERS ? `${LETTERS[name]}${side.length ? `_{${side.join(" ")}}` : ""}` : parameter;
}

/** What an entry is about: "W_hh, recurrent weights". */
export function parameterName({ parameter, role }) {
  return PARAMETERS[parameter] ?? `${letter(parameter).replace(/[{}]/gu, "")}${role ? `, ${role}` : ""}`;
}

/** A row for each cell and parameter. */
export function entryTable({ ledger }) {
  const rows = ledger.entries.map((entry) => [
    String(entry.layer),
    entry.direction,
    parameterName(entry),
    number(entry.total_norm),
    number(entry.cancellation),
    String(entry.horizon ?? "–"),
    entry.decay_per_step == null ? "–" : number(entry.decay_per_step),
    entry.decay_per_step == null ? "–" : number(Math.exp(entry.decay_per_step)),
  ]);
  const header = ["layer", "direction", "parameter", "‖gradient‖", "‖Σ‖ / Σ‖·‖", "horizon", "λ per step", "factor per step"];
  return table("All cells and parameters", header.map(linked), rows, [0, 3, 4, 5, 6, 7]);
}

/** The balance: the relative error of the sum of the contributions. */
export function balanceTable({ ledger }) {
  const rows = Object.entries(ledger.balance).map(([name, error]) => [name, number(error)]);
  return table("Difference between the sum of the contributions and the gradient", ["parameter", linked("balance: relative error")], rows, [1]);
}

/** Parameters with one number per loss: initial states and the readout. */
export function perLossTable({ ledger, k }) {
  const rows = ledger.per_loss.map((of) => [parameterName(of), of.layer == null ? "–" : String(of.layer), number(of.norm[k]), percent(of.share[k])]);
  return table(`Contributions of initial states and readout to loss ${k}`, ["parameter", "layer", "norm", linked("share")], rows, [1, 2, 3]);
}

/** Gates: σ_max of their recurrent weights, and their saturation. */
export function gateTable({ subject }) {
  const sigma = ({ layer, direction, gate }) =>
    subject.blocks.find((b) => b.layer === layer && b.direction === direction && b.gate === gate)?.sigma_max;
  const rows = subject.saturation.map((of) => [
    String(of.layer), of.direction, of.gate, number(sigma(of)), percent(of.low), percent(of.high), of.dead_units == null ? "–" : String(of.dead_units.length),
  ]);
  const header = ["layer", "direction", "gate", "σ_max of its block of W_hh", "saturated at the low end", "at the high end", "dead units"];
  return table("Gates at the end of training", header, rows, [0, 3, 4, 5, 6]);
}

/** The lag profile. */
export function profileTable(view) {
  const { lags, losses_at: losses, log10_profile: profile } = profileOf(view);
  const rows = lags.map((lag, i) => [String(lag), String(losses[i]), ...profile[i].map((v) => ofLog10(v ?? -Infinity))]);
  return table("Norm by lag, over all losses", ["lag", "losses", "10 %", "25 %", "median", "75 %", "90 %"], rows, [0, 1, 2, 3, 4, 5, 6]);
}
