/* What the overview strip shows of every step, and how many steps it puts into one bar: pure functions of the frames. */

import { kindOf, saidOf, story, taleOf } from "./findings.js";

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { Finding } from "./findings.js" */

/**
 * @typedef {object} TimelineStep
 * @property {number} step
 * @property {string | null} driver null where the frame has not come yet
 * @property {number} drafts accepted drafts that became text
 * @property {number} bonus 1 where the bonus token became text
 * @property {Finding["kind"] | null} kind of what does not fit there
 * @property {string} wrong that in words, or ""
 * @property {string} said the step in words, with what every verifier accepted
 */

/**
 * @param {Map<number, Frame>} frames those that have come
 * @param {number} steps of the run
 * @returns {TimelineStep[]}
 */
export function timelineOf(frames, steps) {
  const tales = story(frames, steps);
  return Array.from({ length: steps }, (_, step) => {
    const frame = frames.get(step);
    if (!frame) return { step, driver: null, drafts: 0, bonus: 0, kind: null, wrong: "", said: `step ${step + 1}: accepted not loaded` };
    const tale = taleOf(tales, step), kind = kindOf(tale), wrong = tale.found.map(saidOf).join("; ");
    const accepted = frame.verdicts.map((verdict) => `${verdict.verifier} ${verdict.path.length}`).join(", ");
    const drafts = frame.commit.origin.filter((origin) => origin === "accepted").length;
    return {
      step, driver: frame.driver, drafts, bonus: frame.commit.origin.length - drafts, kind, wrong,
      said: `step ${step + 1}: accepted ${accepted}${wrong ? `; ${kind === "after" ? "↳" : "✕"} ${wrong}` : ""}`,
    };
  });
}

/** Pixels that the bar of one step, or of some together, has at least. */
const NARROWEST = 2.5;

/**
 * @typedef {object} Bin steps that share a bar
 * @property {number} first
 * @property {number} last
 * @property {number} x in pixels
 * @property {number} width
 * @property {number} drafts that became text in a step, on average
 * @property {number} bonus
 * @property {number} most new tokens of one step
 * @property {string | null} driver of its first step that has come
 * @property {Finding["kind"] | null} kind the gravest
 */

/**
 * The bars of a strip of `width` pixels: one a step as long as there is room, else one for some steps together.
 * @param {TimelineStep[]} steps
 * @param {number} width
 * @returns {Bin[]}
 */
export function binsOf(steps, width) {
  const each = width / Math.max(1, steps.length), many = Math.max(1, Math.ceil(NARROWEST / each)), bins = [];
  for (let first = 0; first < steps.length; first += many) {
    const own = steps.slice(first, first + many), come = own.filter((one) => one.driver !== null), mean = (/** @type {"drafts" | "bonus"} */ of) =>
      come.reduce((sum, one) => sum + one[of], 0) / Math.max(1, come.length);
    bins.push({
      first, last: first + own.length - 1, x: first * each, width: own.length * each, drafts: mean("drafts"), bonus: mean("bonus"),
      most: Math.max(0, ...come.map((one) => one.drafts + one.bonus)), driver: come.length ? come[0].driver : null,
      kind: /** @type {const} */ (["first", "again", "after"]).find((kind) => own.some((one) => one.kind === kind)) || null,
    });
  }
  return bins;
}

/**
 * A range with one of its ends further on. It has its other end at the step in sight, where it begins; of one that was drawn
 * elsewhere, the end on that side moves.
 * @param {import("../core/state.js").Range | null} range
 * @param {number} step in sight
 * @param {number} way how many steps on, or back where it is negative
 * @param {number} steps of the run
 * @returns {import("../core/state.js").Range}
 */
export function extended(range, step, way, steps) {
  const [first, last] = range || [step, step], isLast = first === step && last === step ? way > 0 : first === step || (last !== step && way > 0);
  const held = isLast ? first : last, moved = Math.max(0, Math.min(steps - 1, (isLast ? last : first) + way));
  return [Math.min(held, moved), Math.max(held, moved)];
}

/**
 * The step at a place of the strip.
 * @param {number} x in pixels
 * @param {number} width
 * @param {number} steps
 */
export const stepAt = (x, width, steps) => Math.max(0, Math.min(steps - 1, Math.floor((x / Math.max(1, width)) * steps)));
