// From the choice to the view.

import { byId } from "./dom.js";
import { cellInWords } from "./heatmap.js";
import { isDark } from "./theme.js";

/** The nearest choice that the report can show. */
export function possible(choice, data, ledgerOf) {
  const within = (value, count) => Math.max(0, Math.min(Number.isFinite(value) ? value : 0, count - 1));
  const network = within(choice.network, data.subjects.length);
  const subject = data.subjects[network];
  const stage = within(choice.stage, subject.stages.length);
  const ledger = ledgerOf(network, stage);
  const cells = ledger.entries.map((e) => `${e.layer} ${e.direction}`);
  const cell = cells.includes(choice.cell) ? choice.cell : cells[0];
  const here = ledger.entries.filter((e) => `${e.layer} ${e.direction}` === cell);
  const entry = here.find((e) => e.parameter === choice.parameter) ?? here.find((e) => e.parameter === "weight_hh") ?? here[0];
  const gate = entry.gates.includes(choice.gate) ? choice.gate : "all";
  const scale = ["log", "norm", "share"].includes(choice.scale) ? choice.scale : "log";
  return { network, stage, cell, parameter: entry.parameter, gate, scale: gate !== "all" && scale === "share" ? "log" : scale, k: within(choice.k, ledger.steps), t: within(choice.t, ledger.steps) };
}

/** The view that the parts of the page show. */
export function viewOf(choice, data, ledgerOf) {
  const subject = data.subjects[choice.network];
  const ledger = ledgerOf(choice.network, choice.stage);
  const entryIndex = ledger.entries.findIndex((e) => `${e.layer} ${e.direction}` === choice.cell && e.parameter === choice.parameter);
  const entry = ledger.entry(entryIndex);
  const gate = choice.gate === "all" ? null : entry.gates.indexOf(choice.gate);
  return { subject, ledger, entry, entryIndex, gate, scale: choice.scale, k: choice.k, t: choice.t };
}

/** The tooltip: a description of the cell under the pointer. */
export function tooltip(current) {
  const tip = byId("tooltip");
  return (cell, event) => {
    tip.hidden = cell == null;
    if (cell == null) return;
    tip.replaceChildren(...cellInWords(current(), cell.k, cell.t));
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.insetInlineStart = `${Math.max(8, left)}px`;
    tip.style.insetBlockStart = `${event.clientY + 18}px`;
  };
}

/** Losses whose terms are smaller together than this part of the largest such sum are not chosen: they teach little. */
const SMALL = 0.1;

/** The cell (k, t) that is shown first. k: the loss whose far terms are largest compared with its near ones, unless one is
 * `wanted`; t: the step of the largest far term. Far is from half the horizon on. */
export function tellingCell(ledger, entry, wanted = null) {
  const half = Math.max(1, Math.ceil((entry.horizon ?? 0) / 2));
  const rows = ledger.losses.map((k) => {
    const [from, to] = ledger.uncut[k];
    let [far, near, t, most] = [0, 0, k, -Infinity];
    for (let step = from; step < to; step++) {
      const log10 = entry.log10(k, step);
      if (!(log10 > -Infinity)) continue;
      if (Math.abs(k - step) < half) near += 10 ** log10;
      else far += 10 ** log10;
      if (Math.abs(k - step) >= half && log10 > most) [t, most] = [step, log10];
    }
    return { k, t, far, near };
  });
  const asked = rows.find(({ k }) => k === wanted);
  if (asked) return { k: asked.k, t: asked.t };
  const least = SMALL * Math.max(...rows.map(({ far, near }) => far + near));
  const large = rows.filter(({ far, near }) => far > 0 && far + near >= least);
  const last = ledger.losses.at(-1) ?? ledger.steps - 1;
  const first = large.reduce((most, row) => (row.far * most.near > most.far * row.near ? row : most), large[0] ?? { k: last, t: last });
  return { k: first.k, t: first.t };
}

/** How long a page is left alone before the charts that are not in view are drawn, ms. */
const SETTLED = 300;

/** Calls when the browser has nothing else to do. */
const whenIdle = (call) => (globalThis.requestIdleCallback ? requestIdleCallback(call, { timeout: 2000 }) : setTimeout(call, 200));

/** The charts, each drawn when it is near the viewport and when its view changes; the others when the browser is idle,
 * again only `pause` ms later; and all before printing. */
export class Charts {
  constructor(draws, { pause = SETTLED } = {}) {
    Object.assign(this, { draws, pause, idle: false, drawn: new Set() });
    this.near = new Set();
    this.stale = new Set();
    this.busy = new Set();
    const seen = new IntersectionObserver((entries) => entries.forEach((e) => this.mark(e)), { rootMargin: "400px" });
    for (const id of Object.keys(draws)) seen.observe(byId(id));
    addEventListener("beforeprint", () => this.drawAll());
  }

  mark({ target, isIntersecting }) {
    if (isIntersecting) this.near.add(target.id);
    else this.near.delete(target.id);
    this.draw();
  }

  show(view) {
    this.view = view;
    this.dark = isDark();
    this.stale = new Set(Object.keys(this.draws));
    this.draw();
    this.drawLater();
  }

  /** Draws the charts that are not near, one at a time. */
  drawLater() {
    const waiting = () => [...this.stale].filter((id) => !this.busy.has(id)).sort((a, b) => this.drawn.has(a) - this.drawn.has(b));
    const [first] = waiting();
    if (this.idle || first == null) return;
    this.idle = true;
    const draw = () => {
      this.idle = false;
      const [next] = waiting();
      if (next && this.stale.delete(next)) this.drawOne(next);
      this.drawLater();
    };
    setTimeout(() => whenIdle(draw), this.drawn.has(first) ? this.pause : SETTLED);
  }

  /** Draws all that is not drawn, in the theme of now. */
  drawAll() {
    if (!this.view) return;
    if (isDark() !== this.dark) this.show(this.view);
    for (const id of this.stale) {
      if (!this.busy.has(id) && this.stale.delete(id)) this.drawOne(id);
    }
  }

  draw() {
    if (!this.view) return;
    for (const id of this.near) {
      if (!this.busy.has(id) && this.stale.delete(id)) this.drawOne(id);
    }
  }

  /** Draws a chart, and again if its view has changed in the meantime, because drawings must not overlap in time. */
  async drawOne(id) {
    this.busy.add(id);
    try {
      if (await this.draws[id](byId(id), this.view)) this.drawn.add(id);
    } finally {
      this.busy.delete(id);
    }
    this.draw();
    this.drawLater();
  }
}
