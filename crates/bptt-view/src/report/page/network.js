// The unrolled network: inputs, states and losses, and the backward pass of the gradient of one loss.

import { svg } from "./dom.js";
import { count, number, ofLog10 } from "./format.js";
import { sizeColor } from "./scale.js";
import { picture, textAt } from "./plot.js";

/** Pixels of a step, and the widest arrow. */
const STEP = 78;
const WIDEST = 15;

/** The rows: losses, states, inputs, and what is written below. */
const ROW = { loss: 26, state: 96, input: 164, norm: 200, number: 218 };

/** Half the width of a state. */
const WIDE = 20;

/** The decades below the largest norm that colors tell apart. */
const COLORED = 4;

/** log₁₀‖da_{k,t}‖ of the input side and of the recurrent side: biases have it as their gradient. */
export function preActivation({ ledger, entry }) {
  const of = (...names) => names.map((name) => ledger.find(name, entry.layer, entry.direction)).find((e) => e);
  return { input: of("bias", "bias_ih"), recurrent: of("bias", "bias_hh") };
}

/** The steps that are drawn, at most `room`: runs of neighbors that hold k and t; null stands for those left out. */
export function stepsAround(k, t, steps, room) {
  const run = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
  if (steps <= room) return run(0, steps - 1);
  const [low, high] = [Math.min(k, t), Math.max(k, t)];
  const size = high - low + 1;
  if (size <= room) {
    const from = Math.max(0, Math.min(low - Math.floor((room - size) / 2), steps - room));
    return run(from, from + room - 1);
  }
  // The gap takes the place of a step.
  const each = Math.floor((room - 1) / 2);
  const from = Math.max(0, low - Math.floor(each / 3));
  const to = Math.min(steps - 1, high + Math.floor((room - 1 - each) / 3));
  return [...run(from, from + each - 1), null, ...run(to - (room - 2 - each), to)];
}

/** An arrow as a polygon, from (x0, y) to (x1, y) or, upright, from (y, x0) to (y, x1). */
function arrow(x0, x1, y, wide, more, upright = false) {
  const sign = Math.sign(x1 - x0);
  const head = Math.min(Math.abs(x1 - x0) * 0.5, 5 + wide * 0.7);
  const neck = x1 - sign * head;
  const wing = wide / 2 + 2.5;
  const points = [[x0, y - wide / 2], [neck, y - wide / 2], [neck, y - wing], [x1, y], [neck, y + wing], [neck, y + wide / 2], [x0, y + wide / 2]];
  return svg("polygon", { points: points.map(([a, b]) => (upright ? [b, a] : [a, b]).map((v) => v.toFixed(1)).join(",")).join(" "), ...more });
}

const short = (text, most) => ([...text].length > most ? `${[...text].slice(0, most - 1).join("")}…` : text);

/** Norms of the gradient in the backward pass: ‖da‖ where the ledger has it, else of the contribution shown. */
function sizes(view) {
  const da = preActivation(view).recurrent;
  const entry = da ?? view.entry;
  const of = (t) => {
    const log10 = entry.log10(view.k, t);
    return log10 > -Infinity ? log10 : null;
  };
  let top = -Infinity;
  for (let t = 0; t < entry.steps; t++) top = Math.max(top, of(t) ?? -Infinity);
  return { name: da ? "‖da‖" : "norm", of, top };
}

/** The network around the chosen cell. With `choose`, its steps and losses are buttons; `choose` gets a change of k or t, and the
 * name of the part to which the focus moves with the arrow keys. */
