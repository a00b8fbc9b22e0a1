// Creation of elements from text. Nothing here accepts HTML, so no text of the user can become HTML.

import { powerOfTen } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

/** Gives an element attributes and children; strings become text. `on…` attributes are listeners. */
function furnished(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on") && value) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.flat(Infinity));
  return node;
}

/** An element of HTML with attributes and children. */
export function el(name, attributes = {}, ...children) {
  return furnished(document.createElement(name), attributes, children);
}

/** An element of SVG with attributes and children. */
export function svg(name, attributes = {}, ...children) {
  return furnished(document.createElementNS(SVG, name), attributes, children);
}

/** A symbol of the text of the user, isolated from the text direction around it. */
export function symbol(text) {
  return el("bdi", { class: "symbol" }, text);
}

/** A formula with subscripts `_x`, `_{…}` and superscripts `^{…}`. */
export function formula(text) {
  const node = el("span", { class: "formula" });
  for (const part of text.split(/(_\{[^}]*\}|_.|\^\{[^}]*\})/u)) {
    if (part.startsWith("_")) node.append(el("sub", {}, part.replace(/^_\{?|\}$/gu, "")));
    else if (part.startsWith("^{")) node.append(el("sup", {}, part.slice(2, -1)));
    else node.append(part);
  }
  return node;
}

/** A sentence in which names such as W_hh and powers of ten are formatted as formulas. */
export function prose(text) {
  const powers = text.replace(/\b0e0\b/gu, "0").replace(/(\d)e(-?\d+)/gu, (_, digit, power) => `${digit} · ${powerOfTen(Number(power))}`);
  const parts = powers.replace(/(^|[\s(])-(?=\d)/gu, "$1−").split(/(\b[Wbxhc]_[a-z]{1,3}\b|σ_max)/u);
  return parts.map((part, i) => (i % 2 ? formula(part.replace(/_(\w+)/u, "_{$1}")) : part));
}

/** A table with a caption. Cells are text or nodes; `numeric` lists the columns of numbers. */
export function table(caption, header, rows, numeric = []) {
  const kind = (i) => (numeric.includes(i) ? { class: "number" } : {});
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, header.map((cell, i) => el("th", { scope: "col", ...kind(i) }, cell)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, i) => el("td", kind(i), cell))))),
    ),
  );
}

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}
