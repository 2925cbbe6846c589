/* What a verifier compared at a node, for a card: the words in its corner, and a line from 0 to 1 where one can be drawn.
 *
 * A rule that flips coins accepts below its threshold, and its coin lies on the line as a ring. A rule that compares the
 * target's probability accepts above its threshold, and that probability lies on the line as a square. A rule that compares
 * tokens has neither coin nor line: the card names the token that was wanted. What was decided is what is drawn.
 */

import { digits } from "../core/digits.js";

/** @import { Decision } from "../core/columns.js" */
/** @import { Frame } from "../core/frame.d.ts" */

/**
 * @typedef {object} Line
 * @property {"coin" | "value"} kind
 * @property {number} from where the zone begins that accepts, 0 to 1
 * @property {number} to where it ends
 * @property {number} at the coin or the value
 */

/** @typedef {{said: string, line: Line | null}} Compared */

/**
 * A chance in per cent with two digits: 71%, 4.1%, 0.71%, <.01%; 100% only for what is certain.
 * @param {number} threshold a chance, or more than one for a rule that accepts always
 */
export function chance(threshold) {
  const share = 100 * Math.min(1, threshold);
  if (share === 0 || share === 100) return `${share}%`;
  if (share < 0.01) return "<.01%";
  if (share >= 99.5) return ">99%";
  return `${share.toFixed(share >= 9.95 ? 0 : share >= 0.995 ? 1 : 2)}%`;
}

/** @param {number} value */
const within = (value) => Math.max(0, Math.min(1, value));

/**
 * @param {Frame} frame
 * @param {Decision} decision
 * @returns {Compared}
 */
export function compared(frame, { node, comparison, uniform, p, expected, threshold, outcome }) {
  if (!comparison || (threshold === null && !comparison.startsWith("token"))) return { said: "", line: null };
  if (comparison === "uniform < threshold" && threshold !== null) {
    return { said: chance(threshold), line: uniform === null ? null : { kind: "coin", from: 0, to: within(threshold), at: within(uniform) } };
  }
  if (comparison === "p > threshold" && threshold !== null) {
    // Both are sent rounded: where they read the same, only the outcome tells which is larger.
    return { said: `p ${outcome === "r" ? "≤" : ">"} ${digits(threshold, 2)}`, line: p === null ? null : { kind: "value", from: within(threshold), to: 1, at: within(p) } };
  }
  const name = comparison === "token = drawn" ? "drawn" : "argmax";
  if (expected === null) return { said: `none ${name}`, line: null };
  return { said: frame.nodes.token[node] === expected ? `= ${name}` : `≠ ${frame.tokens[expected]}`, line: null };
}
