/* What the target gives to tokens that the draft cannot propose, and the ceiling that it sets: at a node, and over steps. */

import { digits } from "../core/digits.js";
import { el } from "../core/dom.js";
import { nodePath } from "../core/python_path.js";
import { unrecorded } from "../core/recorded.js";
import { draftOf } from "./head.js";
import { recorded } from "./said.js";

/** @import { Frame, Run } from "../core/frame.d.ts" */

/**
 * The target's mass as a line: solid what the draft can propose, hatched what it cannot.
 * @param {number} p outside
 */
export const outsideBar = (p) => el("span", { class: "sv-wide-track sv-outside", role: "img", "aria-label": `${digits(1 - p)} of p inside the draft's vocabulary, ${digits(p)} outside` },
  el("i", { class: "sv-pbar", style: `width: ${100 * (1 - p)}%` }), el("i", { class: "sv-outbar", style: `left: ${100 * (1 - p)}%; width: ${100 * p}%` }));

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {number} node after which it is
 * @param {string} place what the node is called
 * @returns {Node | null} null for a draft that can propose every token
 */
export function outsideBox(run, frame, node, place) {
  const p = frame.nodes.outside?.[node] ?? null;
  if (p === null) {
    if (draftOf(run, frame)?.head?.vocabulary == null) return null;
    return el("p", { class: "sv-note" }, `p outside the draft's vocabulary after ${place}: `, unrecorded());
  }
  return el("section", { class: "sv-outsidebox", "aria-label": "Outside the draft's vocabulary" },
    el("h4", { class: "sv-sumline" }, el("span", {}, "p outside the draft's vocabulary"), el("b", { class: "sv-number" }, recorded(p, `${nodePath(frame.step, node)}.p_outside`))),
    outsideBar(p),
    el("p", { class: "sv-note" }, `After ${place} the draft cannot propose the hatched part. Averaged over what the draft may draw, no lossless rule accepts a drafted token with more than `, el("b", { class: "sv-number" }, digits(1 - p)), "."));
}
