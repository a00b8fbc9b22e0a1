// The text: each word colored by its contribution to the chosen loss.

import { el, symbol, table } from "./dom.js";
import { count, number, ofLog10, percent } from "./format.js";
import { colorScale, inkOn, shareColor, sizeColor } from "./scale.js";

/** Decades between the smallest and the largest contribution to a loss that the logarithmic scale tells apart. */
const LEAST_DECADES = 1;
const MOST_DECADES_OF_ROW = 4;

const RIGHT_TO_LEFT = /\p{Script=Hebrew}|\p{Script=Arabic}|\p{Script=Syriac}|\p{Script=Thaana}|\p{Script=Nko}/u;

/** Whether most of the words that have a direction run from right to left. */
function runsRightToLeft(symbols) {
  const letters = symbols.filter((s) => /\p{L}/u.test(s));
  return 2 * letters.filter((s) => RIGHT_TO_LEFT.test(s)).length > letters.length;
}

/** The steps that contribute to loss k with their numbers, the largest first. `part` is the part of the sum of the norms of
 * this loss. */
export function contributions({ entry, gate, k }) {
  const list = [];
  for (let t = 0; t < entry.steps; t++) {
    const log10 = entry.log10(k, t, gate);
    if (!Number.isNaN(log10)) list.push({ t, log10, share: entry.share(k, t) });
  }
  list.sort((a, b) => b.log10 - a.log10);
  const top = list[0]?.log10 ?? 0;
  const relative = list.map(({ log10 }) => (log10 === -Infinity ? 0 : 10 ** (log10 - top)));
  const sum = relative.reduce((a, b) => a + b, 0);
  return list.map((row, i) => ({ ...row, part: sum > 0 ? relative[i] / sum : 0 }));
}

/** The color scale of a loss, from its smallest contribution to its largest: fractions for the colors, and its ends. */
function rowScale(scale, rows) {
  const logs = rows.map(({ log10 }) => log10).filter((log10) => log10 > -Infinity);
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  if (scale === "share") {
    const most = Math.max(...rows.map(({ share }) => Math.abs(share)).filter(Number.isFinite), 0);
    return { of: ({ share }) => (most > 0 ? share / most : 0), ends: [percent(-most), "0", percent(most)] };
  }
  if (logs.length === 0) return { of: () => 0, ends: [] };
  if (scale === "norm") return { of: ({ log10 }) => 10 ** (log10 - high), ends: ["0", ofLog10(high)] };
  const decades = Math.max(LEAST_DECADES, Math.min(high - low, MOST_DECADES_OF_ROW));
  const least = `${high - low > decades ? "≤ " : ""}${ofLog10(high - decades)}`;
  return { of: ({ log10 }) => Math.max(0, 1 - (high - log10) / decades), ends: [least, ofLog10(high)] };
}

/** The key of a scale: its colors in a row, with the numbers at its ends. */
function scaleKey(scale, ends) {
  if (ends.length === 0) return [];
  const colors = colorScale(scale).map(([at, rgb]) => `${rgb} ${100 * at}%`).join(", ");
  const [low, ...others] = ends;
  return el("p", { class: "scale-key" }, low, el("span", { class: "ramp", style: `background: linear-gradient(to right, ${colors})` }), others.at(-1), ` ${scale === "share" ? "share of the gradient" : "norm"}, for this loss`);
}

/** The text in `place`, the key of its colors in `key`. A click on a word chooses the loss of predicting it. */
export class Words {
  constructor(place, choose, key = null) {
    Object.assign(this, { place, choose, key, symbols: null, buttons: [] });
  }

  show(view) {
    const { subject, k } = view;
    if (this.symbols !== subject.symbols) this.build(view);
    const rows = contributions(view);
    const { of, ends } = rowScale(view.scale, rows);
    const predicted = subject.targets ? k + 1 : k;
    const byStep = new Map(rows.map((row) => [row.t, row]));
    this.buttons.forEach((button, i) => {
      const row = byStep.get(i);
      const none = !row || row.log10 === -Infinity;
      button.style.background = none ? "" : view.scale === "share" ? shareColor(of(row)) : sizeColor(of(row));
      button.style.color = none ? "" : inkOn(view.scale, of(row));
      button.classList.toggle("away", !row && i !== predicted);
      button.setAttribute("aria-pressed", String(i === predicted));
      button.title = row ? `${percent(row.part)} of this loss; norm ${ofLog10(row.log10)}, ${percent(row.share)} of the whole gradient` : "";
    });
    this.key?.replaceChildren(...[scaleKey(view.scale, ends)].flat());
    // One tab stop; the arrow keys move from there.
    this.buttons.forEach((button, i) => (button.tabIndex = i === predicted ? 0 : -1));
    if (this.predicted !== predicted || this.scrolled !== this.place.clientWidth) this.scrollTo(predicted);
  }

  /** Scrolls the text, not the page, so that a word is in view. */
  scrollTo(i) {
    [this.predicted, this.scrolled] = [i, this.place.clientWidth];
    const [box, word] = [this.place, this.buttons[i]].map((node) => node.getBoundingClientRect());
    if (word.top < box.top || word.bottom > box.bottom) this.place.scrollTop += word.top - box.top - (box.height - word.height) / 2;
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
  const [{ t, log10, share, part }] = rows;
  const far = rows.find((row) => row.t !== k);
  const lag = Math.abs(k - t);
  const where = lag === 0 ? (subject.targets ? "read directly before it" : "at the same step") : `read ${count(lag, "step")} earlier`;
  const next = far && far.t !== t ? [" The largest from an earlier step is ", symbol(subject.symbols[far.t]), ` at lag ${Math.abs(k - far.t)}, ${percent(far.part)} of this loss (norm ${ofLog10(far.log10)}).`] : [];
  return [...what, ...cost, ". The largest contribution comes from ", symbol(subject.symbols[t]), `, ${where}: ${percent(part)} of this loss (norm ${ofLog10(log10)}, ${percent(share)} of the whole gradient).`, ...next];
}

/** Every contribution to the chosen loss, the `most` largest first; bars are relative to the largest. */
export function contributionTable(view, most = Infinity) {
  const rows = contributions(view).slice(0, most);
  const largest = rows[0]?.log10 ?? 0;
  const cells = rows.map(({ t, log10, share, part }) => [
    String(t),
    symbol(view.subject.symbols[t]),
    String(Math.abs(view.k - t)),
    percent(part),
    ofLog10(log10),
    percent(share),
    el("span", { class: "bar", style: `inline-size: ${(100 * 10 ** (log10 - largest)).toFixed(1)}%` }),
  ]);
  const caption = most < Infinity ? `The largest contributions to loss ${view.k}` : `All contributions to loss ${view.k}, the largest first`;
  return table(caption, ["step t", "input", "lag", "of this loss", "norm", "of the gradient", "relative to the largest"], cells, [0, 2, 3, 4, 5]);
}
