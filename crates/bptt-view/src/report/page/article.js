// The derivation in eight figures, with the numbers of the chosen loss and step.

import { el, formula, prose, symbol } from "./dom.js";
import { count, number, ofLog10, percent } from "./format.js";
import { fateOf } from "./lead.js";
import { networkPicture, preActivation } from "./network.js";
import { outerPicture, stepPicture, sumPicture } from "./pictures.js";
import { contributions } from "./words.js";

/** What happens to far contributions where they are small, see `fateOf`. */
const SMALL_FATES = ["vanish", "shrink"];

/** One of the eight. */
function figure(n, title, formulas, words, picture = []) {
  const sentences = [words].flat().flatMap((part) => (typeof part === "string" ? prose(part) : part));
  return el(
    "figure",
    { id: `figure-${n}` },
    el("figcaption", {}, el("h3", {}, `${n}. ${title}`)),
    el("div", { class: "formulas" }, formulas.map((text) => el("p", {}, formula(text)))),
    el("p", {}, sentences),
    picture,
  );
}

/** Rows of a label, a bar and a number; bars are relative to the largest. */
function bars(rows) {
  const most = Math.max(...rows.map((row) => row.size), Number.MIN_VALUE);
  return el(
    "ol",
    { class: "bars" },
    rows.map(({ label, size, words }) =>
      el("li", {}, el("span", { class: "label" }, label), el("span", { class: "track" }, el("span", { class: "bar", style: `inline-size: ${(100 * size) / most}%` })), el("span", { class: "number" }, words)),
    ),
  );
}

/** The factors of ‖da_{k,·}‖ from each step to the one before, nearest first. */
function factors(da, k) {
  const list = [];
  for (let t = k; t > 0; t--) {
    const factor = da.log10(k, t - 1) - da.log10(k, t);
    if (!Number.isFinite(factor)) break;
    list.push({ t, factor: 10 ** factor });
  }
  return list;
}

/** The eight figures for the chosen loss and step. */
export function figures(view) {
  const { subject, ledger, entry, k } = view;
  const { layer, direction } = entry;
  const T = ledger.steps;
  const [w_ih, w_hh] = ["weight_ih", "weight_hh"].map((name) => ledger.find(name, layer, direction));
  const { input: da, recurrent: da_hh } = preActivation(view);
  const t = da.state(k, view.t) === "v" ? view.t : k;
  const ratio = (a, b) => 10 ** (a.log10(k, t) - b.log10(k, t));
  // In some cells a contribution is not an outer product with da: then its norm says nothing about that of x or h.
  const { input: byInput, recurrent: byState } = subject.outer_products;
  const x = byInput ? ratio(w_ih, da) : null;
  const h = byState ? ratio(w_hh, da_hh) : null;
  const inputs = x == null ? "" : `. The norm of the input is ${number(x)}${h == null ? "" : `, that of the previous state ${h > 0 ? number(h) : "0"}`}`;
  const products = [
    ...(x == null ? [] : [`‖da‖ · ‖x‖ = ${ofLog10(da.log10(k, t))} × ${number(x)} = ${ofLog10(w_ih.log10(k, t))}`]),
    ...(h == null ? [] : [`‖da‖ · ‖h‖ = ${ofLog10(da_hh.log10(k, t))} × ${number(h)} = ${ofLog10(w_hh.log10(k, t))}`]),
  ];
  const outer = [
    ...(x == null ? [] : [{ left: "da", right: "xᵀ", a: ofLog10(da.log10(k, t)), b: number(x), size: ofLog10(w_ih.log10(k, t)) }]),
    ...(h == null ? [] : [{ left: "da", right: "hᵀ", a: ofLog10(da_hh.log10(k, t)), b: number(h), size: ofLog10(w_hh.log10(k, t)) }]),
  ];
  const read = symbol(subject.symbols[t]);
  const target = subject.targets ? [" of ", symbol(subject.targets[k])] : [];
  const [far, name] = w_hh ? [w_hh, "W_hh"] : [da, "b"];
  const rows = contributions({ entry: far, gate: null, k }).filter(({ log10 }) => log10 > -Infinity);
  const sum = rows.reduce((total, { log10 }) => total + 10 ** log10, 0);
  const cell = `layer ${layer}, ${direction} cell`;
  return [
    figure(1, "The network, unrolled", ["x_1 → h_1 → L_1,   x_2 → h_2 → L_2,   …,   h_{t−1} → h_t"],
      `The same weights are used at every step, here ${count(T, "time")}, with ${count(ledger.losses.length, "loss", "losses")}. Every loss depends on every earlier step through h.`,
      networkPicture(view, 420)),
    figure(2, "One step forward", subject.equations ?? [],
      ["At step ", String(t), " the network read ", read, `${inputs} (${cell}).`],
      stepPicture({ t, read: subject.symbols[t], x, h, hasLoss: ledger.hasLoss(t), recurrent: w_hh != null })),
    figure(3, "The losses", ["L = L_1 + L_2 + … + L_T"], lossesInWords(view), costliest(view)),
    figure(4, "The gradient of one loss is a sum over steps", ["dL_k/dW = Σ_{t≤k} (∂L_k/∂W)_t"],
      [`Loss ${k}`, ...target, `: ${count(rows.length, "step")} contribute to its gradient of ${name}. The sum of their norms is ${number(sum)}; the largest are:`],
      bars(rows.slice(0, 5).map((row) => ({ label: [`${row.t} `, symbol(subject.symbols[row.t])], size: 10 ** row.log10, words: ofLog10(row.log10) })))),
    figure(5, "In the backward pass, one factor per step", ["∂h_k/∂h_t = Π_{u=t+1…k} ∂h_u/∂h_{u−1}", ...(subject.vanilla ? ["∂h_u/∂h_{u−1} = diag(φ′(a_u)) W_{hh}"] : [])], ...factorsInWords(da, k)),
    figure(6, "One contribution is an outer product", [...(byInput ? ["(∂L_k/∂W_{ih})_t = da_{k,t} x_t^{T}"] : []), ...(byState ? ["(∂L_k/∂W_{hh})_t = da_{k,t} h_{t−1}^{T}"] : [])],
      products.length
        ? [`Loss ${k}, step ${t} (`, symbol(subject.symbols[t]), "): ", products.join(", and "), ". The norm of the matrix follows without forming it."]
        : "In this cell what the weights see is not da itself but a gradient that follows from it; a contribution is the outer product of that gradient and what the weights multiply.",
      outerPicture(outer.length ? outer : [{ left: "gradient", right: "input", a: "", b: "", size: ofLog10(far.log10(k, t)) }])),
    figure(7, "The sum of all contributions is the gradient", ["dL/dW = Σ_k Σ_{t≤k} (∂L_k/∂W)_t"],
      `${count(ledger.losses.length, "loss", "losses")}, up to ${count(T, "step")} each: their sum is the gradient of norm ${number(far.total_norm)}, with a relative error of at most ${number(Math.max(...Object.values(ledger.balance)))} for any parameter.${far.cancellation == null ? "" : ` The norm of the sum is ${percent(far.cancellation)} of the sum of the norms; the rest cancels.`}`,
      sumPicture(far, name)),
    figure(8, SMALL_FATES.includes(fateOf(far).fate) ? "Why contributions of far steps are small" : "How contributions change with the lag", ["‖∂h_k/∂h_t‖ ≤ (γ · σ_{max}(W_{hh}))^{k−t}", "γ = max φ′"], vanishing(view, far, name), strengths(view, far)),
  ];
}

