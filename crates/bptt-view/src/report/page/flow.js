// Contributions by lag, and contributions of each step to later losses.

import { symbol } from "./dom.js";
import { count, number, ofLog10, percent } from "./format.js";
import { gateProfile } from "./ledger.js";
import { color } from "./theme.js";
import { lagColors } from "./scale.js";
import { axis, draw, hasRoom, mark, plain, symbolTicks } from "./chart.js";

/** The lag profile of the entry or gate that is shown. */
export function profileOf({ ledger, entry, gate }) {
  return gate == null ? entry : gateProfile(ledger, entry, gate);
}

/** log₁₀ at lag 0 of the fitted line of decay λ, which passes through the weighted mean as the fit does. */
function atLagZero({ lags, losses_at: losses, log10_profile: profile }, slope) {
  let [weight, sum] = [0, 0];
  lags.forEach((lag, i) => {
    const median = profile[i][2];
    if (!Number.isFinite(median)) return;
    weight += losses[i];
    sum += losses[i] * (median - slope * lag);
  });
  return sum / weight;
}

/** Norm by lag: median and quantiles over all losses, the fitted decay, the horizon, and the chosen loss. */
export function showProfile(place, view) {
  if (view.scale === "share") return showShares(place, view);
  const { entry, gate, k } = view;
  const profile = profileOf(view);
  const log = view.scale === "log";
  const known = profile.log10_profile.map((q) => q.map((v) => (v == null || v === -Infinity ? null : log ? v : 10 ** v)));
  const norm = (values) => (log ? values.map((v) => (v == null ? null : 10 ** v)) : values);
  const band = (low, high, opacity, name) => [
    { x: profile.lags, y: norm(known.map((q) => q[low])), mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false },
    { x: profile.lags, y: norm(known.map((q) => q[high])), mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: `rgba(66, 135, 200, ${opacity})`, hoverinfo: "skip", name },
  ];
  const traces = [...band(0, 4, 0.2, "80 % of the losses"), ...band(1, 3, 0.3, "50 % of the losses")];
  const hue = color("series");
  traces.push({ x: profile.lags, y: norm(known.map((q) => q[2])), mode: "lines", name: "median", line: { color: hue, width: 2.5 }, hovertemplate: "lag %{x}: median %{y:.3g}<extra></extra>" });
  const own = [];
  for (let t = 0; t < entry.steps; t++) {
    const log10 = entry.log10(k, t, gate);
    if (Number.isFinite(log10)) own.push([Math.abs(k - t), 10 ** log10]);
  }
  traces.push({ x: own.map((p) => p[0]), y: own.map((p) => p[1]), mode: "markers", name: `loss ${k}`, marker: { color: color("accent"), size: 5 }, hovertemplate: "lag %{x}: %{y:.3g}<extra></extra>" });
  const { decay_per_step: decay, horizon } = entry;
  if (decay != null && gate == null && log) {
    const slope = decay / Math.LN10;
    const start = atLagZero(profile, slope);
    const ends = [profile.lags[0], profile.lags.at(-1)];
    traces.push({ x: ends, y: ends.map((lag) => 10 ** (start + slope * lag)), mode: "lines", name: `fit: × ${number(Math.exp(decay))} per step`, line: { color: color("text"), dash: "dot", width: 1.5 }, hoverinfo: "skip" });
  }
  const horizonMark = horizon == null || gate != null ? null : mark(horizon, `horizon ${horizon}`, color("text"));
  const alt = `Norm of contributions by lag. ${profileInWords(view)}`;
  const medians = profile.log10_profile.map((q) => q[2]).filter((v) => v != null && Number.isFinite(v));
  const decades = Math.max(...medians) - Math.min(...medians);
  return draw(place, alt, traces, {
    xaxis: axis("lag |k − t|, steps", entry.steps <= 10 ? { dtick: 1 } : {}),
    yaxis: axis("norm of the contribution", log ? { type: "log", exponentformat: "power", ...(decades < 3 && { dtick: "D2" }) } : { rangemode: "tozero" }),
    shapes: horizonMark ? [horizonMark.shape] : [],
    annotations: horizonMark ? [horizonMark.annotation] : [],
    margin: { l: 64, r: 12, t: 40, b: 48 },
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0 },
  });
}

/** A description of the profile. */
export function profileInWords(view) {
  const { entry } = view;
  const profile = profileOf(view);
  const known = profile.lags.map((_, i) => i).filter((i) => Number.isFinite(profile.log10_profile[i][2] ?? NaN));
  if (known.length === 0) return "Every contribution is exactly zero.";
  const at = (i) => `${ofLog10(profile.log10_profile[i][2])} at lag ${profile.lags[i]}`;
  const places = [...new Set([0, Math.floor((known.length - 1) / 2), known.length - 1])].map((i) => known[i]);
  const fit = entry.decay_per_step == null ? "" : ` It is multiplied by ${number(Math.exp(entry.decay_per_step))} per step farther back.`;
  const horizon = entry.horizon == null ? "" : ` 99 % of the norms lie within ${count(entry.horizon, "step")}.`;
  return `The median norm is ${places.map(at).join(", ")}.${fit}${horizon}`;
}

