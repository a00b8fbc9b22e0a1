// Pictures of the derivation, as SVG with the numbers of the chosen loss and step.

import { svg } from "./dom.js";
import { number, ofLog10 } from "./format.js";
import { sizeColor, sizeChannels } from "./scale.js";
import { logRange, picture, stroke, textAt } from "./plot.js";

/** The largest size of a pixel image; longer sequences are drawn by every so many steps. */
const MOST_PIXELS = 256;

/** The largest norms of an entry as an image with a pixel for each (k, t), or for each block of them: its address. `range` are the
 * logarithms at the ends of the scale. */
export function pixels(entry, range) {
  const block = Math.ceil(entry.steps / MOST_PIXELS);
  const size = Math.ceil(entry.steps / block);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  const image = context.createImageData(size, size);
  const largest = new Float32Array(size * size).fill(-Infinity);
  for (let k = 0; k < entry.steps; k++) {
    for (let t = 0; t < entry.steps; t++) {
      const log10 = entry.log10(k, t);
      const at = Math.floor(k / block) * size + Math.floor(t / block);
      if (log10 > largest[at]) largest[at] = log10;
    }
  }
  const [low, high] = range;
  const palette = Array.from({ length: 256 }, (_, i) => [...sizeChannels(i / 255), 255]);
  largest.forEach((log10, at) => {
    if (log10 === -Infinity) return;
    const level = Math.round((255 * (log10 - low)) / (high - low));
    image.data.set(palette[Math.max(0, Math.min(level, 255))], 4 * at);
  });
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}

/** The smallest and the largest logarithm of an entry's norms. */
function normEnds(entry) {
  let [low, high] = [Infinity, -Infinity];
  for (const log10 of entry.log10Norms) {
    if (!Number.isFinite(log10)) continue;
    [low, high] = [Math.min(low, log10), Math.max(high, log10)];
  }
  return [low, high];
}

/** The logarithms at the ends of a common scale of entries. */
export function commonRange(entries) {
  return logRange(entries.flatMap(normEnds));
}

/** A small arrow with a head. */
function pointer(x1, y1, x2, y2) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const wing = (turn) => `${(x2 - 8 * Math.cos(angle + turn)).toFixed(1)},${(y2 - 8 * Math.sin(angle + turn)).toFixed(1)}`;
  return [stroke(x1, y1, x2, y2, { class: "base" }), svg("polygon", { points: `${x2},${y2} ${wing(0.4)} ${wing(-0.4)}`, class: "forward" })];
}

const middle = { "text-anchor": "middle" };

/** A box with a line of text and a smaller one below it. */
function box(x, y, text, below = "") {
  return [
    svg("rect", { x: x - 42, y: y - 16, width: 84, height: 32, rx: 6, class: "input" }),
    textAt(x, y + 4, text, middle),
    textAt(x, y + 31, below, { ...middle, class: "quiet" }),
  ];
}

/** One step forward: what goes into the state of step t and what follows from it. */
export function stepPicture({ t, read, x, h, hasLoss, recurrent }) {
  const alt = `The input of step ${t}, ${read}, and the previous state go through the weights into the state h of step ${t}.`;
  const norm = (size) => (size == null ? "" : `norm ${size > 0 ? number(size) : "0"}`);
  return picture({ width: 400, height: 150, alt },
    box(46, 112, [...read].slice(0, 9).join("") || "x", `x${t} ${norm(x)}`),
    box(46, 30, `h${t - 1 < 0 ? " initial" : t - 1}`, norm(h)),
    box(210, 70, `h${t}`),
    hasLoss ? [box(354, 70, `L${t}`), pointer(254, 70, 310, 70)] : [],
    pointer(90, 104, 166, 78), pointer(90, 36, 166, 62),
    textAt(136, 108, "W_ih"), recurrent ? textAt(136, 38, "W_hh") : []);
}

/** An outer product: a column times a row makes a matrix. `products` are `[{ left, right, a, b, size }]`. */
export function outerPicture(products) {
  const alt = products.map(({ left, right, a, b, size }) => `${left} of norm ${a} times ${right} of norm ${b} is a matrix of norm ${size}`).join("; ");
  const one = ({ left, right, a, b, size }, i) => {
    const y = 20 + 112 * i;
    const bar = (x, top, width, height) => svg("rect", { x, y: top, width, height, rx: 2, class: "solid" });
    return [
      bar(46, y, 12, 64), textAt(52, y + 80, left, middle), textAt(52, y + 95, a, { ...middle, class: "quiet" }),
      textAt(86, y + 38, "×", middle),
      bar(104, y + 26, 64, 12), textAt(136, y + 56, right, middle), textAt(136, y + 71, b, { ...middle, class: "quiet" }),
      textAt(196, y + 38, "=", middle),
      bar(216, y, 64, 64), textAt(248, y + 80, "matrix", middle), textAt(248, y + 95, size, { ...middle, class: "quiet" }),
    ];
  };
  return picture({ width: 330, height: 8 + 112 * products.length, alt }, products.map(one));
}

/** All contributions as a triangle of colors, and their sum. */
export function sumPicture(entry, name) {
  const range = commonRange([entry]);
  const alt = `The norms of all contributions over loss k and step t, and their sum, the gradient of ${name} with norm ${number(entry.total_norm)}.`;
  const side = 130;
  return picture({ width: 340, height: side + 46, alt },
    textAt(30 + side / 2, 12, "step t →", { ...middle, class: "quiet" }),
    textAt(12, 24 + side / 2, "loss k ↓", { ...middle, class: "quiet", transform: `rotate(-90 12 ${24 + side / 2})` }),
    svg("rect", { x: 30, y: 20, width: side, height: side, class: "frame" }),
    svg("image", { href: pixels(entry, range), x: 30, y: 20, width: side, height: side, class: "pixels" }),
    textAt(30 + side + 24, 24 + side / 2, "Σ →", middle),
    svg("rect", { x: 210, y: 20 + side / 2 - 34, width: 68, height: 68, rx: 3, ...(entry.total_norm > 0 ? { fill: sizeColor(1) } : { class: "frame" }) }),
    textAt(244, 20 + side / 2 + 52, `gradient, norm ${number(entry.total_norm)}`, middle),
    textAt(30 + side / 2, side + 38, `norms up to ${ofLog10(normEnds(entry)[1])}`, { ...middle, class: "quiet" }));
}
