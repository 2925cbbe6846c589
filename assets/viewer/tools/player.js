/* Playing a run: step after step, or, inside a step, phase after phase. */

/** @import { Ui } from "../parts.js" */
/** @import { State } from "../core/state.js" */

const STEP_MS = 900, PHASE_MS = 1800;

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {{atEnd: () => boolean, restart: (inside: boolean) => void, on: () => void}} moves
 */
export function makePlayer(ui, state, { atEnd, restart, on }) {
  function play() {
    if (state.playing) return stop();
    if (!state.run?.steps) return;
    const inside = state.phase !== null;
    if (atEnd()) restart(inside);
    state.playing = setInterval(() => (atEnd() ? stop() : on()), inside ? PHASE_MS : STEP_MS);
    say("❚❚", "Pause");
  }

  function stop() {
    if (state.playing) clearInterval(state.playing);
    state.playing = null;
    say("►", "Play");
  }

  /**
   * @param {string} sign
   * @param {string} name
   */
  function say(sign, name) {
    ui.play.textContent = sign;
    ui.play.setAttribute("aria-label", name);
  }

  return { play, stop };
}
