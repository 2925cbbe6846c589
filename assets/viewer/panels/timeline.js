/* What the timeline shows of every step: a pure function of the frames. */

import { kindOf, saidOf, story, taleOf } from "./findings.js";

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { Finding } from "./findings.js" */

/**
 * @typedef {object} TimelineStep
 * @property {number} step
 * @property {{verifier: string, accepted: number, share: number, drives: boolean}[]} bars accepted tokens of every verifier that
 *   is shown; share is of the longest path in the run
 * @property {Finding["kind"] | null} kind of what does not fit there
 * @property {string} wrong that in words, or ""
 * @property {string} said the step in words
 */

/**
 * @param {Map<number, Frame>} frames those that have come
 * @param {number} steps of the run
 * @param {Set<string>} hidden verifiers
 * @returns {TimelineStep[]}
 */
export function timelineOf(frames, steps, hidden) {
  const tales = story(frames, steps);
  let deepest = 1;
  for (const frame of frames.values()) for (const verdict of frame.verdicts) deepest = Math.max(deepest, verdict.path.length);
  return Array.from({ length: steps }, (_, step) => {
    const frame = frames.get(step);
    if (!frame) return { step, bars: [], kind: null, wrong: "", said: `step ${step + 1}: accepted not loaded` };
    const tale = taleOf(tales, step), kind = kindOf(tale), wrong = tale.found.map(saidOf).join("; ");
    const accepted = frame.verdicts.map((verdict) => `${verdict.verifier} ${verdict.path.length}`).join(", ");
    return {
      step, kind, wrong, said: `step ${step + 1}: accepted ${accepted}${wrong ? `; ${kind === "after" ? "↳" : "✕"} ${wrong}` : ""}`,
      bars: frame.verdicts.filter((verdict) => !hidden.has(verdict.verifier)).map(({ verifier, path }) => ({
        verifier, accepted: path.length, share: path.length / deepest, drives: verifier === frame.driver,
      })),
    };
  });
}
