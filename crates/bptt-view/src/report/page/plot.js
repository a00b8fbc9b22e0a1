// Small charts as SVG, which need no library and scale in print. Colors of lines are classes of the style sheet.

import { svg } from "./dom.js";
import { ofLog10, powerOfTen } from "./format.js";

/** How many decades below its top a logarithmic axis shows at most. */
const MOST_DECADES = 16;

/** A picture of a width and height in pixels; `alt` describes it. */
export function picture({ width, height, alt, ...more }, ...children) {
  const size = { viewBox: `0 0 ${width} ${height}`, width, height, class: "plot" };
  return svg("svg", { ...size, role: "img", "aria-label": alt, ...more }, children);
}

/** A line of text. */
export function textAt(x, y, text, more = {}) {
  return svg("text", { x, y, ...more }, text);
}

/** A straight line. */
export function stroke(x1, y1, x2, y2, more = {}) {
  return svg("line", { x1, y1, x2, y2, ...more });
}

/** Ticks of a logarithmic axis, `[[log10, text], …]`: about `most` whole powers of ten, or numbers between them where there
 * are fewer than two. */
export function logTicks(low, high, most = 5) {
  const every = Math.max(1, Math.ceil((high - low) / most));
  const powers = [];
  for (let power = Math.ceil(low / every) * every; power <= high; power += every) powers.push(power);
  if (powers.length > 1) return powers.map((power) => [power, powerOfTen(power)]);
  const list = [];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const digit of [1, 2, 5]) {
      const log10 = power + Math.log10(digit);
      if (log10 >= low && log10 <= high) list.push([log10, ofLog10(log10)]);
    }
  }
  return list;
}

/** The ends of a logarithmic axis for these logarithms: at most MOST_DECADES, at least one. */
export function logRange(values) {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return [-1, 0];
  const high = Math.max(...finite);
  const low = Math.max(Math.min(...finite), high - MOST_DECADES);
  const middle = (high + low) / 2;
  const half = Math.max(0.5, (high - low) / 2) * 1.06;
  return [middle - half, middle + half];
}

/** Moves places apart to a distance of `gap`, in their order, within `low` to `high`. */
function apart(places, gap, low, high) {
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]);
  const moved = [...places];
  let least = low;
  for (const i of order) least = (moved[i] = Math.max(moved[i], least)) + gap;
  let most = high;
  for (const i of order.reverse()) most = (moved[i] = Math.min(moved[i], most)) - gap;
  return moved;
}

/** A path through points, with gaps where y is not a number. */
function pathThrough(points) {
  let pen = "M";
  return points.map(([x, y]) => {
    if (!Number.isFinite(y)) {
      pen = "M";
      return "";
    }
    const part = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}

/** Lines of logarithms (base 10) over whole numbers. `series` is `[{ name, className, points: [[x, log10], …] }]`; every line is
 * named at its right end. `ticks` are `[[x, text], …]`; `marked` is an x with a vertical line. */
export function logLines({ width, height = 230, alt, series, ticks, xTitle, yTitle, marked = null, labelWidth = 92 }) {
  const area = { left: 46, right: width - labelWidth, top: 22, bottom: height - 38 };
  const xs = series.flatMap(({ points }) => points.map(([x]) => x));
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const [low, high] = logRange(series.flatMap(({ points }) => points.map(([, y]) => y)));
  const px = (x) => (last === first ? (area.left + area.right) / 2 : area.left + ((x - first) / (last - first)) * (area.right - area.left));
  const py = (y) => area.bottom - ((y - low) / (high - low)) * (area.bottom - area.top);
  const grid = logTicks(low, high).map(([log10, text]) => [
    stroke(area.left, py(log10), area.right, py(log10), { class: "grid" }),
    textAt(area.left - 6, py(log10) + 4, text, { "text-anchor": "end" }),
  ]);
  const below = ticks.map(([x, text]) => textAt(px(x), area.bottom + 15, text, { "text-anchor": "middle" }));
  const clipped = (y) => Math.min(py(y), area.bottom);
  // A line that leaves the axis ends at its bottom.
  const shown = (points) => points.map(([x, y], i) => [px(x), y < low && (i === 0 || !(points[i - 1][1] >= low)) ? NaN : clipped(y)]);
  const dots = (points) => (points.length > 24 ? [] : points.filter(([, y]) => y >= low).map(([x, y]) => svg("circle", { cx: px(x), cy: py(y), r: 2.6, class: "dot" })));
  const lines = series.map(({ className, points }) =>
    svg("g", { class: `curve ${className}` }, svg("path", { d: pathThrough(shown(points)) }), dots(points)),
  );
  const ends = series.map(({ points }) => points.findLast(([, y]) => Number.isFinite(y)));
  const known = series.map((_, i) => i).filter((i) => ends[i]);
  const places = apart(known.map((i) => clipped(ends[i][1]) + 4), 15, area.top + 4, area.bottom + 4);
  const names = known.map((i, at) => textAt(area.right + 8, places[at], series[i].name, { class: `name ${series[i].className}` }));
  const line = marked == null ? [] : stroke(px(marked), area.top, px(marked), area.bottom, { class: "marked" });
  return picture({ width, height, alt },
    textAt(4, 12, yTitle, { class: "quiet" }), grid,
    stroke(area.left, area.bottom, area.right, area.bottom, { class: "base" }), below,
    textAt((area.left + area.right) / 2, height - 6, xTitle, { "text-anchor": "middle", class: "quiet" }), line, lines, names);
}

/** About `most` ticks among the whole numbers from `first` to `last`, both ends among them. */
export function wholeTicks(first, last, most = 5) {
  const span = last - first;
  if (span <= 0) return [[first, String(first)]];
  const step = [1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 256, 500].find((s) => span / s <= most) ?? Math.ceil(span / most);
  const list = [];
  for (let x = first; x <= last; x += step) list.push([x, String(x)]);
  return list;
}
