/* Where the slots of one cache stand in its strip: a pure function of its columns and of the room.
 *
 * Every slot number has one column, with the tree and after the update, so that a move is an arc between two columns. Slots
 * of which nothing is to be told share a column where there is no room for each.
 */

import { rowsOf } from "../core/columns.js";
import { slotsOf } from "./slots.js";

/** @import { LeftRow, WholeCache } from "./slots.js" */

const GAP = 3, WIDEST = 64, NARROWEST = 34, ROOMY = 48, WRONG = 62, SETTLED = 84, FEW = 3, ARC = 26, RISE = 10, SLOPE = 1.6;
/** Pixels of what stands beside the digits of a cell. */
const BESIDE = 14;

/**
 * @typedef {object} Cell one column of the strip
 * @property {"slot" | "fold" | "wrong"} kind a slot, quiet slots together, or a slot from before the step that is wrong
 * @property {number} x
 * @property {number} width
 * @property {number} first slot
 * @property {number} last slot
 * @property {number | null} written place among the written slots
 * @property {LeftRow | null} left what the update left in it
 */

/**
 * @typedef {object} Arc a slot's way to another one
 * @property {number} from pixels
 * @property {number} to
 * @property {number} height
 * @property {boolean} missing that ought to have been, and was not
 * @property {boolean} wrong to where it was not due
 */

/**
 * @typedef {object} Strip
 * @property {number} settled width of the block of slots from before the step
 * @property {Cell[]} cells
 * @property {Arc[]} arcs
 * @property {number} width of all
 */

/**
 * @param {WholeCache} cache
 * @param {number} room pixels
 * @param {boolean} known whether the update has been: before it nothing stands out but the positions
 * @param {number | null} selected node
 * @param {number} digit pixels that a digit of a slot number takes
 * @returns {Strip}
 */
export function layStrip(cache, room, known, selected, digit) {
  const { due, misplaced, strays } = slotsOf(cache), rows = known ? rowsOf(cache.after) : [];
  const leftIn = new Map(rows.map((row) => [row.slot, row])), writtenIn = new Map(cache.slot.map((slot, i) => [slot, i]));
  const slots = [...new Set([...cache.slot, ...leftIn.keys()])].sort((a, b) => a - b);
  const wrongBefore = rowsOf(cache.settled).flatMap(({ step }, i, all) => (step === null ? [] : [cache.before - all.length + i]));
  /** @param {number} slot */
  const loud = (slot) => {
    const i = writtenIn.get(slot);
    if (leftIn.has(slot) || i === undefined) return true;
    return due.has(i) || (cache.node[i] !== null && cache.node[i] === selected) || (known && (cache.state[i] === "m" || misplaced.has(i) || strays.has(i)));
  };
  const longest = String(slots.at(-1) ?? cache.before).length, least = Math.max(NARROWEST, BESIDE + digit * longest);
  const settled = Math.max(SETTLED, BESIDE + 6 + digit * `#0–#${cache.before - 1}`.length), free = room - settled - 2 * GAP - WRONG * wrongBefore.length;

  /** @type {number[][]} */
  const groups = [];
  const squeeze = free / Math.max(1, slots.length) < least;
  let quiet = false;
  for (const slot of slots) {
    const joins = squeeze && quiet && !loud(slot);
    if (joins) groups[groups.length - 1].push(slot);
    else groups.push([slot]);
    quiet = squeeze && !loud(slot);
  }
  const shown = groups.flatMap((group) => (group.length < FEW ? group.map((slot) => [slot]) : [group]));
  const folds = shown.filter((group) => group.length > 1), foldWidth = BESIDE + digit * Math.max(7, 2 * longest + 1.5);
  const each = Math.max(squeeze ? Math.max(least, ROOMY) : least, Math.min(WIDEST, (free - folds.length * foldWidth) / Math.max(1, shown.length - folds.length)));

  let x = settled + GAP;
  /** @type {Cell[]} */
  const cells = wrongBefore.map((slot) => ({ kind: "wrong", x: (x += WRONG) - WRONG, width: WRONG - GAP, first: slot, last: slot, written: null, left: null }));
  for (const group of shown) {
    const width = group.length > 1 ? foldWidth : each, [first] = group, alone = group.length === 1;
    cells.push({
      kind: alone ? "slot" : "fold", x, width: width - GAP, first, last: group[group.length - 1], written: alone ? writtenIn.get(first) ?? null : null, left: alone ? leftIn.get(first) ?? null : null,
    });
    x += width;
  }
  return { settled: settled - GAP, cells, arcs: known ? arcsOf(cache, misplaced, strays, cells) : [], width: x };
}

/**
 * @param {WholeCache} cache
 * @param {Map<number, number>} misplaced
 * @param {Set<number>} strays
 * @param {Cell[]} cells
 * @returns {Arc[]}
 */
function arcsOf(cache, misplaced, strays, cells) {
  /** @param {number} slot */
  const middle = (slot) => {
    const cell = cells.find((one) => one.kind === "slot" && one.first === slot);
    return cell && cell.x + cell.width / 2;
  };
  /** @type {{from: number, to: number, missing: boolean, wrong: boolean}[]} */
  const ways = cache.to.flatMap((to, i) => (to !== null && to !== cache.slot[i] ? [{ from: cache.slot[i], to, missing: false, wrong: strays.has(i) }] : []));
  for (const [i, slot] of misplaced) if (cache.slot[i] !== slot) ways.push({ from: cache.slot[i], to: slot, missing: true, wrong: true });
  return ways.flatMap(({ from, to, ...kind }) => {
    const start = middle(from), end = middle(to);
    return start === undefined || end === undefined ? [] : [{ from: start, to: end, height: Math.min(ARC - 4, RISE + Math.abs(from - to) * SLOPE), ...kind }];
  });
}
