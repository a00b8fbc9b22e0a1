// A cell (k, t) of the ledger as a formula with numbers.

import { el, formula, prose, symbol, table } from "./dom.js";
import { number } from "./format.js";
import { letter } from "./tables.js";

/** The largest number of entries of a vector that are written out. */
const WRITTEN = 6;

/** The largest number of factors that are written out. */
const FACTORS = 6;

/** A vector in square brackets, its first numbers if it is long. */
function vector(values) {
  const shown = values.slice(0, WRITTEN).map(number).join(", ");
  return `[${shown}${values.length > WRITTEN ? `, … (${values.length} numbers)` : ""}]`;
}

function matrix(rows) {
  const body = rows.map((row) => el("tr", {}, row.map((value) => el("td", {}, number(value)))));
  return el("table", { class: "matrix" }, el("tbody", {}, body));
}

function column(values) {
  return matrix(values.map((value) => [value]));
}

/** The state before step t. */
const before = (t) => (t === 0 ? "h_{init}" : `h_{${t - 1}}`);

const line = (...parts) => el("p", {}, parts);

/** Whether the norm of a contribution is this product, as for an outer product. */
const isProduct = (norm, a, b) => Math.abs(a * b - norm) <= 1e-9 * norm;

function contribution(found, parameter, subject) {
  const { k, t, contributions, x, da_norm: da, da_hh_norm: back, h_prev_norm: h, x_norm: xNorm } = found;
  const { formula: right, norm } = contributions[parameter];
  if (parameter === "input") return line(formula(`dL_{${k}}/dx_{${t}} = ${right}`), `, norm ${number(norm)}.`);
  const left = formula(`dL_{${k}}/d${letter(parameter)} at step ${t} = ${right}`);
  const ofState = parameter === "weight_hh" && isProduct(norm, back, h) ? ` = ‖da‖ · ‖h‖ = ${number(back)} · ${number(h)}` : "";
  const ofInput = parameter === "weight_ih" && isProduct(norm, da, xNorm) ? ` = ‖da‖ · ‖x‖ = ${number(da)} · ${number(xNorm)}` : "";
  const read = parameter === "weight_ih" && !Array.isArray(x) ? [" Its only nonzero column is that of ", symbol(subject.symbols[t]), "."] : [];
  return line(left, `, norm ${number(norm)}`, ofState, ofInput, ".", read);
}

/** ‖da_t‖ as a product of one factor per step. */
function product({ k, t, chain }) {
  if (k === t) return line("The loss is at this step, so there is no factor.");
  const factors = chain.slice(1).map(({ factor }) => number(factor));
  const shown = factors.length <= FACTORS ? factors : [...factors.slice(0, 3), "…", ...factors.slice(-2)];
  return line(formula(`‖da_{${t}}‖`), ` is ‖da‖ at the loss times one factor per step back: ${[number(chain[0].norm), ...shown].join(" · ")} = ${number(chain.at(-1).norm)}.`);
}

/** The formula of the chosen cell; `found` is the answer of the server. */
export function formulaNodes(found, { parameter, subject, sigma }) {
  const { k, t, chain, gates, hidden } = found;
  const vanilla = chain[0].slope_mean != null;
  const nodes = [contribution(found, parameter, subject)];
  const x = Array.isArray(found.x) ? [formula(`x_{${t}}`), ` = ${vector(found.x)}`] : [formula(`x_{${t}}`), " is 1 at ", symbol(subject.symbols[t]), ", else 0"];
  nodes.push(line(x, "; ", formula(before(t)), ` = ${vector(found.h_prev)}; `, formula(`da_{${t}}`), ` = ${vector(found.da)}${gates.length > 1 ? `, gates ${gates.join(", ")} in this order, ${hidden} numbers each` : ""}.`));
  nodes.push(
    vanilla
      ? line("Every step back multiplies by a Jacobian: ", formula("da_{j} = diag(φ′(a_{j})) W_{hh}^{⊤} da_{j+1}"), ", with ", prose("σ_max"), ` = ${number(sigma)}. The measured factor is `, formula("‖da_{j}‖ / ‖da_{j+1}‖"), ".")
      : line("The factor of a step back is ", formula("‖da_{j}‖ / ‖da_{j+1}‖"), ", over all gates and the cell state."),
    product(found),
  );
  const header = ["step j", formula("‖da_{j}‖"), "factor"];
  const rows = chain.map(({ step, norm, factor, slope_largest: largest, slope_mean: mean }) => {
    const cells = [String(step), number(norm), factor == null ? "–" : `× ${number(factor)}`];
    return vanilla ? [...cells, number(largest), number(mean)] : cells;
  });
  nodes.push(table(`From loss ${k} back to step ${t}`, vanilla ? [...header, "largest φ′", "mean φ′"] : header, rows, [0, 1, 2, 3, 4]));
  for (const [i, { step, factors, da }] of chain.entries()) {
    if (factors == null) continue;
    nodes.push(el("div", { class: "product", role: "group", "aria-label": `da of step ${step} as a product` },
      formula(`da_{${step}} =`), matrix(factors), column(chain[i - 1].da), "=", column(da)));
  }
  return nodes;
}
