/* Following links and coming back: the chain of causes, its links, and the steps in which something went wrong. */

import { frameNow, runDrawn } from "../core/state.js";
import { NARROW, NODE } from "./dock.js";
import { story } from "./findings.js";
import { faultHeadline, hitsOf, nextHit } from "./why.js";

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
  const places = { faults: ui.faults, verdicts: ui.verdicts, mask: ui.masks.target.picture, audit: ui.auditSaid, totals: ui.totals, findings: ui.checks };

  const tales = () => story(state.frames, runDrawn(state).steps);

  /** @param {Place} place */
  function stand({ step = state.step, node = null, why = false, part }) {
    act.show(step);
    Object.assign(state, { why, selected: null, phase: null });
    if (node === null) redraw();
    else act.select(node, true);
    if (part === "node" || part === "rows") atNode(part);
    else if (part) act.reveal(places[part]);
  }

  /**
   * Bring the selected node into sight: it is a tab of the sheet where the window is narrow, and beside a column an open panel
   * takes its room.
   * @param {"node" | "rows"} part the whole, or what may follow it
   */
  function atNode(part) {
    if (matchMedia(NARROW).matches) act.open(NODE);
    else if (state.asks) act.open("");
    if (part === "rows") ui.inspector.querySelector(".sv-rows")?.scrollIntoView({ block: "start" });
  }

  /** @param {Place} place */
  function follow(place) {
    state.trail.push({ step: state.step, node: state.offered ? null : state.selected, why: state.why });
    // A link that only shows a part of the page leaves the chain where it is.
    stand(place.part && place.node === undefined ? { why: state.why, ...place } : place);
  }

  function backtrack() {
    const before = state.trail.pop();
    if (before) stand(before);
    else if (state.why) why(state.selected !== null);
  }

  /** @param {boolean} open */
  function why(open) {
    const frame = frameNow(state);
    if (open && frame && !faultHeadline(frame, tales())) act.notice({ kind: "info", text: `Nothing is wrong in step ${state.step + 1}.` });
    else stand({ why: open });
  }

  /** @param {-1 | 1} way */
  function hit(way) {
    const step = nextHit(hitsOf(tales()), state.step, way);
    if (step !== undefined) stand({ step, why: state.why });
    else act.notice({ kind: "info", text: `${way > 0 ? "After" : "Before"} step ${state.step + 1} nothing is known to have gone wrong.` });
  }

  return { follow, backtrack, why, hit };
}
