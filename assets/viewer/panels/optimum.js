/* How often a child of a node is accepted: what each rule could expect there, on one bar from 0 to 1, and the mark that no
 * lossless rule deciding node by node can pass in the mean over what may be drawn. Recorded only where it was asked for.
 */

import { digits } from "../core/digits.js";
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
  const rules = verdicts.filter(({ verifier }) => shown.has(verifier) && known.states[verifier]), lines = [], marks = [];
  for (const { verifier, acceptance } of rules) {
    const share = acceptance?.[node] ?? null, looks = looksOf(run, verifier);
    if (share === null) continue;
    marks.push(el("i", { class: "sv-optimum-mark", style: `left: ${100 * share}%; background: var(--sv-${looks.role})`, title: `${verifier}: ${digits(share)}` }));
    lines.push([swatch(looks), verifier, recorded(share, `${verdictPath(step, verifier)}.expected_acceptance[${node}]`)]);
  }
  const without = rules.filter(({ acceptance }) => !acceptance).map(({ verifier }) => verifier);
  return el("section", { class: "sv-optimum", "aria-label": "Acceptance of a child of this node" }, el("h4", {}, "A child of it is accepted"),
    el("div", { class: "sv-wide-track" }, el("i", { class: "sv-optimum-best", style: `left: ${100 * best}%`, title: `optimum: ${digits(best)}` }), marks),
    el("div", { class: "sv-otherrows" }, lines, el("span", {}, "│"), "optimum", recorded(best, `${nodePath(step, node)}.optimum`)),
    note("Of each rule: its chance with the children that were drawn. The optimum: the most that a lossless rule deciding node by node can have, in the mean over all draws, so one draw may lie above it. Lossy rules may pass it."),
    without.length ? note(`Without a mark, because ${without.length > 1 ? "they do" : "it does"} not decide node by node and may pass the optimum: ${without.join(", ")}.`) : null);
}
