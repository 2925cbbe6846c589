/* Step into: the phases that Python listed (specviz/figures/phases.py), and what is known after each of them.
 *
 * A phase is a patch on the step's picture: the same layout, with what is not known yet left out.
 */

import { decisionsOf } from "../core/columns.js";
import { verdictBy } from "../core/words.js";

/** @import { Frame, Phase, Verdict } from "../core/frame.d.ts" */

/**
 * @typedef {object} Known what may be shown
 * @property {number} depth of the tree
 * @property {boolean} target whether the target has scored it
 * @property {boolean} judged whether a verifier has begun
 * @property {boolean} whole whether the tree is grown
 * @property {boolean} written whether the driver's tokens became text
 * @property {boolean} parts whether all paths are known
 * @property {Record<string, string>} states verifier -> one letter a node
 * @property {Record<string, Set<number>>} paths
 * @property {Set<string>} bonus verifiers that have drawn theirs
 * @property {number | null} acting the node that the phase is about
 * @property {number} taken decisions of the verifier that is watched
 */

/**
 * All phases of a step with one verifier being watched.
 * @param {Frame} frame
 * @param {string} lens
 * @returns {Phase[]}
 */
export function phasesOf(frame, lens) {
  const { before, verdicts, after } = frame.phases;
  const watched = verdicts[lens] || verdicts[frame.driver];
  return [...before, ...watched.phases, ...after];
}

/**
 * What may be shown: `phase` is a place in phasesOf(), or null for the whole step.
 * @param {Frame} frame
 * @param {string} lens
 * @param {number | null} phase
 * @returns {Known}
 */
export function knownIn(frame, lens, phase) {
  const paths = Object.fromEntries(frame.verdicts.map((v) => [v.verifier, new Set(v.path)]));
  const everything = {
    depth: Infinity, target: true, judged: true, whole: true, written: true, parts: true, states: frame.tree.states, paths,
    bonus: new Set(frame.verdicts.map((v) => v.verifier)), acting: null, taken: Infinity,
  };
  if (phase === null) return everything;
  const at = phasesOf(frame, lens)[phase];
  if (at.kind === "commit" || at.kind === "cache") return everything;
  /** @type {Known} */
  const nothing = { depth: Infinity, target: true, judged: false, whole: true, written: false, parts: false, states: {}, paths: {}, bonus: new Set(), acting: null, taken: 0 };
  if (at.kind === "draft") return { ...nothing, depth: at.depth, target: false, whole: false };
  if (at.kind === "target") return nothing;
  const verdict = /** @type {Verdict} */ (verdictBy(frame, lens));
  if (at.kind === "decide") return { ...nothing, judged: true, acting: at.node, taken: at.upto, ...judgedSoFar(frame, verdict, at.upto) };
  return { ...nothing, judged: true, states: { [lens]: frame.tree.states[lens] }, paths: { [lens]: paths[lens] }, bonus: new Set([lens]), acting: verdict.bonus ? verdict.bonus.node : null, taken: Infinity };
}

/**
 * States and path after the first `count` decisions of a verifier.
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {number} count
 */
function judgedSoFar(frame, verdict, count) {
  const { walk } = frame.phases.verdicts[verdict.verifier];
  const states = frame.tree.parent.map((_, node) => String(node ? "." : "t"));
  /** @type {Set<number>} */
  const path = new Set();
  for (const { node, outcome } of decisionsOf(verdict).slice(0, count)) {
    // A rule that chooses among passing nodes only at its end has accepted nothing yet.
    states[node] = outcome === "a" && !walk ? "p" : outcome;
    if (states[node] === "a") path.add(node);
  }
  return { states: { [verdict.verifier]: states.join("") }, paths: { [verdict.verifier]: path } };
}
