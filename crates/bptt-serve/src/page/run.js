// What the pages say of a run, and where they lead to.

import { el } from "./dom.js";
import { count, number } from "./format.js";

/** The separator of names in the address, which no folder name contains. */
const SEPARATOR = "|";

/** The names in a part of the address. */
export function namesIn(text) {
  return text === "" ? [] : text.split(SEPARATOR);
}

/** Names as a part of the address. */
export function namesAsText(names) {
  return names.join(SEPARATOR);
}

/** The address of the curves of these runs. */
export function curvesAddress(names) {
  return names.length === 0 ? "/live" : `/live#${new URLSearchParams({ runs: namesAsText(names) })}`;
}

/** Links to the report of a run and to its ledgers of other texts. */
export function runLinks(name) {
  const report = `/report/${name.split("/").map(encodeURIComponent).join("/")}`;
  const explore = `/explore#${new URLSearchParams({ run: name })}`;
  return [
    el("a", { href: report, "aria-label": `Report of ${name}` }, "Report"),
    el("a", { href: explore, "aria-label": `Explore ${name}` }, "Explore"),
  ];
}

/** How far a training is. */
export function statusInWords({ status, ending, step, flossing, seconds, updates }) {
  const words = {
    flossing: flossing && `Before training, flossing ${flossing[0]}: mean λ² ${number(flossing[1])}`,
    training: "Training",
    paused: "Paused",
    stopping: "Stopping after this update",
    ended: `Ended, ${ending}`,
  }[status];
  const speed = step > 0 && status === "training" ? `, ${Number((step / seconds).toPrecision(3))} updates a second` : "";
  return `${words}: ${step} of ${count(updates, "update")}, ${seconds.toFixed(0)} s${speed}`;
}
