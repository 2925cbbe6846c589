/* A step as it looks where nothing says what in it does not fit: for whoever is to find that (tools/lessons.js).
 *
 * What the caches hold stays as it was observed; what they ought to hold, what was found about that, and the comparison with
 * a recompute are left out. So no panel has anything to mark.
 */

import { MODELS } from "../core/state.js";
import { sentenceOf } from "./slots.js";

/** @import { Cache, Frame } from "../core/frame.d.ts" */

/**
 * @param {Cache | null} cache
 * @returns {Cache | null}
 */
function unmarkedCache(cache) {
  if (!cache) return null;
  const { after, settled } = cache;
  return {
    ...cache, faults: [], fresh: 0, audit: null,
    // What is held counts as due. Lessons have no run in which a slot holds what no slot of the step held.
    after: after && { ...after, due: after.held.map((held, i) => held ?? after.due[i]), held: after.held.map((held, i) => held ?? after.due[i]), good: after.good.map(() => 1) },
    settled: { ...settled, step: settled.step.map(() => null) },
  };
}

/**
 * @param {Frame} frame
 * @returns {Frame}
 */
export function unmarkedFrame(frame) {
  const caches = { target: unmarkedCache(frame.caches.target), draft: unmarkedCache(frame.caches.draft) };
  const caption = `Cache update: ${MODELS.map((model) => `${model} ${sentenceOf(caches[model], "after")}`).join("; ")}`;
  return {
    ...frame, caches,
    verdicts: frame.verdicts.map((verdict) => ({ ...verdict, bonus: verdict.bonus && { ...verdict.bonus, fault: null } })),
    phases: { ...frame.phases, after: frame.phases.after.map((phase) => (phase.kind === "cache" ? { ...phase, caption } : phase)) },
  };
}
