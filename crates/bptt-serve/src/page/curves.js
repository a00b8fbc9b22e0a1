// Curves of one or several trainings: loss, gradient norm and horizon over the updates.

import { count, number } from "./format.js";
import { color } from "./theme.js";
import { axis, draw, plain } from "./chart.js";

/** The color of the run at an index of the list. */
export function hueOf(i) {
  const hues = color("runs").split(/\s*,\s*/u);
  return hues[i % hues.length];
}

function lines({ name, training, hue }, alone) {
  const { steps, traces, evaluations } = training;
  const column = (rows, i) => rows.map((row) => row[i]);
  const line = (rows, i, what, yaxis, more = {}) => ({
    x: column(rows, 0), y: column(rows, i), yaxis, mode: "lines", line: { color: hue, width: 1.3 },
    name: plain(alone ? what : `${name}: ${what}`), legendgroup: name, showlegend: alone,
    hovertemplate: `${plain(name)}, update %{x}: ${what} %{y:.3g}<extra></extra>`, ...more,
  });
  const held = { mode: "lines+markers", line: { color: hue, width: 2.5 }, marker: { size: 7, symbol: "diamond" } };
  return [
    line(steps, 1, "loss in training", "y", alone ? {} : { showlegend: true, name: plain(name) }),
    line(evaluations, 1, "loss, held out", "y", held),
    line(steps, 2, "gradient norm", "y2", { showlegend: false }),
    line(steps, 3, "after clipping", "y2", { line: { color: hue, width: 1.5, dash: "dot" } }),
    line(traces, 1, "horizon", "y3", { mode: "lines+markers", marker: { size: 4 }, showlegend: false }),
  ].filter((trace) => trace.x.length > 0);
}

/** Draws the chosen runs, `[{ name, training, hue }]`. */
export function showCurves(place, runs) {
  return draw(place, curvesInWords(runs), runs.flatMap((run) => lines(run, runs.length === 1)), {
    xaxis: axis("updates", { anchor: "y3", rangemode: "tozero" }),
    yaxis: axis([...new Set(runs.map((run) => run.training.unit))].join(", ") || "loss", { domain: [0.7, 1] }),
    yaxis2: axis("gradient norm", { domain: [0.36, 0.64], type: "log", exponentformat: "power", dtick: "D2" }),
    yaxis3: axis("horizon, steps", { domain: [0, 0.3], rangemode: "tozero" }),
    margin: { l: 64, r: 12, t: 12, b: 48 },
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0 },
  });
}

/** A description of the curves, one sentence per run. */
export function curvesInWords(runs) {
  const sentence = ({ name, training }) => {
    const { steps, traces, evaluations, unit } = training;
    if (steps.length === 0) return `${name}: no update yet.`;
    const last = steps.at(-1);
    const held = evaluations.length > 0 ? `, ${number(evaluations.at(-1)[1])} held out` : "";
    const horizon = traces.length > 0 ? `, horizon ${traces.at(-1)[1] ?? "–"}` : "";
    return `${name}: ${count(last[0], "update")}, ${unit === "loss" ? `loss ${number(last[1])}` : `${number(last[1])} ${unit}`}${held}, gradient norm ${number(last[2])} (${number(last[3])} after clipping)${horizon}.`;
  };
  return runs.map(sentence).join(" ");
}
