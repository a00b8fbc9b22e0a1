// Formatting of numbers.

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** 10 to a whole power. */
export function powerOfTen(exponent) {
  const digits = String(Math.abs(exponent)).replace(/\d/gu, (digit) => SUPERSCRIPTS[digit]);
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

/** Three significant digits, with a power of ten for very small and large numbers. */
export function number(value) {
  if (value == null || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e4) return String(Number(value.toPrecision(3))).replace("-", "−");
  return ofLog10(Math.log10(size), value < 0);
}

/** The number whose decimal logarithm this is, however small. */
export function ofLog10(log10, negative = false) {
  if (Number.isNaN(log10)) return "–";
  if (log10 === -Infinity) return "0";
  if (log10 >= -3 && log10 < 4) return number((negative ? -1 : 1) * 10 ** log10);
  let exponent = Math.floor(log10);
  let mantissa = (10 ** (log10 - exponent)).toFixed(2);
  if (mantissa === "10.00") [mantissa, exponent] = ["1.00", exponent + 1];
  return `${negative ? "−" : ""}${mantissa} · ${powerOfTen(exponent)}`;
}

/** A fraction in percent. */
export function percent(fraction) {
  return fraction == null || Number.isNaN(fraction) ? "–" : `${number(100 * fraction)} %`;
}

/** A count with its unit. */
export function count(amount, unit, units = `${unit}s`) {
  return `${amount} ${amount === 1 ? unit : units}`;
}
