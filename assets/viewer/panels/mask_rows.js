/* The rows of a mask, expanded from its columns (specviz/figures/mask.py): pure functions of a frame.
 *
 * `up` gives the line of descent that is demanded, `block` the rows that see each other, `leaks` and `missing` are where the observed mask differs from it.
 */

import { cellsOf, rowsOf } from "../core/columns.js";
import { NOT_RECORDED } from "../core/recorded.js";

/** @import { Cache, Frame, Mask } from "../core/frame.d.ts" */

const MOST_ROWS = 288, FOLDED_ROWS = 120;

/**
 * @typedef {object} MaskRow a written slot and the columns it looks at
 * @property {Set<number> | null} must those it must see; null where the tree does not tell
 * @property {Set<number>} leaks
 * @property {Set<number>} missing
 * @property {Set<number>} unknown
 * @property {number | null} due the position it should have, if it has another
 * @property {number | null} earlier how many settled slots it sees, if not all
 * @property {boolean} wrong
 * @property {boolean} cut whether it is not carried
 * @property {boolean} silent whether it was not recorded what it sees
 */

/** @typedef {Cache & {mask: Mask, before: number}} MaskedCache a cache of which the mask or the positions were recorded */

/**
 * @param {Cache | null} cache
 * @returns {MaskedCache | null} null where nothing of its mask was recorded
 */
export const maskedOf = (cache) => (cache?.mask ? /** @type {MaskedCache} */ ({ ...cache, before: cache.before ?? 0 }) : null);

/**
 * @param {Pick<MaskedCache, "mask">} cache
 * @returns {MaskRow[]}
 */
export function maskRows(cache) {
  const { mask } = cache;
  /** @type {(Set<number> | null)[]} */
  const must = [];
  mask.up.forEach((up, i) => must.push(up === null ? null : new Set([...((up >= 0 && must[up]) || []), i])));
  for (const i of mask.block) must[i] = new Set([...(must[i] || []), ...mask.block]);
  const leaks = cellsOf(mask.leaks), missing = cellsOf(mask.missing), unknown = cellsOf(mask.unknown), none = new Set();
  const due = new Map(rowsOf(mask.due).map(({ row, position }) => [row, position])), earlier = new Map(rowsOf(mask.earlier).map(({ row, seen }) => [row, seen]));
  return mask.up.map((_, i) => ({
    must: must[i], leaks: leaks.get(i) || none, missing: missing.get(i) || none, unknown: unknown.get(i) || none, due: due.get(i) ?? null, earlier: earlier.get(i) ?? null,
    wrong: leaks.has(i) || missing.has(i) || due.has(i) || earlier.has(i), cut: mask.cut !== null && i >= mask.cut, silent: mask.silent.includes(i),
  }));
}

/**
 * Rows that are drawn: all, or of a large tree those in sight in the tree and the first wrong ones.
 * @param {Cache} cache
 * @param {MaskRow[]} rows
 * @param {(node: number) => boolean} inSight whether a node is drawn in the tree
 * @param {number | null} selected
 * @returns {number[]}
 */
export function chosenRows(cache, rows, inSight, selected) {
  if (rows.length <= MOST_ROWS) return rows.map((_, i) => i);
  /** @type {Set<number>} */
  const chosen = new Set();
  const add = (/** @type {number} */ i) => {
    const line = rows[i].must || [i];
    for (const at of [...line, ...[...rows[i].leaks].slice(0, 2)]) if (chosen.size < FOLDED_ROWS) chosen.add(at);
  };
  if (selected !== null && cache.node.includes(selected)) add(cache.node.indexOf(selected));
  rows.forEach((row, i) => row.wrong && chosen.size < FOLDED_ROWS / 2 && add(i));
  cache.node.forEach((node, i) => (node === null || inSight(node)) && add(i));
  return [...chosen].sort((a, b) => a - b);
}

/**
 * The position of a slot and where it comes from.
 * @param {Frame} frame
 * @param {Cache} cache
 * @param {MaskRow} row
 * @param {number} index of the row
 */
export function positionOf(frame, cache, row, index) {
  const node = cache.node[index], position = cache.position[index];
  if (position === null) return NOT_RECORDED;
  if (node === null) return cache.role[index] === "p" ? `p${position} ?` : row.due === null ? `p${position} ✓` : `p${position} not ${row.due} ✕`;
  const root = cache.mask?.root ?? null;
  return root === null ? `p${position}` : `p${position} ${row.due === null ? "=" : "not"} ${root} + ${frame.nodes.depth[node]} ${row.due === null ? "✓" : "✕"}`;
}
