// Several networks beside each other: their terms by lag on one axis, and their ledgers in one scale of colors.

import { el, svg } from "./dom.js";
import { number, ofLog10 } from "./format.js";
import { sizeColor } from "./scale.js";
import { isDark } from "./theme.js";
import { logLines, logTicks, picture, stroke, textAt, wholeTicks } from "./plot.js";
import { medians, recurrentEntry } from "./lead.js";
import { commonRange, pixels } from "./pictures.js";

/** The looks of the lines, in the order of the networks. */
const LOOKS = ["one", "two", "three", "four", "five", "six"];

const shortName = (name) => (name.length > 16 ? `${name.slice(0, 15)}…` : name);

/** The last ledger of each network, and the recurrent weights of its first layer. */
function subjectsOf(data, ledgerOf) {
  return data.subjects.map((subject, i) => {
    const ledger = ledgerOf(i, subject.stages.length - 1);
    return { subject, ledger, entry: recurrentEntry({ ledger, entry: ledger.entry(0) }) };
  });
}

/** Medians by lag, a line for each network. */
function lagPicture(all, width) {
  const series = all.map(({ subject, entry }, i) => ({ name: shortName(subject.name), className: LOOKS[i % LOOKS.length], points: medians(entry) }));
  const most = Math.max(...series.flatMap(({ points }) => points.map(([lag]) => lag)), 0);
  const alt = `Median norm of a term by lag on a logarithmic axis. ${compareInWords(all)}`;
  return logLines({ width, height: 260, alt, series, ticks: wholeTicks(0, most, width < 500 ? 4 : 8), xTitle: "lag |k − t|, steps", yTitle: "median norm of a term", labelWidth: 128 });
}

/** The ledger of a network as a square of colors in a common scale, and what puts the mark on a cell. A click
 * chooses the cell under it, as the controls do. */
function ledgerPicture({ subject, entry }, range, width, choose) {
  const side = Math.min(width - 30, 420);
  const cell = side / entry.steps;
  const alt = `Norms of the terms of ${subject.name} over loss k (down) and step t (to the right), from ${ofLog10(range[0])} to ${ofLog10(range[1])} on a logarithmic scale.`;
  const mark = svg("rect", { class: "cursor", width: Math.max(cell, 5), height: Math.max(cell, 5) });
  const onclick = choose && (({ currentTarget, clientX, clientY }) => {
    const box = currentTarget.querySelector("image").getBoundingClientRect();
    const at = (from, size) => Math.floor((from / size) * entry.steps);
    const [k, t] = [at(clientY - box.top, box.height), at(clientX - box.left, box.width)];
    if (Math.min(k, t) >= 0 && Math.max(k, t) < entry.steps) choose({ k, t });
  });
  const drawn = picture({ width: side + 28, height: side + 24, alt, onclick },
    svg("rect", { x: 24, y: 4, width: side, height: side, class: "frame" }),
    svg("image", { href: pixels(entry, range), x: 24, y: 4, width: side, height: side, class: "pixels" }), mark,
    textAt(24 + side / 2, side + 20, "step t", { "text-anchor": "middle", class: "quiet" }),
    textAt(14, 4 + side / 2, "loss k", { "text-anchor": "middle", class: "quiet", transform: `rotate(-90 14 ${4 + side / 2})` }));
  const put = ({ k, t }) => {
    mark.setAttribute("visibility", k < entry.steps && t < entry.steps ? "visible" : "hidden");
    mark.setAttribute("x", 24 + cell * t);
    mark.setAttribute("y", 4 + cell * k);
  };
  return { drawn, put };
}

/** The common scale of colors. */
function scalePicture(range, width) {
  const [low, high] = range;
  const wide = Math.min(width - 40, 320);
  const at = (log10) => 20 + ((log10 - low) / (high - low)) * wide;
  const boxes = Array.from({ length: 32 }, (_, i) => svg("rect", { x: 20 + (i * wide) / 32, y: 2, width: wide / 32 + 0.5, height: 12, fill: sizeColor((i + 0.5) / 32) }));
  const ticks = logTicks(low, high, 6).map(([log10, text]) => [stroke(at(log10), 14, at(log10), 18, { class: "base" }), textAt(at(log10), 31, text, { "text-anchor": "middle" })]);
  return picture({ width: wide + 40, height: 36, alt: `The colors stand for norms from ${ofLog10(low)} to ${ofLog10(high)}.` }, boxes, ticks);
}

/** How the networks differ, a part of a sentence for each. */
function compareInWords(all) {
  const parts = all.map(({ subject, entry }) => {
    const kept = entry.decay_per_step == null ? "" : `, × ${number(Math.exp(entry.decay_per_step))} per step`;
    return `${subject.name}: horizon ${entry.horizon ?? "–"}${kept}`;
  });
  return `${parts.join("; ")}.`;
}

/** Several networks in `place`, drawn anew when the width changes; `choose({ network, k, t })` is called on a click on a ledger. */
export class Comparison {
  constructor(place, sentence, choose = null) {
    Object.assign(this, { place, sentence, choose, all: [], chosen: null, width: 0, dark: null, marks: [] });
    new ResizeObserver(() => this.chosen && this.all.length > 1 && place.clientWidth !== this.width && this.draw()).observe(place);
  }

  /** Shows the subjects of `data`, if there are two or more. */
  compare(data, ledgerOf) {
    this.all = subjectsOf(data, ledgerOf);
    this.place.closest("section").hidden = this.all.length < 2;
    this.sentence.textContent = compareInWords(this.all);
    this.dark = null;
  }

  /** Marks a cell. */
  show({ k, t }) {
    this.chosen = { k, t };
    if (this.all.length < 2) return;
    if (this.dark !== isDark()) this.draw();
    else for (const put of this.marks) put(this.chosen);
  }

  draw() {
    const { all } = this;
    [this.width, this.dark] = [this.place.clientWidth, isDark()];
    const width = this.width || 360;
    const columns = width >= 620 ? Math.min(all.length, width >= 1000 ? 3 : 2) : 1;
    const each = Math.floor((width - 20 * (columns - 1)) / columns);
    const range = commonRange(all.map(({ entry }) => entry));
    const chooser = (network) => this.choose && ((cell) => this.choose({ network, ...cell }));
    const pictures = all.map((one, i) => ledgerPicture(one, range, each, chooser(i)));
    const grid = el("div", { class: "beside" }, pictures.map(({ drawn }, i) => el("div", {}, el("h3", {}, el("bdi", {}, all[i].subject.name)), drawn)));
    this.marks = pictures.map(({ put }) => put);
    for (const put of this.marks) put(this.chosen);
    grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    this.place.replaceChildren(lagPicture(all, width), grid, scalePicture(range, width));
  }
}
