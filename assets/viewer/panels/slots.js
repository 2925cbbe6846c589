/* What became of the slots of a cache: what picture and table of the caches both read from its columns. */

import { rowsOf } from "../core/columns.js";

/** @import { Cache, Left } from "../core/frame.d.ts" */
/** @import { RowOf } from "../core/columns.js" */

/** @typedef {RowOf<Left>} LeftRow */

/** Fates of a written slot by its letter. @type {Record<string, string>} */
export const FATES = { k: "kept", m: "moved", d: "dropped", l: "cut off" };

/**
 * @typedef {object} Slots places are those among the written slots
 * @property {LeftRow[]} left
 * @property {Map<number, number>} due place of a slot whose position is not the demanded one -> that position
 * @property {Map<number, number>} misplaced place of a slot that had to be kept and is not where it had to be -> where
 * @property {Set<number>} strays slots that stay without being due there
 */

/**
 * @param {Cache} cache
 * @returns {Slots}
 */
export function slotsOf(cache) {
  const left = rowsOf(cache.after), wrong = left.filter((row) => !row.good);
  return {
    left,
    due: new Map(rowsOf(cache.mask.due).map(({ row, position }) => [row, position])),
    misplaced: new Map(wrong.flatMap((row) => (row.due === null ? [] : [[row.due, row.slot]]))),
    strays: new Set(wrong.flatMap((row) => (row.held === null ? [] : [row.held]))),
  };
}