export function networkPicture(view, width, choose = null) {
  const { subject, ledger, k, t } = view;
  const room = Math.max(3, Math.floor((width - 4) / STEP));
  const shown = stepsAround(k, t, ledger.steps, room);
  const distance = Math.min((width - 4) / shown.length, 120);
  const { name, of, top } = sizes(view);
  const x = (i) => 2 + distance * (i + 0.5);
  const relative = (step) => (of(step) == null ? 0 : 10 ** (of(step) - top));
  const fill = (step) => sizeColor(1 - (top - of(step)) / COLORED);
  const wide = (step) => Math.max(1.2, WIDEST * relative(step));

  const forward = shown.flatMap((step, i) => {
    if (step == null) return [textAt(x(i), ROW.state + 5, "…", { "text-anchor": "middle" })];
    const next = i + 1 < shown.length && shown[i + 1] != null && ledger.entries.every((e) => e.direction !== "reverse");
    return [
      arrow(ROW.input - 15, ROW.state + 17, x(i) - 6, 1, { class: "forward" }, true),
      ledger.hasLoss(step) ? arrow(ROW.state - 17, ROW.loss + 13, x(i) - 6, 1, { class: "forward" }, true) : [],
      next ? arrow(x(i) + WIDE + 2, x(i + 1) - WIDE - 2, ROW.state - 9, 1, { class: "forward" }) : [],
    ];
  });
  const backward = shown.flatMap((step, i) => {
    if (step == null || of(step) == null) return [];
    if (step === k) return [arrow(ROW.loss + 13, ROW.state - 17, x(i) + 6, wide(step), { fill: fill(step) }, true)];
    const nearer = shown[i + Math.sign(k - step)];
    // From a neighbor that is left out, the arrow begins at its place.
    const from = x(i + Math.sign(k - step)) - Math.sign(k - step) * (nearer == null ? 0 : WIDE + 2);
    return [arrow(from, x(i) + Math.sign(k - step) * (WIDE + 2), ROW.state + 8, wide(step), { fill: fill(step) })];
  });
  const move = (name, change, steps) => {
    const [to] = Object.values(change);
    if (to >= 0 && to < steps) choose(change, name);
  };
  const node = (step, i) => {
    const chosen = step === t;
    const size = of(step);
    const shape = [
      svg("rect", { x: x(i) - distance / 2 + 1, y: ROW.state - 22, width: distance - 2, height: ROW.number - ROW.state + 28, rx: 6, class: "area" }),
      svg("rect", { x: x(i) - WIDE, y: ROW.state - 15, width: 2 * WIDE, height: 30, rx: 15, class: "state" }),
      textAt(x(i), ROW.state + 4, `h${step}`, { "text-anchor": "middle" }),
      svg("rect", { x: x(i) - distance / 2 + 7, y: ROW.input - 14, width: distance - 14, height: 26, rx: 5, class: "input" }),
      textAt(x(i), ROW.input + 4, short(subject.symbols[step], Math.max(3, Math.floor(distance / 9))), { "text-anchor": "middle" }),
      textAt(x(i), ROW.norm, size == null ? "–" : ofLog10(size), { "text-anchor": "middle", class: "number" }),
      textAt(x(i), ROW.number, `step ${step}`, { "text-anchor": "middle", class: "quiet" }),
    ];
    const says = `Step ${step}, input ${subject.symbols[step]}: ${name} ${size == null ? "none" : ofLog10(size)}`;
    return networkPart(shape, { chosen, says, name: String(step), act: choose && (() => choose({ t: step })), move: (by) => move(String(step + by), { t: step + by }, ledger.steps) });
  };
  const loss = (step, i) => {
    if (!ledger.hasLoss(step)) return [];
    const shape = [
      svg("rect", { x: x(i) - WIDE, y: ROW.loss - 13, width: 2 * WIDE, height: 26, rx: 13, class: "loss" }),
      textAt(x(i), ROW.loss + 4, `L${step}`, { "text-anchor": "middle" }),
    ];
    const says = `Loss ${step}${subject.targets ? `, predicting ${subject.targets[step]}` : ""}`;
    const beside = (by) => ledger.losses[ledger.losses.indexOf(step) + by] ?? -1;
    return networkPart(shape, { chosen: step === k, says, name: `loss ${step}`, act: choose && (() => choose({ k: step })), move: (by) => move(`loss ${beside(by)}`, { k: beside(by) }, ledger.steps) });
  };
  const real = shown.map((step, i) => [step, i]).filter(([step]) => step != null);
  const alt = `${choose ? "Arrow keys choose. " : ""}The unrolled network from step ${real[0][0]} to step ${real.at(-1)[0]}. ${networkInWords(view)}`;
  const role = choose ? { role: "group" } : {};
  return picture({ width: Math.ceil(4 + distance * shown.length), height: ROW.number + 10, alt, ...role },
    real.map(([step, i]) => node(step, i)), forward, backward, real.map(([step, i]) => loss(step, i)));
}

/** A part of the picture, which can be a button. Only the chosen ones are stops of the tabulator; arrow keys move on. */
function networkPart(shape, { chosen, says, name, act, move }) {
  const className = `node${chosen ? " chosen" : ""}`;
  if (!act) return svg("g", { class: className }, svg("title", {}, says), shape);
  const onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by == null && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    if (by == null) act();
    else move(by);
  };
  const button = { role: "button", tabindex: chosen ? "0" : "-1", "aria-pressed": String(chosen), "data-part": name, onclick: act, onkeydown };
  return svg("g", { class: `${className} choice`, ...button }, svg("title", {}, says), shape);
}

/** What happens to the gradient between the loss and the chosen step. */
export function networkInWords(view) {
  const { k, t, ledger } = view;
  const { name, of } = sizes(view);
  if (!ledger.hasLoss(k)) return `Step ${k} has no loss.`;
  if (of(k) == null) return `Loss ${k} has no gradient at its own step.`;
  if (t === k) return `At the step of loss ${k} itself, ${name} is ${ofLog10(of(k))}.`;
  if (of(t) == null) return `No gradient of loss ${k} reaches step ${t}.`;
  const change = of(t) - of(k);
  const times = `${ofLog10(change)} times as large`;
  const mean = number(10 ** (change / Math.abs(k - t)));
  return `From loss ${k} back to step ${t}, ${count(Math.abs(k - t), "step")}, ${name} goes from ${ofLog10(of(k))} to ${ofLog10(of(t))}: ${times}, × ${mean} per step.`;
}

/** The network in `place`, drawn anew when the width changes. */
export class NetworkView {
  constructor(place, sentence, choose) {
    Object.assign(this, { place, sentence, choose, view: null, width: 0 });
    new ResizeObserver(() => this.view && place.clientWidth !== this.width && this.draw()).observe(place);
  }

  show(view) {
    this.view = view;
    this.sentence.textContent = networkInWords(view);
    this.draw();
  }

  draw() {
    this.width = this.place.clientWidth;
    const focused = this.place.contains(document.activeElement) ? document.activeElement.dataset.part : null;
    const choose = (change, part = null) => {
      this.choose(change);
      if (part != null) this.focus(part);
    };
    this.place.replaceChildren(networkPicture(this.view, this.width || 360, choose));
    // Whoever moves with the keyboard stays at the same part.
    if (focused != null) this.focus(focused);
  }

  focus(part) {
    this.place.querySelector(`[data-part="${part}"]`)?.focus({ preventScroll: true });
  }
}
