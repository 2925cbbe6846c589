/* How the draft's numbers fit over some steps, counted as specviz/trace/calibration.py counts it. */

import { distributionAt } from "../core/columns.js";
import { driving } from "../core/words.js";

/** @import { CalibrationTotals, ConfidenceTotals, Frame, OutsideTotals } from "../core/frame.d.ts" */

const LEAST_STEPS = 10, Z = 1.959964;

/** @param {number} value as Python rounds it for the totals of the whole run */
const rounded = (value) => Math.round(1e6 * value) / 1e6;

/** @param {number[]} values */
const sum = (values) => values.reduce((all, value) => all + value, 0);

/**
 * The 97.5 % quantile of Student's t, from 9 degrees of freedom on.
 * @param {number} freedom
 */
const student = (freedom) => Z + (Z ** 3 + Z) / (4 * freedom) + (5 * Z ** 5 + 16 * Z ** 3 + 3 * Z) / (96 * freedom ** 2) + (3 * Z ** 7 + 19 * Z ** 5 + 17 * Z ** 3 - 15 * Z) / (384 * freedom ** 3);

/**
 * 95 % interval of a ratio of sums over steps; null for too few.
 * @param {[number, number][]} pairs numerator and denominator of every step
 * @returns {[number, number] | null}
 */
export function ratioInterval(pairs) {
  const m = pairs.length, bottom = sum(pairs.map(([, n]) => n)), ratio = sum(pairs.map(([value]) => value)) / bottom;
  if (m < LEAST_STEPS) return null;
  const spread = sum(pairs.map(([value, n]) => (value - ratio * n) ** 2)), half = (student(m - 1) * Math.sqrt((spread * m) / (m - 1))) / bottom;
  return [rounded(ratio - half), rounded(ratio + half)];
}

/**
 * Wilson's 95 % interval of a share; null for too few.
 * @param {boolean[]} outcomes
 * @returns {[number, number] | null}
 */
export function wilson(outcomes) {
  const n = outcomes.length, share = outcomes.filter(Boolean).length / n, weight = (Z * Z) / n, middle = (share + weight / 2) / (1 + weight);
  if (n < LEAST_STEPS) return null;
  const half = (Z * Math.sqrt((share * (1 - share)) / n + weight / (4 * n))) / (1 + weight);
  return [rounded(Math.max(0, middle - half)), rounded(Math.min(1, middle + half))];
}

/**
 * Nodes with children that the driver's path came to, and whether it went on to one of them.
 * @param {Frame} frame
 * @returns {[number, boolean][]}
 */
export function reachedNodes(frame) {
  const { path } = driving(frame), parents = new Set(frame.tree.parent);
  return [0, ...path].flatMap((node, depth) => (parents.has(node) ? [/** @type {[number, boolean]} */ ([node, depth < path.length])] : []));
}

/**
 * @template T
 * @param {T[][]} lists
 * @param {number} place
 */
function at(lists, place) {
  while (lists.length <= place) lists.push([]);
  return lists[place];
}

/** @param {([number, number] | null)[]} intervals @param {0 | 1} side */
const ends = (intervals, side) => intervals.map((one) => one && one[side]);

/**
 * @param {Frame[]} frames
 * @returns {CalibrationTotals}
 */
export function calibrationOf(frames) {
  /** @type {{n: number, q: number, p: number}[][]} */
  const sums = [];
  /** @type {boolean[][]} */
  const taken = [];
  for (const frame of frames) {
    const { drafted, q, p } = frame.sums;
    drafted.forEach((n, depth) => n ? at(sums, depth).push({ n, q: q[depth], p: p[depth] }) : at(sums, depth));
    for (const [node, accepted] of reachedNodes(frame)) at(taken, frame.nodes.depth[node]).push(accepted);
  }
  const counts = sums.map((own) => sum(own.map(({ n }) => n))), outcomes = sums.map((_, depth) => taken[depth] || []);
  const mean = (/** @type {"q" | "p"} */ name) => sums.map((own, depth) => counts[depth] ? rounded(sum(own.map((one) => one[name])) / counts[depth]) : null);
  const off = sums.map((own) => ratioInterval(own.map(({ n, q, p }) => [p - q, n]))), share = outcomes.map(wilson);
  return {
    steps: sums.map((own) => own.length), drafted: counts, q: mean("q"), p: mean("p"), low: ends(off, 0), high: ends(off, 1),
    accepted: outcomes.map((own) => own.filter(Boolean).length), reached: outcomes.map((own) => own.length), least: ends(share, 0), most: ends(share, 1),
  };
}

/**
 * @param {Frame[]} frames
 * @returns {ConfidenceTotals | null}
 */
export function confidenceOf(frames) {
  /** @type {{said: number, accepted: boolean}[][]} */
  const found = [];
  for (const frame of frames)
    for (const [node, accepted] of reachedNodes(frame)) {
      const said = frame.nodes.confidence?.[node];
      if (said !== null && said !== undefined) at(found, frame.nodes.depth[node]).push({ said, accepted });
    }
  if (!found.length) return null;
  const outcomes = found.map((own) => own.map(({ accepted }) => accepted)), share = outcomes.map(wilson);
  return {
    nodes: found.map((own) => own.length), said: found.map((own) => own.length ? rounded(sum(own.map(({ said }) => said)) / own.length) : null),
    accepted: outcomes.map((own) => own.filter(Boolean).length), least: ends(share, 0), most: ends(share, 1),
  };
}

/**
 * @param {Frame[]} frames
 * @returns {OutsideTotals | null}
 */
export function outsideOf(frames) {
  /** @type {[number, number][]} */
  const steps = [];
  let accepted = 0;
  for (const frame of frames) {
    const known = reachedNodes(frame).flatMap(([node, taken]) => {
      const p = frame.nodes.outside?.[node];
      return p === null || p === undefined ? [] : [{ p, taken }];
    });
    if (known.length) steps.push([sum(known.map(({ p }) => p)), known.length]);
    accepted += known.filter(({ taken }) => taken).length;
  }
  const nodes = sum(steps.map(([, n]) => n)), interval = ratioInterval(steps);
  return nodes ? { nodes, steps: steps.length, p: rounded(sum(steps.map(([p]) => p)) / nodes), low: interval && interval[0], high: interval && interval[1], accepted } : null;
}

/**
 * What a node's token added to the draft's logits there, for the entries of its row that are carried; null for nothing.
 * @param {Frame} frame
 * @param {number} node
 * @returns {{id: number, by: number}[] | null}
 */
export function biasAt({ nodes }, node) {
  const place = nodes.bias.node.indexOf(node), ids = distributionAt(nodes.draft, node)?.raw?.ids;
  return place < 0 || !ids ? null : nodes.bias.by[place].map((by, i) => ({ id: ids[i], by }));
}
