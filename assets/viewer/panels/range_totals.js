/* Totals of some steps of a run, counted as specviz/figures/totals.py counts them over the whole run. */

import { decisionsOf } from "../core/columns.js";
import { verdictBy } from "../core/words.js";
import { calibrationOf, confidenceOf, outsideOf } from "./range_draft.js";

/** @import { Counts, Frame, Run, Totals, VerifierTotals } from "../core/frame.d.ts" */
/** @import { Range } from "../core/state.js" */

/**
 * The totals over the steps of a range whose frames have come.
 * @param {Run} run
 * @param {Map<number, Frame>} frames
 * @param {Range} range
 * @returns {Totals}
 */
export function totalsOf(run, frames, [first, last]) {
  /** @type {Frame[]} */
  const own = [];
  for (let step = first; step <= last; step++) {
    const frame = frames.get(step);
    if (frame) own.push(frame);
  }
  const all = run.verifiers.map(({ name }) => totalsBy(name, own)).filter((one) => one.steps), engine = run.engine?.name;
  const both = engine && all.length > 1 ? own.filter((frame) => all.every(({ verifier }) => verdictBy(frame, verifier))) : null;
  return {
    steps: own.length, tokens: own.reduce((sum, frame) => sum + frame.commit.piece.length, 0), formulas: run.totals.formulas,
    verifiers: both ? all.filter(({ verifier }) => verifier === engine) : all,
    shared: both && { steps: both.length, verifiers: all.map(({ verifier }) => totalsBy(verifier, both)) },
    calibration: calibrationOf(own), confidence: confidenceOf(own), outside: outsideOf(own),
  };
}

/**
 * Of one verifier, over the steps that know it.
 * @param {string} name
 * @param {Frame[]} frames
 * @returns {VerifierTotals}
 */
function totalsBy(name, frames) {
  const depth = new Count(), rank = new Count();
  const at = { nodes: 0, accepted: 0, expected: 0, optimum: 0 };
  let silent = false, drives = 0, steps = 0, accepted = 0, emitted = 0;
  for (const frame of frames) {
    const verdict = verdictBy(frame, name);
    if (!verdict) continue;
    // Where another engine's decisions were not recorded, those of the other steps are no figure of all.
    silent ||= !verdict.decisions.node.length && frame.tree.parent.length > 1;
    const parents = new Set(frame.tree.parent), { path } = verdict;
    steps += 1;
    drives += Number(frame.driver === name);
    accepted += path.length;
    emitted += verdict.emitted;
    [0, ...path].forEach((node, d) => {
      if (parents.has(node)) depth.add(d, d < path.length);
      const best = frame.nodes.optimum?.[node] ?? null, own = verdict.acceptance?.[node] ?? null;
      if (best === null || own === null) return;
      at.nodes += 1;
      at.accepted += Number(d < path.length);
      at.expected += own;
      at.optimum += best;
    });
    for (const { node, outcome } of decisionsOf(verdict)) rank.add(frame.nodes.rank[node], outcome === "a");
  }
  return {
    verifier: name, drives, steps, accepted, emitted, efficiency: steps ? Math.round((10000 * emitted) / steps) / 10000 : null,
    depth: depth.counts, rank: silent ? new Count().counts : rank.counts, atNodes: at.nodes ? at : null,
  };
}

class Count {
  constructor() {
    /** @type {Counts} */
    this.counts = { accepted: [], of: [] };
  }

  /**
   * @param {number} at
   * @param {boolean} accepted
   */
  add(at, accepted) {
    const { counts } = this;
    while (counts.of.length <= at) {
      counts.of.push(0);
      counts.accepted.push(0);
    }
    counts.of[at] += 1;
    counts.accepted[at] += Number(accepted);
  }
}
