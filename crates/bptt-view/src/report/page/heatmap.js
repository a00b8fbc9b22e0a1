// The heatmap: losses down, steps to the right.

import { el, symbol } from "./dom.js";
import { ofLog10, percent, powerOfTen } from "./format.js";
import { color, isDark } from "./theme.js";
import { colorScale } from "./scale.js";
import { axis, draw, hasRoom, isNarrow, symbolTicks } from "./chart.js";

/** States with a color of their own, and their meaning. */
const STATES = [
  ["0", "zero", "exactly zero"],
  ["x", "cancelled", "the sequences of the batch cancel so far that few digits are left"],
  ["u", "underflow", "not zero, but below the format's range"],
  ["c", "cut", "cut: the state was reset or detached in between"],
  ["m", "masked", "masked: the step has no loss"],
  ["r", "remainder", "below the tolerance: part of the remainder"],
];

/** A description of one cell (k, t), as nodes. */
export function cellInWords(view, k, t) {
  const { entry, gate, subject } = view;
  const state = entry.state(k, t);
  const read = [`step ${t} `, symbol(subject.symbols[t])];
  const loss = [`loss ${k}`, ...(subject.targets ? [" (predicting ", symbol(subject.targets[k]), ")"] : [])];
  if (state === ".") return [...read, " → ", ...loss, ": no path leads there"];
  const known = STATES.find(([letter]) => letter === state);
  const log10 = entry.log10(k, t, gate);
  const sentence = [...read, " → ", ...loss, `, lag ${Math.abs(k - t)}: `];
  if (known && state !== "u" && state !== "x") return [...sentence, known[2]];
  const share = entry.share(k, t);
  sentence.push(percent(partOfLoss(entry, k, t, gate)), " of this loss, norm ", el("data", { class: "norm", value: 10 ** log10 }, ofLog10(log10)));
  sentence.push(", ", el("data", { class: "share", value: share }, percent(share)), " of the whole gradient");
  if (gate != null) sentence.push(" (all gates)");
  return known ? [...sentence, " – ", known[2]] : sentence;
}

/** The part that a contribution is of the sum of the norms of its loss. */
function partOfLoss(entry, k, t, gate) {
  const own = entry.log10(k, t, gate);
  if (!(own > -Infinity)) return 0;
  let sum = 0;
  for (let step = 0; step < entry.steps; step++) {
    const log10 = entry.log10(k, step, gate);
    if (log10 > -Infinity) sum += 10 ** (log10 - own);
  }
  return 1 / sum;
}

