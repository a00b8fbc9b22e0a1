// The terms of the report, each with its sentence of the glossary and a picture, and links to them.

import { el, svg } from "./dom.js";
import { picture, stroke, textAt } from "./plot.js";

const SIZE = { width: 120, height: 72 };

/** Bars side by side; `of` gives height and class of each. */
function barsOf(heights, of = () => ({})) {
  return heights.map((height, i) => svg("rect", { x: 8 + 13 * i, y: 60 - height, width: 10, height, class: "solid", ...of(i) }));
}

const floor = stroke(4, 60, 116, 60, { class: "base" });

/** The terms: id, description of the picture, and the picture. */
const TERMS = [
  ["horizon", "Bars that become smaller with the lag; a line after those that make up 99 %.",
    () => [barsOf([48, 30, 19, 12, 7, 4, 2, 1], (i) => ({ opacity: i < 5 ? 1 : 0.4 })), stroke(73, 6, 73, 66, { class: "marked" }), textAt(77, 16, "99 %"), floor]],
  ["decay", "A falling line on a logarithmic axis.",
    () => [svg("path", { d: "M10 12L110 56", class: "slope" }), textAt(52, 16, "× 0.8 a step"), stroke(8, 6, 8, 60, { class: "base" }), floor]],
  ["share", "A bar divided into parts that add up to the whole.",
    () => [[[8, 62, 1], [71, 28, 0.65], [100, 12, 0.35]].map(([x, width, opacity]) => svg("rect", { x, y: 26, width, height: 20, class: "solid", opacity })), textAt(60, 64, "100 %", { "text-anchor": "middle" })]],
  ["cancellation", "Two long arrows in nearly opposite directions and their short sum.",
    () => [svg("path", { d: "M10 54L100 22M100 22L26 26", class: "slope" }), svg("path", { d: "M10 54L26 26", class: "slope sum" }), textAt(44, 62, "short sum")]],
  ["balance", "The stacked terms beside the gradient, equally high.",
    () => [[[8, 12, 1], [22, 14, 0.75], [38, 20, 0.5]].map(([y, height, opacity]) => svg("rect", { x: 20, y: y + 2, width: 26, height, class: "solid", opacity })), textAt(60, 38, "=", { "text-anchor": "middle" }), svg("rect", { x: 74, y: 10, width: 26, height: 50, class: "solid" }), floor]],
];

/** Numbers and words of sentences and headers that are about a term, and its id. */
const WORDS = [
  [/(?<=reaches )\d+ steps? back|horizon/iu, "horizon"],
  [/(?<=multiplied by )\d[\d.]*( · 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?|λ|factor per step/u, "decay"],
  [/[−\d.]+ %(?= comes| of this loss)|\bshares?\b|of this loss|[−\d.]+ %(?= of the (whole )?gradient)/u, "share"],
  [/(?<=cancellation )\d[\d.]*|‖Σ‖ \/ Σ‖·‖|\bcancel\b/iu, "cancellation"],
  [/(?<=relative error )\d[\d.]*( · 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?|balances?\b/iu, "balance"],
];

/** Text in which the first occurrence of each term is a link to it. Nodes are left as they are. */
export function linked(nodes) {
  const open = new Map(WORDS.map(([pattern, id]) => [id, pattern]));
  const split = (text) => {
    let first = null;
    for (const [id, pattern] of open) {
      const found = pattern.exec(text);
      if (found && (!first || found.index < first.found.index)) first = { id, found };
    }
    if (!first) return [text];
    open.delete(first.id);
    const { id, found } = first;
    const end = found.index + found[0].length;
    return [text.slice(0, found.index), el("a", { class: "term", href: `#term-${id}` }, found[0]), ...split(text.slice(end))];
  };
  return [nodes].flat(Infinity).flatMap((node) => (typeof node === "string" ? split(node) : [node]));
}

/** The glossary: the terms with their sentences. */
export function glossary(sentences) {
  const titled = (id) => id[0].toUpperCase() + id.slice(1);
  return TERMS.map(([id, alt, draw]) =>
    el("div", { class: "entry", id: `term-${id}` }, picture({ ...SIZE, alt }, draw()), el("div", {}, el("h3", {}, titled(id)), el("p", {}, sentences[id]))),
  );
}
