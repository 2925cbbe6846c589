/* The sentences of lessons: a number in them stands for its node, so that it lights the node's card and is lit by it. */

import { el, token } from "../core/dom.js";

/** @import { LessonPiece } from "../core/frame.d.ts" */
/** @import { State } from "../core/state.js" */

/**
 * @param {LessonPiece[]} pieces
 * @param {State} state
 * @param {number} step whose nodes they speak of
 * @param {(step: number, node: number) => void} go
 * @returns {(string | Node)[]}
 */
export function lessonText(pieces, state, step, go) {
  return pieces.map(({ text, kind, node }) => {
    if (kind === "strong") return el("b", {}, text);
    if (kind === "q" || kind === "p") return el("i", { class: `sv-lesson-bar sv-lesson-${kind}`, "aria-hidden": "true" });
    if (node === null) return text;
    const said = kind === "card" ? [el("span", { class: "sv-nodenumber" }, String(node)), " ", token(state.frames.get(step)?.nodes.text[node] ?? "")] : text;
    const link = el("button", { type: "button", class: `sv-lesson-link sv-lesson-${kind}`, "data-of": node, "data-at": step, tabindex: kind === "card" ? 0 : -1, "aria-label": kind === "card" ? null : `${text}, of node ${node}`, onclick: () => go(step, node) }, said);
    if (state.step === step) link.dataset.node = String(node);
    return link;
  });
}

/**
 * Only where their step is in sight do numbers stand for nodes of the tree in sight.
 * @param {HTMLElement} box
 * @param {number} step in sight
 */
export function linkNodes(box, step) {
  for (const link of /** @type {NodeListOf<HTMLElement>} */ (box.querySelectorAll("[data-of]"))) {
    if (Number(link.dataset.at) === step) link.dataset.node = link.dataset.of;
    else delete link.dataset.node;
  }
}
