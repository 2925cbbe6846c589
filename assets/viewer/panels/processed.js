/* What processors did to the target's row at a node: how much mass they moved, how far the modes exact and frozen are
 * apart there, and what the watched verifier would decide in the other mode with the same luck. */

import { digits } from "../core/digits.js";
import { el } from "../core/dom.js";
import { nodePath, verdictPath } from "../core/python_path.js";
import { recorded } from "./said.js";

/** @import { Frame, Verdict } from "../core/frame.d.ts" */

/**
 * @param {string} label
 * @param {number} value a total variation
 * @param {string} path
 */
const distance = (label, value, path) => [el("h4", { class: "sv-sumline" }, el("span", {}, label), el("b", { class: "sv-number" }, recorded(value, path))),
  el("span", { class: "sv-wide-track", role: "img", "aria-label": `${label}: ${digits(value)} of 1` }, el("i", { class: "sv-pbar", style: `width: ${100 * value}%` }))];

/**
 * @param {Frame} frame
 * @param {number} node after which it is
 * @param {string} place what the node is called
 * @returns {Node | null} null for a run without processors
 */
export function processedBox(frame, node, place) {
  const moved = frame.nodes.moved?.[node] ?? null, apart = frame.nodes.apart?.[node] ?? null;
  if (moved === null || apart === null) return null;
  const path = `${nodePath(frame.step, node)}.processed`;
  return el("section", { class: "sv-outsidebox sv-processed", "aria-label": "Processors" },
    distance("Mass that processors moved", moved, `${path}.moved`), distance("Exact and frozen apart", apart, `${path}.apart`),
    el("p", { class: "sv-note" }, `Total variation of the target's rows after ${place}; exact is by the text on the path, frozen by the committed text.`));
}

/**
 * @param {Frame} frame
 * @param {Verdict | undefined} verdict of the watched verifier
 * @param {number} node
 * @returns {Node | null} null where the other mode decides the same
 */
export function otherModeNote(frame, verdict, node) {
  const other = verdict?.otherMode;
  if (!verdict || !other || !other.nodes.includes(node)) return null;
  const path = `${verdictPath(frame.step, verdict.verifier)}.other_mode`;
  return el("p", { class: "sv-note sv-othermode" }, el("b", {}, "≠ "), `With processors in the ${other.mode} mode and the same luck ${verdict.verifier} decides otherwise here: it accepts `,
    recorded(other.path.length ? other.path.map((one) => `node ${one}`).join(", ") : "no node", `${path}.path`),
    ...(other.bonus === null ? ["; which bonus token it draws is not recorded."] : [", then “", recorded(other.bonus, `${path}.bonus`), "”."]));
}