/** The rows of numbers of a scale; null where a state has its own color. */
function grid(view) {
  const { entry, gate, scale } = view;
  const steps = entry.steps;
  const values = [];
  const states = [];
  let [low, high] = [Infinity, -Infinity];
  let special = false;
  for (let k = 0; k < steps; k++) {
    const row = new Array(steps).fill(null);
    const kinds = new Array(steps).fill(null);
    for (let t = 0; t < steps; t++) {
      const state = entry.state(k, t);
      const log10 = entry.log10(k, t, gate);
      if (state !== "v" || log10 === -Infinity) {
        const kind = STATES.findIndex(([letter]) => letter === (state === "v" ? "0" : state));
        if (kind >= 0) [kinds[t], special] = [kind, true];
        continue;
      }
      const value = scale === "share" ? entry.share(k, t) : scale === "norm" ? 10 ** log10 : log10;
      if (!Number.isFinite(value)) continue;
      row[t] = value;
      [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    values.push(row);
    states.push(kinds);
  }
  return { values, states, low, high, special };
}

/** Ticks of a logarithmic color bar, whole powers of ten. */
function powers(low, high) {
  const every = Math.max(1, Math.ceil((high - low) / 6));
  const ticks = [];
  for (let p = Math.ceil(low); p <= high; p += every) ticks.push(p);
  return { tickvals: ticks, ticktext: ticks.map(powerOfTen) };
}

const TITLES = { log: "norm (logarithmic)", norm: "norm", share: "share of the gradient" };

function traces(view, cells) {
  const { scale } = view;
  const { values, states, low, high, special } = cells;
  const most = Math.max(Math.abs(low), Math.abs(high));
  const range = scale === "share" ? { zmin: -most, zmax: most } : scale === "norm" ? { zmin: 0, zmax: high } : { zmin: low, zmax: high };
  const ticks = scale === "log" ? powers(low, high) : {};
  const main = {
    type: "heatmap", z: values, hoverinfo: "none", hoverongaps: false, ...range,
    colorscale: colorScale(scale),
    colorbar: { title: { text: TITLES[scale], side: "right" }, thickness: 12, outlinewidth: 0, ...ticks },
  };
  if (isNarrow()) {
    // Below the symbols along the axis, if there are any.
    const y = hasRoom(view.subject.symbols) ? -0.36 : -0.22;
    main.colorbar = { ...main.colorbar, orientation: "h", y, yanchor: "top", thickness: 10, title: { text: TITLES[scale], side: "bottom" } };
  }
  if (!special) return [main];
  const hues = STATES.flatMap(([, name], i) => [
    [i / STATES.length, color(name)],
    [(i + 1) / STATES.length, color(name)],
  ]);
  const kinds = { type: "heatmap", z: states, hoverinfo: "none", hoverongaps: false, showscale: false, zmin: -0.5, zmax: STATES.length - 0.5, colorscale: hues };
  return [main, kinds];
}

/** Marks of the chosen loss and step. */
function cursor({ k, t }) {
  const line = { color: color("accent"), width: 2 };
  return [
    { type: "rect", x0: -0.5, x1: k + 0.5, y0: k - 0.5, y1: k + 0.5, line: { ...line, width: 1 } },
    { type: "rect", x0: t - 0.5, x1: t + 0.5, y0: k - 0.5, y1: k + 0.5, line },
  ];
}

/** The heatmap in `place`, its key in `legend`; `choose({k, t})` is called on a click, `hover({k, t}, event)` over a cell
 * and `hover(null)` when the pointer leaves it. */
export class Heatmap {
  constructor(place, legend, choose, hover) {
    Object.assign(this, { place, legend, choose, hover, shown: null });
  }

  show(view) {
    const shown = [view.entry, view.gate, view.scale, isDark(), isNarrow()];
    if (this.shown && shown.every((part, i) => part === this.shown[i])) {
      this.describe(view);
      return Plotly.relayout(this.place, { shapes: cursor(view) });
    }
    const first = this.shown == null;
    this.shown = shown;
    const cells = grid(view);
    const xs = symbolTicks(view.subject.symbols, { tickangle: -60 });
    const ys = symbolTicks(view.subject.targets ?? view.subject.symbols);
    const drawn = draw(this.place, "", traces(view, cells), {
      xaxis: axis("step t, input", { constrain: "domain", showgrid: false, zeroline: false, ...xs }),
      yaxis: axis(view.subject.targets ? "loss k, target" : "loss k", { autorange: "reversed", showgrid: false, zeroline: false, ...ys }),
      margin: { l: 60, r: 8, t: 8, b: 56 },
      shapes: cursor(view),
    });
    this.describe(view);
    this.key(cells);
    if (first) this.listen();
    return drawn;
  }

  describe(view) {
    const { k, t, entry } = view;
    const alt = `Heatmap of ${TITLES[view.scale]} over loss k (down) and step t (to the right), ${entry.steps} by ${entry.steps}; chosen: loss ${k}, step ${t}.`;
    this.place.setAttribute("aria-label", alt);
  }

  /** The meaning of the colors of states, for those that occur. */
  key({ states }) {
    const found = new Set(states.flat());
    const items = STATES.filter((_, i) => found.has(i)).map(([, name, words]) =>
      el("li", {}, el("span", { class: "swatch", style: `background: var(--${name})` }), words),
    );
    this.legend.replaceChildren(...items);
  }

  listen() {
    const cell = ({ points }) => ({ k: points[0].pointIndex[0], t: points[0].pointIndex[1] });
    this.place.on("plotly_click", (event) => this.choose(cell(event)));
    this.place.on("plotly_hover", (event) => this.hover(cell(event), event.event));
    this.place.on("plotly_unhover", () => this.hover(null));
  }
}