/** A step and its loss. */
function stepRow({ subject }, t) {
  const { symbols, targets, losses, unit } = subject;
  const label = [`${t} `, symbol(symbols[t]), ...(targets ? [" → ", symbol(targets[t])] : [])];
  return { label, size: losses ? losses[t] : 0, words: losses ? `${number(losses[t])} ${unit}` : "" };
}

/** The largest losses. */
function costliest(view) {
  const { losses } = view.subject;
  if (!losses) return [];
  const ranked = losses.map((_, t) => t).sort((a, b) => losses[b] - losses[a]);
  return bars(ranked.slice(0, 4).map((t) => stepRow(view, t)));
}

/** σ_max of each block of W_hh, and the measured decay. */
function strengths({ subject }, w_hh) {
  const blocks = subject.blocks.filter((b) => b.layer === w_hh.layer && b.direction === w_hh.direction);
  const rows = blocks.map(({ gate, sigma_max: s }) => ({ label: ["σ", el("sub", {}, "max"), blocks.length > 1 ? ` of gate ${gate}` : ""], size: s, words: number(s) }));
  if (w_hh.decay_per_step != null) {
    const kept = Math.exp(w_hh.decay_per_step);
    rows.push({ label: "measured", size: kept, words: `× ${number(kept)}` });
  }
  return bars(rows);
}

function lossesInWords({ subject, k }) {
  const { losses, unit } = subject;
  if (!losses) return "The losses are given by their gradients dL/dh and have no values.";
  const total = losses.reduce((a, b) => a + b, 0);
  const which = subject.targets ? [" (predicting ", symbol(subject.targets[k]), ")"] : [];
  return [`The sum is ${number(total)} ${unit}, ${number(total / losses.length)} per step. Loss ${k}`, ...which, ` is ${number(losses[k])} ${unit}.`];
}

/** A caption and bars of the factors of loss k. */
function factorsInWords(da, k) {
  const list = factors(da, k);
  if (list.length === 0) return [`Loss ${k} reaches no earlier step, so there is no factor.`];
  const mean = Math.exp(list.reduce((sum, { factor }) => sum + Math.log(factor), 0) / list.length);
  const rows = list.slice(0, 6).map(({ t, factor }) => ({ label: `${t} → ${t - 1}`, size: factor, words: `× ${number(factor)}` }));
  return [`The factor of ‖da‖, the gradient of loss ${k} at the pre-activations, at each of the first steps back. The geometric mean over all ${list.length} steps is × ${number(mean)}.`, bars(rows)];
}

function vanishing({ subject }, w_hh, name) {
  const blocks = subject.blocks.filter((b) => b.layer === w_hh.layer && b.direction === w_hh.direction);
  const kept = w_hh.decay_per_step == null ? null : Math.exp(w_hh.decay_per_step);
  const measured = kept == null ? "" : ` Measured: × ${number(kept)} per step.`;
  const gated = blocks.length > 1;
  const says = gated
    ? "The bound holds for a cell without gates. Here the gradient also passes along the state, where it is multiplied by a gate only."
    : "If σ_max is below 1/γ, contributions vanish. Above it they may explode, but need not: a saturated activation multiplies by much less than γ.";
  const { fate, near, far, change } = fateOf(w_hh);
  if (fate === "unknown") return `${says}${measured}`;
  const last = fate === "vanish"
    ? `The gradient of ${name} does not vanish, because near steps dominate it; the far contributions to each loss do.`
    : `Here the far contributions to ${name} do not vanish: the median at lag ${far[0]} is ${ofLog10(change)} times that at lag ${near[0]}.`;
  return `${says}${measured} ${last}`;
}
