/* What does not fit in a step, and where it began: pure functions of the frames. */

import { MODELS } from "../core/state.js";

/** @import { Frame } from "../core/frame.d.ts" */

/**
 * @typedef {object} Finding
 * @property {string} name
 * @property {"verdicts" | "faults"} place the part of the page that shows it
 * @property {number} count
 * @property {number} first the step in which this began
 * @property {"first" | "again" | "after"} kind `again` where something arose in the step itself; `after` where what is found
 *   follows from step `first`
 */

/**
 * @typedef {object} Tale what is known of a step
 * @property {Finding[]} found
 * @property {Record<string, number>} before the first steps of what was wrong before this one, by name
 */

/**
 * @param {Frame} frame
 * @returns {{name: string, place: Finding["place"], count: number, fresh: number}[]}
 */
function findingsIn(frame) {
  const bonus = frame.verdicts.filter((verdict) => verdict.bonus?.fault).length;
  /** @type {ReturnType<typeof findingsIn>} */
  const found = [
    { name: "bonus token", place: "verdicts", count: bonus, fresh: bonus },
    ...MODELS.map((model) => ({ name: `${model} cache`, place: /** @type {"faults"} */ ("faults"), count: frame.caches[model]?.faults.length || 0, fresh: frame.caches[model]?.fresh || 0 })),
  ];
  return found.filter(({ count }) => count);
}

/**
 * Where each thing went wrong first, by step.
 *
 * A cache that an earlier step left wrong stays wrong until it is rebuilt. Steps that were not loaded yet are unknown.
 * @param {Map<number, Frame>} frames
 * @param {number} steps
 * @returns {Map<number, Tale>}
 */
export function story(frames, steps) {
  const told = new Map();
  /** @type {Record<string, number>} */
  let before = {};
  for (let step = 0; step < steps; step++) {
    const frame = frames.get(step);
    if (!frame) continue;
    if (frame.prefilled) before = Object.fromEntries(Object.entries(before).filter(([name]) => name === "bonus token"));
    const found = findingsIn(frame).map(({ name, place, count, fresh }) => {
      const known = before[name] !== undefined;
      return { name, place, count, first: known ? before[name] : step, kind: known ? (fresh ? "again" : "after") : "first" };
    });
    told.set(step, { found, before });
    before = { ...before, ...Object.fromEntries(found.map((one) => [one.name, one.first])) };
  }
  return told;
}

/**
 * What is known of a step whose frame is there.
 * @param {Map<number, Tale>} told
 * @param {number} step
 */
export const taleOf = (told, step) => /** @type {Tale} */ (told.get(step));

/**
 * The gravest kind of what was found in a step, or null.
 * @param {Tale} tale
 */
export const kindOf = (tale) => /** @type {const} */ (["first", "again", "after"]).find((kind) => tale.found.some((one) => one.kind === kind)) || null;

/** @param {Finding} finding */
export const countOf = ({ name, count }) => `${name}, ${count} finding${count > 1 ? "s" : ""}`;

/** @param {Finding} finding */
export const saidOf = (finding) => {
  const { kind, first } = finding;
  return `${countOf(finding)}${{ first: ", the first", again: `, anew after step ${first + 1}`, after: `, a consequence of step ${first + 1}` }[kind]}`;
};
