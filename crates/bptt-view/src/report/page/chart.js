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
