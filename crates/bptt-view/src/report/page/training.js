// The training over the updates: loss, gradient norm and horizon.

import { el, table } from "./dom.js";
import { count, number } from "./format.js";
import { color } from "./theme.js";
import { linked } from "./glossary.js";
import { axis, draw, mark } from "./chart.js";

/** Whether the run's metrics are known. */
export function hasTraining({ training }) {
  return training.steps.length > 0;
}

/** Loss above, gradient norms in the middle, horizon below; the stage that is shown is marked. */
export function showTraining(place, { subject, ledger }) {
  const { steps, traces, evaluations, unit } = subject.training;
  const column = (rows, i) => rows.map((row) => row[i]);
  const line = (rows, i, name, hue, yaxis, more = {}) => ({
    x: column(rows, 0), y: column(rows, i), name, yaxis, mode: "lines", line: { color: hue, width: 1.5 },
    hovertemplate: `update %{x}: ${name} %{y:.3g}<extra></extra>`, ...more,
  });
  const drawn = [
    line(steps, 1, "loss in training", color("series"), "y"),
    line(evaluations, 1, "loss, held out", color("accent"), "y", { mode: "lines+markers" }),
    line(steps, 2, "gradient norm", color("series"), "y2"),
    line(steps, 3, "after clipping", color("accent"), "y2", { line: { color: color("accent"), width: 1, dash: "dot" } }),
    line(traces, 1, "horizon", color("series"), "y3", { mode: "lines+markers", marker: { size: 4 } }),
  ].filter((trace) => trace.x.length > 0);
  const at = ledger.step == null ? null : mark(ledger.step, "shown", color("text"));
  const last = steps.at(-1);
  const alt = `Training over ${count(last[0], "update")}: loss from ${number(steps[0][1])} to ${number(last[1])} (${unit}), horizon from ${traces[0]?.[1] ?? "–"} to ${traces.at(-1)?.[1] ?? "–"} steps.`;
  return draw(place, alt, drawn, {
    xaxis: axis("updates", { anchor: "y3" }),
    yaxis: axis(unit, { domain: [0.7, 1] }),
    yaxis2: axis("norm", { domain: [0.36, 0.64], type: "log", exponentformat: "power", dtick: "D2" }),
    yaxis3: axis("horizon, steps", { domain: [0, 0.3], rangemode: "tozero" }),
    shapes: at ? [at.shape] : [],
    annotations: at ? [at.annotation] : [],
    margin: { l: 64, r: 12, t: 30, b: 48 },
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0 },
  });
}

/** The table of the ledgers of the stages. */
export function stageTable({ subject, entryIndex }) {
  const rows = subject.stages.map((stage) => {
    const entry = stage.entries[entryIndex];
    const kept = entry.decay_per_step == null ? "–" : number(Math.exp(entry.decay_per_step));
    return [String(stage.step ?? "–"), String(entry.horizon ?? "–"), kept, number(entry.total_norm), number(entry.cancellation)];
  });
  return table(
    "Ledgers of the same sequence during the training",
    ["updates", "horizon", "factor per step", "‖gradient‖", "‖Σ‖ / Σ‖·‖"].map(linked),
    rows,
    [0, 1, 2, 3, 4],
  );
}

/** The name of a stage. */
export function stageName(stage, stages) {
  if (stage.step == null) return "current";
  if (stage.step === 0) return "untrained";
  return stage === stages.at(-1) ? `the end (${count(stage.step, "update")})` : `after ${count(stage.step, "update")}`;
}

/** The description of the training, as a list. */
export function factList(facts) {
  return el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
