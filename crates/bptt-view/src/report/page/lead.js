// The lead picture: the gradient of the recurrent weights beside its terms by lag, and what it shows in words.

import { el, formula, svg } from "./dom.js";
import { count, number, ofLog10, percent } from "./format.js";
import { lagColors } from "./scale.js";
import { isDark } from "./theme.js";
import { logLines, picture, stroke, textAt, wholeTicks } from "./plot.js";
import { letter } from "./tables.js";

/** The factor from which on terms vanish or explode: a hundredth, or a hundred times, in powers of ten. */
export const FAR_APART = 2;

/** The factor up to which terms keep their size: about a half to twice. */
const ALIKE = 0.3;

/** The entry that the picture is about: the recurrent weights, or the entry shown where there are none. */
export function recurrentEntry({ ledger, entry }) {
  return ledger.find("weight_hh", entry.layer, entry.direction) ?? entry;
}

/** log₁₀ of a sum of powers of ten. */
function sumOf(logs) {
  const top = Math.max(...logs);
  return top + Math.log10(logs.reduce((sum, log10) => sum + 10 ** (log10 - top), 0));
}

/** The terms of loss k that are not zero, `[{ t, lag, log10 }]`, the nearest first. */
export function termsOf(ledger, entry, k, gate = null) {
  const list = [];
  const [from, to] = ledger.uncut[k];
  for (let t = from; t < to; t++) {
    const log10 = entry.log10(k, t, gate);
    if (log10 > -Infinity) list.push({ t, lag: Math.abs(k - t), log10 });
  }
  return list.sort((a, b) => a.lag - b.lag);
}

/** log₁₀ of the larger term of loss k at a lag; −∞ if there is none. */
function atLag(ledger, entry, k, lag) {
  const [from, to] = ledger.uncut[k];
  let most = -Infinity;
  for (const t of lag === 0 ? [k] : [k - lag, k + lag]) {
    const log10 = t >= from && t < to ? entry.log10(k, t) : NaN;
    if (log10 > most) most = log10;
  }
  return most;
}

/** For each loss, log₁₀ of: the sum of the norms of its terms, its own step, the step at half the lag, and the farthest. */
export function alongLosses(ledger, entry) {
  return ledger.losses.flatMap((k) => {
    const [from, to] = ledger.uncut[k];
    const logs = Array.from({ length: to - from }, (_, i) => entry.log10(k, from + i)).filter((log10) => log10 > -Infinity);
    if (logs.length === 0) return [];
    let lag = Math.max(k - from, to - 1 - k);
    while (atLag(ledger, entry, k, lag) === -Infinity) lag -= 1;
    let half = Math.floor(lag / 2);
    while (half > 0 && atLag(ledger, entry, k, half) === -Infinity) half -= 1;
    const at = (of) => {
      const log10 = atLag(ledger, entry, k, of);
      return log10 === -Infinity ? NaN : log10;
    };
    return [{ k, all: sumOf(logs), own: at(0), half: at(half), farthest: at(lag) }];
  });
}

/** Ranges of lags: 0, 1, 2–3, 4–7, …, up to the largest lag. */
export function lagRanges(largest) {
  const list = [{ from: 0, to: 0 }];
  for (let from = 1; from <= largest; from *= 2) list.push({ from, to: Math.min(2 * from - 1, largest) });
  return list;
}

/** The share of the whole gradient that comes from each range of lags. */
export function sharesByRange(entry) {
  const ranges = lagRanges(entry.lags.at(-1) ?? 0).map((range) => ({ ...range, share: 0 }));
  const at = (lag) => (lag === 0 ? 0 : 1 + Math.floor(Math.log2(lag)));
  for (let k = 0; k < entry.steps; k++) {
    for (let t = 0; t < entry.steps; t++) {
      const share = entry.share(k, t);
      const range = ranges[at(Math.abs(k - t))];
      if (Number.isFinite(share) && range) range.share += share;
    }
  }
  return ranges;
}

