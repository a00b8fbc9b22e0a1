// Common parts of the charts, which plotly draws; `Plotly` is a global of the page.

import { color } from "./theme.js";

/** Text escaped for plotly, which interprets some HTML in labels. */
export function plain(text) {
  return text.replace(/&/gu, "&amp;").replace(/</gu, "&lt;").replace(/>/gu, "&gt;");
}

/** An axis. */
export function axis(title, more = {}) {
  return {
    title: { text: title, standoff: 8 },
    gridcolor: color("line"),
    linecolor: color("line"),
    zerolinecolor: color("line"),
    automargin: true,
    ...more,
  };
}

/** Whether there is little room from left to right. */
export function isNarrow() {
  return innerWidth < 600;
}

/** The largest number of steps with symbols along an axis, on wide and on narrow pages. */
const LABELED = { wide: 40, narrow: 16 };

/** Whether symbols have room along an axis. */
export function hasRoom(symbols) {
  return symbols.length <= (isNarrow() ? LABELED.narrow : LABELED.wide);
}

/** Ticks with the symbols of the steps, where they have room. */
export function symbolTicks(symbols, more = {}) {
  if (!hasRoom(symbols)) return {};
  const text = (symbol) => plain(symbol.length > 12 ? `${symbol.slice(0, 11)}…` : symbol);
  return { tickvals: symbols.map((_, t) => t), ticktext: symbols.map(text), ...more };
}

/** A vertical line with a label. */
export function mark(x, text, hue) {
  return {
    shape: { type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color: hue, width: 1.5, dash: "dash" } },
    annotation: {
      x, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, text, font: { color: hue, size: 12 },
    },
  };
}

/** Draws a chart into `place`; `alt` describes it. */
export function draw(place, alt, traces, layout) {
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", alt);
  const whole = {
    autosize: true,
    margin: { l: 56, r: 12, t: 24, b: 48 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: color("text") },
    hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("text") } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    dragmode: false,
    ...layout,
  };
  return Plotly.react(place, traces, whole, { displaylogo: false, displayModeBar: false, responsive: true });
}
