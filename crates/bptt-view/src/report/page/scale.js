// The colors of sizes, of signed shares and of lags. Large sizes contrast most with the background.

import { color, isDark } from "./theme.js";

/** Viridis at even distances: its lightness rises evenly, so it is read in gray and with any kind of color blindness. */
const VIRIDIS = [
  "#440154", "#48186a", "#472d7b", "#424086", "#3b528b", "#33638d", "#2c728e", "#26828e", "#21918c", "#1fa088", "#28ae80",
  "#3fbc73", "#5ec962", "#84d44b", "#addc30", "#d8e219", "#fde725",
].map(channels);

/** Negative, zero and positive; zero differs from the background too. */
const SIGNED = { light: ["#1f5fa8", "#dfdfda", "#c8500a"], dark: ["#69aef5", "#434a54", "#ff9a4d"] };

/** The ends of viridis that differ from the background, small and large; and how pale the small end is. */
const ENDS = { light: [0.9, 0, 0.4], dark: [0.24, 1, 0] };

/** The three numbers of a color #rrggbb. */
function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

const themed = (of) => of[isDark() ? "dark" : "light"];

/** The color at a fraction (0 to 1) of a list of colors at even distances. */
function between(colors, fraction) {
  const place = Math.max(0, Math.min(fraction, 1)) * (colors.length - 1);
  const low = Math.min(Math.floor(place), colors.length - 2);
  return colors[low].map((from, i) => Math.round(from + (colors[low + 1][i] - from) * (place - low)));
}

const css = (rgb) => `rgb(${rgb.join(", ")})`;

/** The three numbers of the color of a size, 0 for the smallest and 1 for the largest of a scale. */
export function sizeChannels(fraction) {
  const [small, large, pale] = themed(ENDS);
  const part = Math.max(0, Math.min(fraction, 1));
  const white = pale * (1 - part) ** 2;
  return between(VIRIDIS, small + (large - small) * part).map((channel) => Math.round(channel + (255 - channel) * white));
}

/** The color of a size. */
export function sizeColor(fraction) {
  return css(sizeChannels(fraction));
}

/** The three numbers of the color of a signed share, −1 to 1. */
function shareChannels(fraction) {
  return between(themed(SIGNED).map(channels), (fraction + 1) / 2);
}

/** The color of a signed share, −1 to 1. */
export function shareColor(fraction) {
  return css(shareChannels(fraction));
}

/** The scale of sizes, or of shares, as plotly expects it. */
export function colorScale(scale) {
  const of = scale === "share" ? (x) => shareColor(2 * x - 1) : sizeColor;
  return Array.from({ length: 17 }, (_, i) => [i / 16, of(i / 16)]);
}

/** Black or white, whichever is read better on the color of a size or share. */
export function inkOn(scale, fraction) {
  const rgb = scale === "share" ? shareChannels(fraction) : sizeChannels(fraction);
  const linear = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return luminance > 0.179 ? "#000000" : "#ffffff";
}

/** The colors of lags, `count` of them, from the step of the loss itself to the farthest. */
export function lagColors(count) {
  const colors = ["near", "middle", "far"].map((name) => channels(color(name)));
  return Array.from({ length: count }, (_, i) => css(between(colors, i / Math.max(1, count - 1))));
}