/** The medians of an entry's norms by lag that are not zero, `[[lag, log10], …]`. */
export function medians({ lags, log10_profile: profile }) {
  return lags.map((lag, i) => [lag, profile[i][2] ?? -Infinity]).filter(([, log10]) => log10 > -Infinity);
}

/** What happens to the terms with the lag: the nearest, the largest and the farthest median, how the farthest compares with the
 * nearest, and the first lag with less than a hundredth of the largest median before it, if they vanish: the judge's measure. */
export function fateOf(entry) {
  const known = medians(entry);
  if (known.length < 2) return { fate: "unknown", near: known[0] };
  const [near, far] = [known[0], known.at(-1)];
  const change = far[1] - near[1];
  const fate = change <= -FAR_APART ? "vanish" : change < -ALIKE ? "shrink" : change <= ALIKE ? "stay" : change < FAR_APART ? "grow" : "explode";
  if (fate !== "vanish") return { fate, near, far, change };
  let largest = near;
  for (const median of known) {
    if (median[1] < largest[1] - FAR_APART) return { fate, near, far, change, largest, from: median[0] };
    if (median[1] > largest[1]) largest = median;
  }
}

/** The name of a range of lags. */
function rangeName({ from, to }) {
  if (to === 0) return "own step";
  return from === to ? count(from, "step back", "steps back") : `${from}–${to} back`;
}

/** A bar for each range of lags: its share of the whole gradient. */
function sharePicture(entry, width) {
  const ranges = sharesByRange(entry);
  const [left, right, row] = [104, width - 74, 22];
  const low = Math.min(0, ...ranges.map(({ share }) => share));
  const high = Math.max(1, ...ranges.map(({ share }) => share));
  const x = (share) => left + ((share - low) / (high - low)) * (right - left);
  const bar = (share, y, fill) => svg("rect", { x: Math.min(x(0), x(share)), y: y + 3, width: Math.abs(x(share) - x(0)), height: row - 6, ...fill });
  const line = (name, share, text, y, fill) => [
    textAt(left - 8, y + row / 2 + 4, name, { "text-anchor": "end" }),
    bar(share, y, fill),
    textAt(x(Math.max(share, 0)) + 6, y + row / 2 + 4, text, { class: "number" }),
  ];
  const height = 30 + row * (ranges.length + 1) + 8;
  const hues = lagColors(ranges.length);
  const alt = `Shares of the gradient by lag. ${ranges.map((range) => `${rangeName(range)}: ${percent(range.share)}`).join("; ")}.`;
  return picture({ width, height, alt },
    textAt(4, 12, "share of the whole gradient", { class: "quiet" }),
    line("whole gradient", 1, number(entry.total_norm), 22, { class: "whole" }),
    ranges.map((range, i) => line(rangeName(range), range.share, percent(range.share), 28 + row * (i + 1), { fill: hues[i] })),
    stroke(x(0), 22, x(0), height - 4, { class: "base" }));
}

/** The number of points of a line beyond which it shows medians of neighbors. */
const POINTS_OF_LINE = 48;

/** Medians of as many neighbors as leave few enough points. */
function binned(points) {
  const size = Math.ceil(points.length / POINTS_OF_LINE);
  if (size === 1) return points;
  const bins = Array.from({ length: Math.ceil(points.length / size) }, (_, i) => points.slice(i * size, (i + 1) * size));
  return bins.map((bin) => [bin[Math.floor(bin.length / 2)][0], bin.map(([, y]) => y).sort((a, b) => a - b)[Math.floor(bin.length / 2)]]);
}