/** Shares by lag, added up over all losses. */
function sharesByLag({ entry }) {
  const sums = new Array(entry.steps).fill(0);
  for (let k = 0; k < entry.steps; k++) {
    for (let t = 0; t < entry.steps; t++) {
      const share = entry.share(k, t);
      if (!Number.isNaN(share)) sums[Math.abs(k - t)] += share;
    }
  }
  return sums;
}

function showShares(place, view) {
  const sums = sharesByLag(view);
  const lags = sums.map((_, lag) => lag);
  const alt = `Share of the gradient by lag, over all losses: own step ${percent(sums[0])}, one step back ${percent(sums[1] ?? 0)}; all add up to 100 %.`;
  const bars = { type: "bar", x: lags, y: sums, marker: { color: color("series") }, hovertemplate: "lag %{x}: %{y:.3%}<extra></extra>" };
  return draw(place, alt, [bars], {
    xaxis: axis("lag |k − t|, steps"),
    yaxis: axis("share of the gradient", { tickformat: ".0%" }),
    margin: { l: 64, r: 12, t: 40, b: 48 },
  });
}

/** Ranges of lags with one color: 0, 1, 2–3, 4–7, … */
function buckets(steps) {
  const list = [{ from: 0, to: 0, name: "same step" }, { from: 1, to: 1, name: "1 step later" }];
  for (let from = 2; from < steps; from *= 2) {
    const to = Math.min(2 * from - 1, steps - 1);
    list.push({ from, to, name: from === to ? `${from} later` : `${from}–${to} later` });
  }
  return list.filter(({ from }) => from < steps);
}

/** For each step, the sum of its contributions (norms or shares) to the losses in each range of lags. */
export function rainbow({ entry, gate, scale }) {
  return buckets(entry.steps).map((bucket) => {
    const sums = new Array(entry.steps).fill(0);
    for (let t = 0; t < entry.steps; t++) {
      for (let lag = bucket.from; lag <= bucket.to; lag++) {
        for (const k of lag === 0 ? [t] : [t + lag, t - lag]) {
          if (k < 0 || k >= entry.steps) continue;
          const value = scale === "share" ? entry.share(k, t) : 10 ** entry.log10(k, t, gate);
          if (Number.isFinite(value)) sums[t] += value;
        }
      }
    }
    return { ...bucket, sums };
  });
}

/** Bars for each step, stacked by the lag of the losses. */
export function showRainbow(place, view, choose) {
  const { entry, subject, scale } = view;
  const stacked = rainbow(view);
  const labels = subject.symbols.map((s, t) => `step ${t} ${plain(s)}`);
  const hues = lagColors(stacked.length);
  const traces = stacked.map(({ name, sums }, i) => ({
    type: "bar", name, x: sums.map((_, t) => t), y: sums, text: labels, textposition: "none",
    marker: { color: hues[i], line: { width: 0 } },
    hovertemplate: `%{text} → ${name}: %{y:.3g}<extra></extra>`,
  }));
  const what = scale === "share" ? "share of the gradient" : "sum of norms";
  const first = !place.on;
  const drawn = draw(place, "Stacked bars: the contributions of each step to the losses at each lag. The sentence below describes them.", traces, {
    barmode: "relative",
    bargap: hasRoom(subject.symbols) ? 0.15 : 0,
    xaxis: axis("step t, input", symbolTicks(subject.symbols, { tickangle: -60 })),
    yaxis: axis(what, scale === "share" ? { tickformat: ".1%" } : {}),
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal" },
    margin: { l: 64, r: 12, t: 36, b: 56 },
  });
  if (first) place.on("plotly_click", ({ points }) => choose({ t: points[0].x }));
  return drawn;
}

/** The step that contributes most, in a sentence of nodes. */
export function rainbowInWords(view) {
  const stacked = rainbow({ ...view, scale: "norm" });
  const totals = view.subject.symbols.map((_, t) => stacked.reduce((sum, { sums }) => sum + sums[t], 0));
  const later = totals.map((sum, t) => (sum > 0 ? (sum - stacked[0].sums[t]) / sum : 0));
  const most = totals.indexOf(Math.max(...totals));
  const all = totals.reduce((a, b) => a + b, 0);
  const elsewhere = totals.reduce((sum, total, t) => sum + total * later[t], 0);
  if (all === 0) return ["Every contribution is exactly zero."];
  const rest = `contributes most (sum of norms ${number(totals[most])}). Over all steps, ${percent(elsewhere / all)} of the norms are contributions to losses at other steps.`;
  return [`Step ${most} `, symbol(view.subject.symbols[most]), ` ${rest}`];
}
