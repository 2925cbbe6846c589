/* Reading a frame's columns: a row is what stands at one place in all of them (specviz/figures/frame_types.py). */

import { COMPARISONS } from "./constants.js";

/** @import { Decisions, Distributions, Residual, Runs, Top, TopColumns, Verdict } from "./frame.d.ts" */

/**
 * @template C
 * @typedef {{[K in keyof C]: C[K] extends ArrayLike<infer T> ? T : never}} RowOf a row of columns
 */

/**
 * All rows of columns of one length.
 * @template {Record<string, any>} C
 * @param {C} columns
 * @returns {RowOf<C>[]}
 */
export function rowsOf(columns) {
  const names = Object.keys(columns);
  return Array.from(columns[names[0]], (_, i) => /** @type {RowOf<C>} */ (Object.fromEntries(names.map((name) => [name, columns[name][i]]))));
}

/**
 * @typedef {object} Decision one decision of a verifier
 * @property {number} at its place among them
 * @property {number} node
 * @property {string} outcome a letter of OUTCOMES
 * @property {string} rule
 * @property {string} comparison one of COMPARISONS, or "" where it was not recorded
 * @property {number | null} uniform the coin
 * @property {number | null} p
 * @property {number | null} q
 * @property {number | null} expected the token that the node's own was compared with
 * @property {number | null} threshold null where it was not recorded
 * @property {boolean} full whether its reason and its residual are carried
 * @property {string} reason
 * @property {Residual | null} residual
 */

/** @type {WeakMap<Decisions, Decision[]>} */
const read = new WeakMap();

/**
 * A verdict's decisions, in the order they were taken.
 * @param {Verdict} verdict
 * @returns {Decision[]}
 */
export function decisionsOf(verdict) {
  const known = read.get(verdict.decisions);
  if (known) return known;
  const { details, ...columns } = verdict.decisions;
  const detailed = new Map(rowsOf(details).map((row) => [row.at, row]));
  const decisions = rowsOf(columns).map((row, i) => {
    const detail = detailed.get(i);
    return {
      ...row, at: i, rule: verdict.rules[row.rule], comparison: row.comparison === null ? "" : COMPARISONS[row.comparison], full: detail !== undefined,
      threshold: detail ? detail.threshold : verdict.thresholds[row.node], reason: detail?.reason ?? "", residual: detail ? detail.residual : null,
    };
  });
  read.set(verdict.decisions, decisions);
  return decisions;
}

/** By columns: the place of every node. @type {WeakMap<TopColumns, Map<number, number>>} */
const places = new WeakMap();

/**
 * @param {TopColumns} columns
 * @param {number} node
 */
function placeOf(columns, node) {
  let found = places.get(columns);
  if (!found) places.set(columns, (found = new Map(columns.node.map((one, i) => [one, i]))));
  return found.get(node);
}

/**
 * One model's distribution after a node, raw and processed, which are one where they are equal; null for what was not recorded.
 * @param {Distributions} distributions
 * @param {number} node
 * @returns {{entropy: number | null, raw: Top | null, processed: Top | null} | null}
 */
export function distributionAt({ node: nodes, entropy, unprocessed, raw, processed }, node) {
  const at = nodes.indexOf(node), place = placeOf(raw, node), other = placeOf(processed, node);
  if (at < 0) return null;
  const own = place === undefined ? null : { ids: raw.ids[place], probs: raw.probs[place] };
  return { entropy: entropy[at], raw: own, processed: other !== undefined ? { ids: processed.ids[other], probs: processed.probs[other] } : unprocessed.includes(node) ? null : own };
}

/**
 * Columns of the mask by row.
 * @param {Runs} runs
 * @returns {Map<number, Set<number>>}
 */
export function cellsOf(runs) {
  /** @type {Map<number, Set<number>>} */
  const found = new Map();
  for (const { row, first, last } of rowsOf(runs)) {
    /** @type {Set<number>} */
    const columns = new Set();
    first.forEach((start, i) => {
      for (let column = start; column <= last[i]; column++) columns.add(column);
    });
    found.set(row, columns);
  }
  return found;
}

/**
 * Whether a decision flipped a coin: other rules compare probabilities or tokens.
 * @param {Decision} decision
 */
export const hasCoin = ({ comparison, uniform }) => comparison === COMPARISONS[0] && uniform !== null;
