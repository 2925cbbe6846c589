/* Taking blocks in: a message from Python becomes part of what a viewer holds. */

/** @import { Block, Run } from "./frame.d.ts" */
/** @import { State } from "./state.js" */

/**
 * The blocks of a value: a block, a list of blocks (or of lists), or either as JSON text.
 * @param {any} value
 * @returns {Block[]}
 */
export function blocksOf(value) {
  if (value === null || value === undefined || value === "") return [];
  return [typeof value === "string" ? JSON.parse(value) : value].flat(Infinity).filter(Boolean);
}

/**
 * Whether a block brings missing frames, or new ones of a recording that is followed, to a run that is no longer in sight.
 * @param {Run | null} run in sight
 * @param {Block} block
 */
export const isLate = (run, block) => Boolean(block.run && ((block.fills && run && block.run.id !== run.id) || (block.following && block.following.asked !== (run?.id ?? null))));

/**
 * Whether a block is of a run that goes on while a reader looks at something else, and must not take them away from it.
 * @param {State} state
 * @param {Block} block
 */
export const isAside = (state, block) => Boolean(block.live && block.run && state.run && block.run.id !== state.run.id && (state.away || state.touring));

/**
 * Whether nothing holds a reader at the step in sight: neither a phase nor the tour, nor a search, nor a node that they chose.
 * @param {State} state
 */
const isFree = (state) => state.awaits || (state.phase === null && !state.touring && !state.found && (state.selected === null || state.offered));

/**
 * The run in sight as it is once a block has come. Missing frames come with the run as it was when they were asked for: it
 * may be ahead of what the reader was shown, and a step may have overtaken it.
 * @param {Run | null} run
 * @param {Block} block
 * @returns {Run | null}
 */
export function newerRun(run, block) {
  if (!block.run || (block.fills && run && (isLate(run, block) || block.run.steps <= run.steps))) return run;
  return block.run;
}

/**
 * Take the run and the frames of a block; says whether another run is shown from now on.
 * @param {State} state
 * @param {Block} block with a run
 */
export function takeRun(state, block) {
  const run = /** @type {NonNullable<Block["run"]>} */ (block.run), other = state.run?.id !== run.id;
  const atEnd = state.run !== null && state.step >= state.end - 1 && isFree(state);
  const now = (state.run = /** @type {Run} */ (newerRun(state.run, block)));
  // The end that the reader was shown is not moved by frames that were missing.
  if (other || !block.fills) state.end = run.steps;
  if (!block.fills) state.awaits = false;
  if (other) state.away = !block.live;
  if (other) {
    Object.assign(state, { frames: new Map(), step: 0, phase: null, selected: null, why: false, trail: [], lens: null, open: new Map(), asked: new Set(), refused: new Map(), hidden: new Set(), range: null });
    if (typeof block.go === "number") state.step = block.go;
  } else {
    for (const step of [...state.frames.keys()]) if (step >= now.steps) state.frames.delete(step);
    // A reader who went back, or reads the newest step, is left there while the run goes on.
    if (typeof block.go === "number" && atEnd && block.go !== state.step) Object.assign(state, { step: block.go, phase: null, selected: null });
  }
  for (const frame of block.frames || []) state.frames.set(frame.step, frame);
  for (const { step, text } of block.refused || []) {
    state.refused.set(step, text);
    state.asked.add(step);
  }
  return other;
}

/**
 * Up to `most` steps whose frames are missing and were not asked for, the nearest first; they count as asked for.
 * @param {State} state
 * @param {number} most
 */
export function takeMissing(state, most) {
  /** @type {number[]} */
  const missing = [], steps = state.run ? state.run.steps : 0;
  for (let away = 0; away < steps && missing.length < most; away++)
    for (const step of away ? [state.step + away, state.step - away] : [state.step])
      if (step >= 0 && step < steps && !state.frames.has(step) && !state.asked.has(step)) missing.push(step);
  for (const step of missing) state.asked.add(step);
  return missing;
}