/** The terms of the only loss, by step. */
function alongSteps(ledger, entry, { k, all }, width) {
  const points = termsOf(ledger, entry, k).map(({ t, log10 }) => [t, log10]).sort((a, b) => a[0] - b[0]);
  const [first, last] = [points[0], points.at(-1)];
  const alt = `Norms of the terms of loss ${k}, the only one, on a logarithmic axis: ${ofLog10(first[1])} at step ${first[0]}, ${ofLog10(last[1])} at step ${last[0]}; their sum is ${ofLog10(all)}.`;
  const series = [
    { name: "one step", className: "far", points: binned(points) },
    { name: "all steps", className: "whole", points: [first, last].map(([t]) => [t, all]) },
  ];
  return logLines({ width, alt, series, ticks: wholeTicks(first[0], last[0]), xTitle: "step t", yTitle: `norm of a term of loss ${k}; all steps: sum of norms` });
}

/** The terms of each loss along the sequence. */
function alongPicture(ledger, entry, width) {
  const rows = alongLosses(ledger, entry);
  if (rows.length === 0) return null;
  if (rows.length === 1) return alongSteps(ledger, entry, rows[0], width);
  const of = (key) => binned(rows.map((row) => [row.k, row[key]]));
  const [first, last] = [rows[0], rows.at(-1)];
  const alt = `Norms of the terms of each loss on a logarithmic axis, from loss ${first.k} to loss ${last.k}. Sum of the norms of all steps: ${ofLog10(first.all)} to ${ofLog10(last.all)}; own step: ${ofLog10(first.own)} to ${ofLog10(last.own)}; farthest step: ${ofLog10(first.farthest)} to ${ofLog10(last.farthest)}.`;
  const series = [
    { name: "farthest step", className: "far", points: of("farthest") },
    { name: "half the lag", className: "middle", points: of("half") },
    { name: "own step", className: "near", points: of("own") },
    { name: "all steps", className: "whole", points: of("all") },
  ];
  return logLines({ width, alt, series, ticks: wholeTicks(first.k, last.k), xTitle: "loss k", yTitle: "norm of a term; all steps: sum of norms" });
}

/** The gradient and its terms at the stages of a training. */
function trainingPicture(subject, ledger, entry, width) {
  const stages = subject.stages.filter(({ step }) => step != null);
  if (stages.length < 2) return null;
  const index = ledger.entries.findIndex((e) => e.parameter === entry.parameter && e.layer === entry.layer && e.direction === entry.direction);
  const entries = stages.map((stage) => stage.entries[index]);
  const common = medians(entries.at(-1)).map(([lag]) => lag).filter((lag) => entries.every((e) => medians(e).some(([other]) => other === lag)));
  if (common.length === 0) return null;
  const lags = [...new Set([0, 1 / 4, 1 / 2].map((part) => common[Math.round(part * (common.length - 1))]))];
  const at = (lag) => entries.map((e, i) => [i, medians(e).find(([other]) => other === lag)[1]]);
  const classes = lags.length === 3 ? ["near", "middle", "far"] : ["near", "far"];
  const series = [
    { name: "gradient", className: "whole", points: entries.map((e, i) => [i, Math.log10(e.total_norm)]) },
    ...lags.map((lag, i) => ({ name: `lag ${lag}`, className: classes[i], points: at(lag) })),
  ];
  const every = Math.ceil(stages.length / 6);
  const ticks = stages.map(({ step }, i) => [i, String(step)]).filter((_, i) => (stages.length - 1 - i) % every === 0);
  const shown = stages.findIndex(({ step }) => step === ledger.step);
  const ends = (points) => `${ofLog10(points[0][1])} to ${ofLog10(points.at(-1)[1])}`;
  const alt = `Norms over the training on a logarithmic axis, from ${count(stages[0].step, "update")} to ${stages.at(-1).step}. ${series.map(({ name, points }) => `${name}: ${ends(points)}`).join("; ")}.`;
  return logLines({ width, alt, series: series.reverse(), ticks, xTitle: "updates made", yTitle: "norm of the gradient, median norm of a term", marked: shown < 0 ? null : shown });
}

/** Titles above the panels. */
const PANELS = { shares: "Parts of the gradient", along: "Along the sequence", training: "Over the training" };

