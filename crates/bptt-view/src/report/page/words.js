// The text: each word colored by its contribution to the chosen loss.

import { el, symbol, table } from "./dom.js";
import { count, number, ofLog10, percent } from "./format.js";
import { isDark } from "./theme.js";

/** Number of decades below the largest contribution with a color on the logarithmic scale. */
const DECADES = 4;

const RIGHT_TO_LEFT = /\p{Script=Hebrew}|\p{Script=Arabic}|\p{Script=Syriac}|\p{Script=Thaana}|\p{Script=Nko}/u;

/** Whether most of the words that have a direction run from right to left. */
function runsRightToLeft(symbols) {
  const letters = symbols.filter((s) => /\p{L}/u.test(s));
  return 2 * letters.filter((s) => RIGHT_TO_LEFT.test(s)).length > letters.length;
}

/** The steps that contribute to loss k with their numbers, the largest first. */
export function contributions({ entry, gate, k }) {
  const list = [];
  for (let t = 0; t < entry.steps; t++) {
    const log10 = entry.log10(k, t, gate);
    if (!Number.isNaN(log10)) list.push({ t, log10, share: entry.share(k, t) });
  }
  return list.sort((a, b) => b.log10 - a.log10);
}

/** The strength of the color of a contribution, −1 to 1; `most` is the largest of the row. */
function strength(scale, { log10, share }, most) {
  if (scale === "share") return most.share > 0 ? share / most.share : 0;
  if (log10 === -Infinity) return 0;
  return scale === "norm" ? 10 ** (log10 - most.log10) : Math.max(0, 1 - (most.log10 - log10) / DECADES);
}

/** Orange for positive, blue for negative shares; text stays readable on both. */
function background(strength) {
  const hue = isDark() ? (strength < 0 ? "40 100 175" : "168 78 10") : strength < 0 ? "96 165 230" : "242 142 28";
  return `rgb(${hue} / ${Math.abs(strength).toFixed(3)})`;
}

/** The text in `place`. A click on a word chooses the loss of predicting it. */
export class Words {
  constructor(place, choose) {
    Object.assign(this, { place, choose, symbols: null, buttons: [] });
  }

  show(view) {
    const { subject, k } = view;
    if (this.symbols !== subject.symbols) this.build(view);
    const rows = contributions(view);
    const most = { log10: rows[0]?.log10 ?? 0, share: Math.max(...rows.map((row) => Math.abs(row.share)), 0) };
    const predicted = subject.targets ? k + 1 : k;
    const byStep = new Map(rows.map((row) => [row.t, row]));
    this.buttons.forEach((button, i) => {
      const row = byStep.get(i);
      const strong = row ? strength(view.scale, row, most) : 0;
      button.style.background = row ? background(strong) : "";
      button.classList.toggle("away", !row && i !== predicted);
      button.setAttribute("aria-pressed", String(i === predicted));
      button.title = row ? `norm ${ofLog10(row.log10)}, share ${percent(row.share)}` : "";
    });
    // One tab stop; the arrow keys move from there.
    this.buttons.forEach((button, i) => (button.tabIndex = i === predicted ? 0 : -1));
  }

  /** A button for each word, and one for the last target. */
  build({ subject }) {
    const { symbols, targets } = subject;
    this.symbols = symbols;
    const tokens = targets ? [...symbols, targets.at(-1)] : symbols;
    const loss = (i) => (targets ? i - 1 : i);
    this.place.dir = runsRightToLeft(tokens) ? "rtl" : "ltr";
    this.place.classList.toggle("letters", tokens.every((token) => [...token].length <= 1));
    this.buttons = tokens.map((token, i) =>
      el("button", { type: "button", onclick: () => this.choose(Math.max(0, loss(i))) }, symbol(token)),
    );
    this.place.replaceChildren(...this.buttons);
    this.place.onkeydown = (event) => {
      const forward = this.place.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
      const back = this.place.dir === "rtl" ? "ArrowRight" : "ArrowLeft";
      const step = { [forward]: 1, [back]: -1 }[event.key];
      const next = this.buttons[this.buttons.indexOf(document.activeElement) + step];
      if (!next) return;
      event.preventDefault();
      next.focus();
      next.click();
    };
  }
}

/** A description of the contributions to the chosen loss. */
export function lossInWords(view) {
  const { subject, k, ledger } = view;
  if (!ledger.hasLoss(k)) return [`There is no loss at step ${k}.`];
  const rows = contributions(view).filter((row) => row.log10 > -Infinity);
  const { losses, unit } = subject;
  const cost = losses ? [" cost ", el("data", { class: "loss", value: losses[k] }, number(losses[k])), ` ${unit}`] : [];
  const what = subject.targets ? ["Predicting ", symbol(subject.targets[k]), ` (loss ${k})`] : [`Loss ${k}`];
  if (rows.length === 0) return [...what, ...cost, "; no step contributes to the gradient of this parameter."];
  const [{ t, log10, share }] = rows;
  const far = rows.find((row) => row.t !== k);
  const lag = Math.abs(k - t);
  const where = lag === 0 ? (subject.targets ? "read directly before it" : "at the same step") : `read ${count(lag, "step")} earlier`;
  const next = far && far.t !== t ? [" The largest from an earlier step is ", symbol(subject.symbols[far.t]), ` at lag ${Math.abs(k - far.t)}, norm ${ofLog10(far.log10)}.`] : [];
  return [...what, ...cost, ". The largest contribution comes from ", symbol(subject.symbols[t]), `, ${where}: norm ${ofLog10(log10)}, share ${percent(share)}.`, ...next];
}

/** Every contribution to the chosen loss, the `most` largest first; bars are relative to the largest. */
export function contributionTable(view, most = Infinity) {
  const rows = contributions(view).slice(0, most);
  const largest = rows[0]?.log10 ?? 0;
  const cells = rows.map(({ t, log10, share }) => [
    String(t),
    symbol(view.subject.symbols[t]),
    String(Math.abs(view.k - t)),
    ofLog10(log10),
    percent(share),
    el("span", { class: "bar", style: `inline-size: ${(100 * 10 ** (log10 - largest)).toFixed(1)}%` }),
  ]);
  const caption = most < Infinity ? `The largest contributions to loss ${view.k}` : `All contributions to loss ${view.k}, the largest first`;
  return table(caption, ["step t", "input", "lag", "norm", "share", "relative to the largest"], cells, [0, 2, 3, 4]);
}
