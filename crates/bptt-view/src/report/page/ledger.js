// Ledgers: numbers by loss k and step t.

/** Decodes base64 and decompresses zlib format. */
export async function unpack(base64) {
  const letters = atob(base64);
  const packed = new Uint8Array(letters.length);
  for (let i = 0; i < packed.length; i++) packed[i] = letters.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Floats written plane by plane, the highest byte of each first. */
function floats(bytes, at, length) {
  const words = new Uint32Array(length);
  for (let plane = 0; plane < 4; plane++) {
    const from = at + plane * length;
    for (let i = 0; i < length; i++) words[i] = (words[i] << 8) | bytes[from + i];
  }
  return new Float32Array(words.buffer);
}

/** The contributions of one cell to one parameter. */
export class Entry {
  constructor(meta, steps, triangular, bytes) {
    Object.assign(this, meta);
    Object.assign(this, { steps, triangular });
    const length = triangular ? (steps * (steps + 1)) / 2 : steps * steps;
    const array = (i) => floats(bytes, meta.at + length * (1 + 4 * i), length);
    this.states = bytes.subarray(meta.at, meta.at + length);
    this.log10Norms = array(0);
    this.shares = array(1);
    this.log10Gates = meta.gates.map((_, gate) => array(2 + gate));
  }

  /** The index of (k, t) in the arrays; −1 for pairs without a path, which are not written. */
  index(k, t) {
    if (!this.triangular) return k * this.steps + t;
    return t > k ? -1 : (k * (k + 1)) / 2 + t;
  }

  /** v value, x cancelled, 0 zero, u underflow, c cut, m masked, r remainder, . unreached. */
  state(k, t) {
    const i = this.index(k, t);
    return i < 0 ? "." : String.fromCharCode(this.states[i]);
  }

  /** log₁₀ of the norm, of one gate's rows if a gate is given: −∞ for zero, NaN for absent numbers. */
  log10(k, t, gate = null) {
    const i = this.index(k, t);
    if (i < 0) return NaN;
    return gate == null ? this.log10Norms[i] : this.log10Gates[gate][i];
  }

  /** The signed share of the gradient. */
  share(k, t) {
    const i = this.index(k, t);
    return i < 0 ? NaN : this.shares[i];
  }
}

/** A stage of the report as a ledger, whose entries are decoded on first use. */
export class Ledger {
  constructor(stage, bytes) {
    Object.assign(this, stage);
    this.present = new Set(stage.losses);
    this.bytes = bytes;
    this.opened = new Map();
  }

  /** The entry at an index of the list. */
  entry(i) {
    if (!this.opened.has(i)) {
      this.opened.set(i, new Entry(this.entries[i], this.steps, this.triangular, this.bytes));
    }
    return this.opened.get(i);
  }

  /** Whether step k has a loss. */
  hasLoss(k) {
    return this.present.has(k);
  }

  /** The first entry of this parameter in the bottom layer's forward cell, or null. */
  find(parameter, layer = 0, direction = "forward") {
    const i = this.entries.findIndex(
      (e) => e.parameter === parameter && e.layer === layer && e.direction === direction,
    );
    return i < 0 ? null : this.entry(i);
  }
}

const QUANTILES = [0.1, 0.25, 0.5, 0.75, 0.9];

function quantile(sorted, q) {
  const position = q * (sorted.length - 1);
  const low = Math.floor(position);
  const fraction = position - low;
  if (fraction === 0 || sorted[low] === -Infinity) return sorted[low];
  return sorted[low] + (sorted[low + 1] - sorted[low]) * fraction;
}

/** The lag profile of one gate, in the form of `lags`, `losses_at` and `log10_profile`. */
export function gateProfile(ledger, entry, gate) {
  const byLag = new Map();
  for (let k = 0; k < entry.steps; k++) {
    for (let t = ledger.uncut[k][0]; t < ledger.uncut[k][1]; t++) {
      const log10 = entry.log10(k, t, gate);
      if (Number.isNaN(log10)) continue;
      const lag = Math.abs(k - t);
      if (!byLag.has(lag)) byLag.set(lag, []);
      byLag.get(lag).push(log10);
    }
  }
  const lags = [...byLag.keys()].sort((a, b) => a - b);
  const sorted = lags.map((lag) => byLag.get(lag).sort((a, b) => a - b));
  return {
    lags,
    losses_at: sorted.map((values) => values.length),
    log10_profile: sorted.map((values) => QUANTILES.map((q) => quantile(values, q))),
  };
}
