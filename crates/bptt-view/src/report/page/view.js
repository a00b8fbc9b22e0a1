// From the choice to the view.

import { byId } from "./dom.js";
import { cellInWords } from "./heatmap.js";

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

/** The charts, each drawn when it is near the viewport and when its view changes. */
export class Charts {
  constructor(draws) {
    this.draws = draws;
    this.near = new Set();
    this.stale = new Set();
    this.busy = new Set();
    const seen = new IntersectionObserver((entries) => entries.forEach((e) => this.mark(e)), { rootMargin: "400px" });
    for (const id of Object.keys(draws)) seen.observe(byId(id));
  }

  mark({ target, isIntersecting }) {
    if (isIntersecting) this.near.add(target.id);
    else this.near.delete(target.id);
    this.draw();
  }

  show(view) {
    this.view = view;
    this.stale = new Set(Object.keys(this.draws));
    this.draw();
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
      await this.draws[id](byId(id), this.view);
    } finally {
      this.busy.delete(id);
    }
    this.draw();
  }
}