/** The lead picture in `place`; its panels are drawn anew when the width changes. */
export class Lead {
  constructor(place, caption) {
    Object.assign(this, { place, caption, view: null, width: 0, shown: [] });
    new ResizeObserver(() => this.view && place.clientWidth !== this.width && this.draw()).observe(place);
  }

  show(view) {
    this.view = view;
    const shown = [recurrentEntry(view), isDark()];
    if (shown.every((part, i) => part === this.shown[i])) return;
    this.shown = shown;
    this.caption.replaceChildren(...leadInWords(view));
    this.draw();
  }

  draw() {
    const { subject, ledger } = this.view;
    const entry = recurrentEntry(this.view);
    this.width = this.place.clientWidth;
    const makers = {
      shares: (width) => sharePicture(entry, width),
      along: (width) => alongPicture(ledger, entry, width),
      training: (width) => trainingPicture(subject, ledger, entry, width),
    };
    const all = this.width || 360;
    const most = all >= 900 ? 3 : all >= 620 ? 2 : 1;
    const panels = (count) => Object.entries(makers).flatMap(([name, make]) => {
      const drawn = entry.total_norm > 0 ? make(Math.floor((all - 20 * (count - 1)) / count)) : null;
      return drawn ? [el("div", { class: "panel" }, el("h3", {}, PANELS[name]), drawn)] : [];
    });
    const expected = Math.min(most, subject.stages.length > 1 ? 3 : 2);
    let shown = panels(expected);
    const columns = Math.max(1, Math.min(most, shown.length));
    if (columns !== expected) shown = panels(columns);
    this.place.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    this.place.replaceChildren(...shown);
  }
}

/** What the picture shows, with its numbers; only what they say. */
export function leadInWords(view) {
  const entry = recurrentEntry(view);
  const name = () => formula(letter(entry.parameter));
  const { fate, near, far, change, largest, from } = fateOf(entry);
  const total = entry.total_norm;
  if (!(total > 0) || !near) return ["The gradient of ", name(), " is exactly zero, and so is every term of it."];
  const norm = el("data", { value: total }, number(total));
  // Compared with a single near term: a sum as large as that has not vanished.
  const large = Math.log10(total) >= near[1] - 1;
  const whole = large ? ["The gradient of ", name(), " does not vanish: its norm is ", norm, "."] : ["The norm of the gradient of ", name(), " is ", norm, `, less than a tenth of a single term at lag ${near[0]}, because its terms cancel.`];
  if (fate === "unknown") return [...whole, " Its terms reach too few lags to compare them."];
  const both = `the median norm of a term is ${ofLog10(near[1])} at lag ${near[0]} and ${ofLog10(far[1])} at lag ${far[0]}`;
  const times = ofLog10(Math.abs(change));
  const last = {
    vanish: () => [el("strong", {}, "Its far terms do"), `: ${both}. ${count(from, "step")} back, less than a hundredth of the largest median is left, which is that at lag ${largest[0]}; from there on, all terms together are ${percent(shareFrom(entry, from))} of the gradient.`],
    shrink: () => [el("strong", {}, "Its far terms shrink, but do not vanish here"), `: ${both}, ${percent(10 ** change)} of it.`],
    stay: () => [el("strong", {}, large ? "Nor do its far terms" : "Its far terms keep their size"), `: ${both}.`],
    grow: () => [el("strong", {}, "Its far terms grow"), `: ${both}, ${times} times as large.`],
    explode: () => [el("strong", {}, "Its far terms explode"), `: ${both}, ${times} times as large.`],
  };
  return [...whole, " ", ...last[fate]()];
}

/** The share of the gradient from this lag on. */
function shareFrom(entry, from) {
  let sum = 0;
  for (let k = 0; k < entry.steps; k++) {
    for (let t = 0; t < entry.steps; t++) {
      const share = entry.share(k, t);
      if (Math.abs(k - t) >= from && Number.isFinite(share)) sum += share;
    }
  }
  return sum;
}
