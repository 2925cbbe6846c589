/* Totals of some steps of a run, counted as specviz/figures/totals.py counts them over the whole run. */

import { decisionsOf } from "../core/columns.js";
import { verdictBy } from "../core/words.js";
import { calibrationOf, confidenceOf, outsideOf, ratioInterval, shareInterval, wilson } from "./range_draft.js";

/** @import { Counts, Frame, RankColumns, RankTotals, Run, Totals, VerifierTotals, WalkEnd } from "../core/frame.d.ts" */
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
    steps: own.length, tokens: own.reduce((sum, frame) => sum + frame.commit.piece.length, 0),
    thrown: own.reduce((sum, { textEnd }) => sum + (textEnd?.thrown.length ?? 0), 0), formulas: run.totals.formulas,
    verifiers: both ? all.filter(({ verifier }) => verifier === engine) : all,
    shared: both && { steps: both.length, verifiers: all.map(({ verifier }) => totalsBy(verifier, both)) },
    against: againstOf(run, own), calibration: calibrationOf(own), confidence: confidenceOf(own), outside: outsideOf(own),
    ranks: ranksOf(run, own), advice: run.totals.advice,
  };
}

/**
 * Ranks of the tokens that ended the drivers' walks, counted as specviz/trace/target_ranks.py counts them.
 * @param {Run} run
 * @param {Frame[]} frames
 * @returns {RankTotals}
 */
function ranksOf(run, frames) {
  const { names } = run.totals.ranks, ends = frames.flatMap(({ walkEnd }) => (walkEnd ? [walkEnd] : []));
  return { names, rejections: rankColumns(ends.filter(({ leaf }) => !leaf), names.length), leaves: rankColumns(ends.filter(({ leaf }) => leaf), names.length) };
}

/**
 * @param {WalkEnd[]} ends
 * @param {number} width columns of known ranks
 * @returns {RankColumns}
 */
function rankColumns(ends, width) {
  const depth = [...new Set(ends.map((end) => end.depth))].sort((a, b) => a - b), at = depth.map((d) => ends.filter((end) => end.depth === d));
  const times = (/** @type {WalkEnd["kind"]} */ kind) => at.map((own) => own.filter((end) => end.kind === kind).length);
  return {
    depth, ends: at.map((own) => own.length), known: at.map((own) => Array.from({ length: width }, (_, column) => own.filter((end) => end.column === column).length)),
    never: times("never"), beyond: times("beyond"), noRow: times("no row"),
    recorded: at.map((own) => own.filter(({ kind }) => kind === "beyond").reduce((least, { recorded }) => Math.min(least, recorded), Infinity)).map((least) => (least === Infinity ? 0 : least)),
  };
}

/**
 * Every other verifier beside the driver of the last step, paired over the steps that both judged.
 * @param {Run} run
 * @param {Frame[]} frames
 * @returns {Totals["against"]}
 */
function againstOf(run, frames) {
  const driver = frames.at(-1)?.driver;
  return run.verifiers.flatMap(({ name }) => {
    const apart = frames.flatMap((frame) => {
      const own = verdictBy(frame, name), other = driver !== undefined && verdictBy(frame, driver);
      return own && other ? [own.emitted - other.emitted] : [];
    });
    if (driver === undefined || name === driver || !apart.length) return [];
    const sum = apart.reduce((all, one) => all + one, 0), interval = ratioInterval(apart.map((one) => [one, 1])), [low, high] = interval || [null, null];
    return [{ verifier: name, other: driver, steps: apart.length, parted: apart.filter(Boolean).length, value: Math.round((1e6 * sum) / apart.length) / 1e6, low, high, noise: interval && interval[0] <= 0 && interval[1] >= 0 }];
  });
}

/**
 * Of one verifier, over the steps that know it.
 * @param {string} name
 * @param {Frame[]} frames
 * @returns {VerifierTotals}
 */
function totalsBy(name, frames) {
  const depth = new Count(), rank = new Count(), lengths = /** @type {[number, number][]} */ ([]), ranks = /** @type {[number, number][][]} */ ([]);
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
    lengths.push([verdict.emitted, 1]);
    [0, ...path].forEach((node, d) => {
      if (parents.has(node)) depth.add(d, d < path.length);
      const best = frame.nodes.optimum?.[node] ?? null, own = verdict.acceptance?.[node] ?? null;
      if (best === null || own === null) return;
      at.nodes += 1;
      at.accepted += Number(d < path.length);
      at.expected += own;
      at.optimum += best;
    });
    const own = new Count();
    for (const { node, outcome } of decisionsOf(verdict)) [own, rank].forEach((one) => one.add(frame.nodes.rank[node], outcome === "a"));
    own.counts.of.forEach((of, r) => of && (ranks[r] ||= []).push([own.counts.accepted[r], of]));
  }
  const interval = ratioInterval(lengths);
  return {
    verifier: name, drives, steps, accepted, emitted, efficiency: steps ? Math.round((10000 * emitted) / steps) / 10000 : null,
    low: interval && interval[0], high: interval && interval[1],
    depth: depth.between(({ accepted, of }) => of.map((n, i) => wilson(accepted[i], n))), rank: silent ? new Count().counts : rank.between(() => ranks.map(shareInterval)),
    atNodes: at.nodes ? at : null,
  };
}

class Count {
  constructor() {
    /** @type {Counts} */
    this.counts = { accepted: [], of: [], least: [], most: [] };
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

  /**
   * The counts with their intervals.
   * @param {(counts: Counts) => ([number, number] | null)[]} intervals
   */
  between(intervals) {
    const found = intervals(this.counts), end = (/** @type {0 | 1} */ side) => this.counts.of.map((_, i) => found[i] && /** @type {[number, number]} */ (found[i])[side]);
    return { ...this.counts, least: end(0), most: end(1) };
  }
}
