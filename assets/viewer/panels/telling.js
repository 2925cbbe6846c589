/* The node whose decision tells most of a step: it is selected as long as nobody chose one. */

import { decisionsOf } from "../core/columns.js";
import { runDrawn } from "../core/state.js";
import { verdictBy } from "../core/words.js";
import { story } from "./findings.js";
import { faultHeadline } from "./why.js";

/** @import { Decision } from "../core/columns.js" */
/** @import { Frame } from "../core/frame.d.ts" */
/** @import { State } from "../core/state.js" */

/**
 * How likely a decision was to accept; 1 for rules that flip no coin, and where its threshold was not recorded.
 * @param {Decision} decision
 */
export const chanceOf = ({ comparison, threshold }) => (comparison === "uniform < threshold" && threshold !== null ? Math.min(1, threshold) : 1);

/**
 * The first node beside a verifier's path that it rejected; else of those on it the one that was least likely to be accepted,
 * or the last one where no coin was flipped; else the first one that it examined. Null where it examined none.
 * @param {Frame} frame
 * @param {string} verifier
 * @returns {number | null}
 */
export function tellingNode(frame, verifier) {
  const verdict = verdictBy(frame, verifier);
  if (!verdict) return null;
  const { parent } = frame.tree, all = decisionsOf(verdict), path = new Set([0, ...verdict.path]);
  const rejected = all.find(({ node, outcome }) => outcome === "r" && path.has(parent[node]));
  const accepted = all.filter(({ node }) => path.has(node)).reduce((/** @type {Decision | undefined} */ least, one) => (least && chanceOf(least) < chanceOf(one) ? least : one), undefined);
  return (rejected ?? accepted ?? all[0])?.node ?? null;
}

/**
 * Select it, unless a reader chose a node, or closed it. Inside a step none is selected, because it would say what is not known yet.
 * @param {State} state
 * @param {Frame | undefined} frame in sight
 */
export function offerNode(state, frame) {
  if (state.selected !== null && !state.offered) return;
  const may = frame && state.phase === null && !state.closed && !state.asks && !(state.why && faultHeadline(frame, story(state.frames, runDrawn(state).steps)));
  state.selected = may ? tellingNode(frame, state.lens && frame.tree.states[state.lens] ? state.lens : frame.driver) : null;
  state.offered = state.selected !== null;
}
