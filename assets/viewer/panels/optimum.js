/* How often a child of a node is accepted: what each rule could expect there, a bar each from 0 to 1, and across all of them
 * the line that no lossless rule deciding node by node can pass in the mean over what may be drawn. Recorded only where it
 * was asked for.
 */

import { el, note, swatch } from "../core/dom.js";
import { nodePath, verdictPath } from "../core/python_path.js";
import { looksOf } from "../core/words.js";
import { recorded } from "./said.js";

/** @import { Frame, Run } from "../core/frame.d.ts" */
/** @import { View } from "../core/state.js" */

/**
 * Nothing where the optimum was not recorded, for a node without children, and before a verifier has judged.
 * @param {Run} run
 * @param {Frame} frame
 * @param {number} node
 * @param {View} view
 * @returns {HTMLElement | null}
 */
export function optimumBox(run, { step, nodes, verdicts }, node, { known, shown }) {
  const best = nodes.optimum?.[node] ?? null;
  if (best === null || !known.judged) return null;
  const rules = verdicts.filter(({ verifier }) => shown.has(verifier) && known.states[verifier]);
  const line = () => el("i", { class: "sv-optimum-best", style: `left: ${100 * best}%` });
  const lines = rules.flatMap(({ verifier, acceptance }) => {
    const share = acceptance?.[node] ?? null, looks = looksOf(run, verifier);
    const bar = () => el("span", { class: "sv-wide-track" }, share ? el("i", { class: "sv-optimum-share", style: `width: ${100 * share}%; background: var(--sv-${looks.role})` }) : null, line());
    return share === null ? [] : [[swatch(looks), el("span", {}, verifier), bar(), recorded(share, `${verdictPath(step, verifier)}.expected_acceptance[${node}]`)]];
  });
  const without = rules.filter(({ acceptance }) => !acceptance).map(({ verifier }) => verifier);
  return el("section", { class: "sv-optimum", "aria-label": "Acceptance of a child of this node" }, el("h4", {}, "A child of it is accepted"),
    el("div", { class: "sv-optimumrows" }, lines, el("span", {}), el("span", {}, "optimum"), el("span", { class: "sv-wide-track" }, line()), recorded(best, `${nodePath(step, node)}.optimum`)),
    note("Of each rule: its chance with the children that were drawn. The line, the optimum: the most that a lossless rule deciding node by node can have, in the mean over all draws, so one draw may lie above it. Lossy rules may pass it."),
    without.length ? note(`Without a bar: ${without.join(", ")}. Only a rule that is said to decide node by node has one; another may pass the optimum.`) : null);
}
