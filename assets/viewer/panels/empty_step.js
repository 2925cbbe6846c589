/* What stands where a step would: that it is on its way, that it cannot be shown, or that there is none. */

import { el } from "../core/dom.js";

/** @import { Run } from "../core/frame.d.ts" */
/** @import { State } from "../core/state.js" */

/**
 * @param {HTMLElement} place
 * @param {State} state
 * @param {Run} run
 */
export function drawEmpty(place, state, { steps, failed, engine }) {
  const refused = steps > 0 && state.refused.get(state.step), number = state.step + 1;
  place.classList.toggle("sv-loading", steps > 0 && !refused);
  const [head, said] = refused ? [`Step ${number} cannot be shown here.`, refused]
    : steps ? [`Loading step ${number} …`, "Its frame is on the way; the other steps can be opened meanwhile."]
      : failed ? ["This run has no step that went through.", "Its first one failed; what is known of it stands above."]
        : engine ? ["This recording has no step.", `${engine.said}. It ends before its first step.`]
          : ["This run has no step yet.", "Press Step to draft the first tree, or Run to decode until the end."];
  place.replaceChildren(el("b", {}, head), el("span", {}, said));
}
