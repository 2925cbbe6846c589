/* What became of the slots of a cache: what the dock and the table of the caches both read from its columns. */

import { rowsOf } from "../core/columns.js";
import { CALLS, NOT_RECORDED } from "../core/recorded.js";
import { statesSaid } from "./head.js";

/** @import { Cache, Left } from "../core/frame.d.ts" */
/** @import { RowOf } from "../core/columns.js" */

/** @typedef {RowOf<Left>} LeftRow */
/** @typedef {Cache & {before: number, length: number, slot: number[], prints: string[], after: Left}} WholeCache a cache of which lengths, slots and fingerprints were recorded */

/**
 * A cache with all that its strip is drawn from; null where some of that was not recorded.
 * @param {Cache | null} cache
 * @returns {WholeCache | null}
 */
export const wholeOf = (cache) => (cache && cache.before !== null && cache.length !== null && cache.prints && cache.after && !cache.slot.includes(null) ? /** @type {WholeCache} */ (cache) : null);

/** Fates of a written slot by its letter. @type {Record<string, string>} */
export const FATES = { k: "kept", m: "moved", d: "dropped", l: "cut off", u: NOT_RECORDED };

/**
 * @typedef {object} Slots places are those among the written slots
 * @property {LeftRow[]} left
 * @property {Map<number, number>} due place of a slot whose position is not the demanded one -> that position
 * @property {Map<number, number>} misplaced place of a slot that had to be kept and is not where it had to be -> where
 * @property {Set<number>} strays slots that stay without being due there
 */

/**
 * @param {Cache | null} cache of which, where it was not recorded, nothing is known
 * @returns {Slots}
 */
export function slotsOf(cache) {
  const left = cache?.after ? rowsOf(cache.after) : [], wrong = left.filter((row) => !row.good);
  return {
    left,
    due: new Map((cache?.mask ? rowsOf(cache.mask.due) : []).map(({ row, position }) => [row, position])),
    misplaced: new Map(wrong.flatMap((row) => (row.due === null ? [] : [[row.due, row.slot]]))),
    strays: new Set(wrong.flatMap((row) => (row.held === null ? [] : [row.held]))),
  };
}

/**
 * How many of the slots that were written are still there after the update, by their fingerprints.
 * @param {WholeCache} cache
 */
export const keptOf = (cache) => cache.after.held.filter((held) => held !== null).length;

/**
 * @typedef {object} Change the update of a cache in numbers
 * @property {number} written slots
 * @property {number} kept of them
 * @property {number} moved of those
 * @property {number} cut
 * @property {number} stray kept without being due there
 * @property {number} unknown slots left with what no slot of the step held
 */

/**
 * @param {WholeCache} cache
 * @returns {Change}
 */
export function changeOf(cache) {
  const written = cache.slot.length, kept = keptOf(cache), { strays } = slotsOf(cache);
  return {
    written, kept, moved: cache.state.split("m").length - 1, cut: cache.to.filter((to) => to === null).length, stray: strays.size,
    unknown: cache.after.held.length - kept,
  };
}

/** What a written slot is that no node stands in, by the letter of its role. @type {Record<string, string>} */
export const NO_NODE = { c: "fed late", p: "pruned", m: "masked place" };

/**
 * Node and position of a written slot.
 * @param {Cache} cache
 * @param {Slots} slots
 * @param {number} i its place among the written ones
 */
function placeOf(cache, { due }, i) {
  const node = cache.node[i], who = node === null ? (NO_NODE[cache.role[i]] ?? "no node") : `node ${node}`;
  const state = statesSaid(cache)?.[i];
  return `${who}${state ? `, holds ${state}${cache.role[i] === "c" && cache.kind === "states" ? "" : " and this token"}` : ""}, position ${cache.position[i] ?? NOT_RECORDED}${due.has(i) ? `, ✕ its position had to be ${due.get(i)}` : ""}`;
}

/**
 * What a written slot says of itself, and what became of it, if that is known.
 * @param {WholeCache} cache
 * @param {Slots} slots
 * @param {number} i its place among the written ones
 * @param {boolean} known whether the update has been
 */
export function saidOfSlot(cache, slots, i, known) {
  const place = placeOf(cache, slots, i), { misplaced, strays } = slots;
  if (!known) return place;
  const fate = misplaced.has(i) ? `✕ due in slot ${misplaced.get(i)}` : strays.has(i) ? `✕ stays in slot ${cache.to[i]}, not due` : cache.state[i] === "m" ? `moved to slot ${cache.to[i]}` : FATES[cache.state[i]];
  return `${place}, ${fate}, fingerprint ${cache.prints[i]}`;
}

/**
 * What a slot that the update left says of itself.
 * @param {WholeCache} cache
 * @param {Slots} slots
 * @param {LeftRow} row
 */
export function saidOfLeft(cache, slots, { due, good, held, print }) {
  /** @param {number} i */
  const name = (i) => (cache.node[i] === null ? `what slot ${cache.slot[i]} held` : `node ${cache.node[i]}`);
  const said = good ? `${placeOf(cache, slots, Number(due))}, ${cache.state[Number(due)] === "m" ? `moved from slot ${cache.slot[Number(due)]}` : "kept where it was"}`
    : `✕ must hold ${due === null ? "nothing" : name(due)}, holds ${held === null ? "what no slot of this step held" : name(held)}`;
  return `${said}, fingerprint ${print}`;
}

/** @typedef {"before" | "tree" | "after"} Stage how far a step has come for a cache: nothing written, the tree, the update */

/**
 * What became of a cache in one sentence.
 * @param {Cache | null} any
 * @param {Stage} stage
 */
export function sentenceOf(any, stage) {
  if (any?.kind === "none") return "a head without keys and values of its own: it has no cache";
  const cache = wholeOf(any);
  if (!cache) return lackOf(any);
  const { written, kept, moved, cut, stray, unknown } = changeOf(cache);
  if (stage === "before") return `length ${cache.before}; nothing of this step is written yet`;
  if (stage === "tree") return written ? `${written} slots hold ${cache.role.includes("m") ? "the block" : "the tree"}; nothing is kept or moved yet` : "ran nothing in this step";
  if (!written) return `ran nothing in this step · length ${cache.length}`;
  const odd = `${stray ? `, ${stray} of them not due there` : ""}${unknown ? `, ${unknown} left with what no slot of this step held` : ""}`;
  return `keeps ${kept} of ${written} slots${odd}, moves ${moved}, cuts ${cut} · length ${cache.before} → ${cache.length}`;
}

/**
 * What is known of a cache whose strip cannot be drawn.
 * @param {Cache | null} cache
 */
function lackOf(cache) {
  if (!cache) return `${NOT_RECORDED}: ${CALLS.cache} records a cache`;
  const length = cache.before !== null && cache.length !== null ? `length ${cache.before} → ${cache.length}; ` : "";
  return `${length}${NOT_RECORDED}: ${cache.lacks.join(", ")}`;
}
