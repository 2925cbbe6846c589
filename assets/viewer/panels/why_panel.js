/* The chain of causes beside the tree: each link leads to the place that it speaks of, Backspace leads back. */

import { el } from "../core/dom.js";
import { faultHeadline, hitsOf, nextHit, whyOf } from "./why.js";
import { said } from "./said.js";

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { Act, State } from "../core/state.js" */
/** @import { Tale } from "./findings.js" */
/** @import { Link } from "./why.js" */

/**
 * Null where everything in the step fits.
 * @param {State} state
 * @param {Map<number, Tale>} tales
 * @param {Frame} frame
 * @param {Act} act
 * @returns {(Node | null)[] | null}
 */
export function whyPanel(state, tales, frame, act) {
  const head = faultHeadline(frame, tales);
  if (!head) return null;
  const close = el("button", { type: "button", class: "sv-close", "aria-label": "Close the causes (Esc)", title: "Close (Esc)", onclick: () => act.why(false) }, "×");
  const chain = el("ol", { class: "sv-why" }, whyOf(state.frames, tales, frame).map((link) => item(link, act)));
  const back = state.trail.length ? el("button", { type: "button", "data-act": "backtrack", title: "Back to where the last link was followed from (Backspace)", onclick: act.backtrack }, "Back") : null;
  return [
    el("h3", { class: "sv-nodehead" }, el("span", {}, `Why? ${head.title}`), close), el("div", { class: "sv-picture" }, chain),
    el("div", { class: "sv-foot" }, back, hitButtons(tales, frame.step, act),
      el("button", { type: "button", "data-act": "copy-numbers", title: "Copy every recorded value of this chain, in full, with its place in the run in Python" }, "Copy as Python"), el("output", { class: "sv-copied", "aria-live": "polite" })),
  ];
}

/**
 * A node that was selected since stands in the place of the causes.
 * @param {State} state
 */
export const isWhyOpen = (state) => state.why && state.selected === null;

/**
 * To the previous and the next step in which something went wrong, as far as there are any.
 * @param {Map<number, Tale>} tales
 * @param {number} step
 * @param {Act} act
 */
export const hitButtons = (tales, step, act) => /** @type {const} */ ([[-1, "Previous", "N"], [1, "Next", "n"]]).map(([way, name, key]) => {
  const hit = nextHit(hitsOf(tales), step, way);
  return hit === undefined ? null : el("button", { type: "button", "data-act": way < 0 ? "previous-fault" : "next-fault", title: `${name} step in which something went wrong (${key})`, onclick: () => act.hit(way) }, `${name} fault: step ${hit + 1}`);
});

/**
 * @param {Link} link
 * @param {Act} act
 */
function item({ title, said: parts, lines = [], tone, first, to }, act) {
  const head = to ? el("button", { type: "button", class: "sv-whylink", onclick: () => act.follow(to) }, title) : title;
  const node = to?.node, lit = node === undefined || node === null ? {} : { onpointerenter: () => act.light({ node }), onpointerleave: () => act.light(null) };
  return el("li", { class: `sv-why-${tone}`, ...lit }, el("h4", {}, head, first ? el("span", { class: "sv-firstcause" }, "first cause") : null),
    el("p", {}, said(parts, act)), lines.map((line) => el("p", { class: "sv-note sv-print" }, said(line, act))));
}
