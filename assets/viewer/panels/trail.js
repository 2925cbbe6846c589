/* Following links and coming back: the chain of causes, its links, and the steps in which something went wrong. */

import { runDrawn } from "../core/state.js";
import { story } from "./findings.js";
import { hitsOf, nextHit } from "./why.js";

/** @import { Act, Place, State } from "../core/state.js" */
/** @import { Ui } from "../parts.js" */

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {Act} act whose other parts these use
 * @param {() => void} redraw
 * @returns {Pick<Act, "follow" | "backtrack" | "why" | "hit">}
 */
export function makeTrail(ui, state, act, redraw) {
  const places = { faults: ui.faults, verdicts: ui.verdicts, mask: ui.masks.target.picture, audit: ui.auditSaid, totals: ui.totals };

  /** @param {Place} place */
  function stand({ step = state.step, node = null, why = false, part }) {
    act.show(step);
    Object.assign(state, { why, selected: null, phase: null });
    if (node === null) redraw();
    else act.select(node, true);
    if (part) act.reveal(places[part]);
  }

  /** @param {Place} place */
  function follow(place) {
    state.trail.push({ step: state.step, node: state.selected, why: state.why });
    // A link that only shows a part of the page leaves the chain where it is.
    stand(place.part && place.node === undefined ? { why: state.why, ...place } : place);
  }

  function backtrack() {
    const before = state.trail.pop();
    if (before) stand(before);
    else if (state.why) why(state.selected !== null);
  }

  /** @param {boolean} open */
  const why = (open) => stand({ why: open });

  /** @param {-1 | 1} way */
  function hit(way) {
    const step = nextHit(hitsOf(story(state.frames, runDrawn(state).steps)), state.step, way);
    if (step !== undefined) stand({ step, why: state.why });
  }

  return { follow, backtrack, why, hit };
}
