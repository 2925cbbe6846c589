/* Paints the current step: the tree at once, the words beside it right after, everything else when there is time.
 *
 * What did not change is not painted again. A move that is followed by another one never pays for the lower panels.
 */

import { rowsIn } from "./core/recorded.js";
import { frameDrawn, runDrawn } from "./core/state.js";
import { looksOf } from "./core/words.js";
import { drawAlarm } from "./panels/alarm.js";
import { story, taleOf } from "./panels/findings.js";
import { flyWords } from "./panels/flight.js";
import { drawHeadline } from "./panels/headline.js";
import { nodePanel } from "./panels/inspector.js";
import { makeCache } from "./panels/kv_cache.js";
import { drawDots } from "./panels/phase_dots.js";
import { cancelPanels, drawPanels } from "./panels/scheduler.js";
import { phasePanel, stepPanel } from "./panels/step.js";
import { verdictTable } from "./panels/verdicts.js";
import { isWhyOpen, whyPanel } from "./panels/why_panel.js";
import { knownIn, phasesOf } from "./tree/phases.js";

/** @import { Frame, Run } from "./core/frame.d.ts" */
/** @import { Motion } from "./core/motion.js" */
/** @import { Act, State, View } from "./core/state.js" */
/** @import { Ui } from "./parts.js" */
/** @import { makeSelection } from "./tree/selection.js" */
/** @import { makeTree } from "./tree/tree.js" */

const QUIET_MS = 70;
/** The new step is seen at once, and as it is after this time. */
const FADE_MS = 160, FADED = 0.3;

/**
 * The verifier that is watched: the one that was chosen, if it judged this tree.
 * @param {State} state
 * @param {Frame} frame
 */
export const lensOf = (state, frame) => (state.lens && frame.tree.states[state.lens] ? state.lens : frame.driver);

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {ReturnType<typeof makeSelection>} selection
 * @param {ReturnType<typeof makeTree>} tree
 * @param {Act} act
 * @param {Motion} motion
 */
export function makeRenderer(ui, state, selection, tree, act, motion) {
  const drawCache = makeCache(ui, state, act, motion);
  let lowerKey = "";
  /** @type {Frame | null} */
  let lowerFrame = null;
  let after = 0;
  /** @type {number | undefined} */
  let soon;
  /** @type {number | undefined} */
  let quiet;

  /**
   * @param {Run} run
   * @param {Frame} frame
   * @returns {View}
   */
  function viewOf(run, frame) {
    const lens = lensOf(state, frame), shown = new Set(run.verifiers.map((v) => v.name).filter((name) => !state.hidden.has(name)));
    const known = (state.known = knownIn(frame, lens, state.phase));
    tree.find.look();
    const { selected, proofs, compare, found } = state, open = new Set([...(state.open.get(state.step) || []), ...(found?.open || [])]);
    return { lens, shown, selected, open, compare, found: found?.nodes || null, proofs, known };
  }

  /** @param {"move" | "look" | "select" | "run"} change another step, another look at the same, only another selection, or only a longer run */
  function paint(change) {
    const run = runDrawn(state), frame = frameDrawn(state), view = viewOf(run, frame), before = ui.root.dataset.drawn;
    if (change === "run") {
      // Nothing that a reader looks at is made again.
      words(run, frame, view);
      drawAlarm(ui, frame, state, story(state.frames, run.steps), act);
      return lower(run, frame, view);
    }
    tree.draw(run, frame, view);
    words(run, frame, view);
    if (motion.due()) move(change, before === drawnOf(run, -1));
    cancelAnimationFrame(after);
    clearTimeout(soon);
    clearTimeout(quiet);
    cancelPanels(state);
    // Panels that a reader just asked for are there at once; after a move they may come one frame behind the tree.
    if (change === "move") after = requestAnimationFrame(() => (soon = setTimeout(() => (beside(run, frame, view, true), lower(run, frame, view)), 0)));
    else {
      beside(run, frame, view, false);
      lower(run, frame, view);
    }
  }

  /** What the pointer was on has gone; a pointer that rests does not say so. */
  function forgetPointer() {
    ui.tip.hidden = true;
    act.light(null);
  }

  /**
   * What is in sight, by name.
   * @param {Run} run
   * @param {number} [by] how many phases on
   */
  const drawnOf = (run, by = 0) => `${run.id}/${state.step}/${state.phase === null ? "" : state.phase + by}`;

  /**
   * @param {"move" | "look" | "select"} change
   * @param {boolean} isNext whether it is the phase after the one that was in sight
   */
  function move(change, isNext) {
    if (change === "move") {
      for (const place of [ui.stage, ui.said]) motion.run(place, "step", { opacity: FADED }, FADE_MS);
      tree.moveSpine(motion);
    } else if (isNext && ui.root.dataset.phase === "commit") flyWords(ui, motion);
  }

  /**
   * @param {Run} run
   * @param {Frame} frame
   * @param {View} view
   */
  function words(run, frame, view) {
    const { phase } = state, all = phase === null ? [] : phasesOf(frame, view.lens), at = phase === null ? null : all[phase];
    if (ui.root.dataset.drawn !== drawnOf(run)) forgetPointer();
    ui.root.dataset.rows = rowsIn(frame);
    ui.dock.leaveOut("findings", !run.findings);
    ui.root.dataset.phase = at ? at.kind : "";
    ui.root.dataset.drawn = drawnOf(run);
    const said = at ? at.caption : frame.summary;
    if (ui.summary.textContent !== said) ui.summary.textContent = said;
    ui.root.style.setProperty("--sv-driver", `var(--sv-${looksOf(run, frame.driver).role})`);
    drawHeadline(ui, frame, view.lens, phase, state.starting);
    drawDots(ui, frame, view.lens, phase, act.phase);
    ui.phaseWhere.textContent = phase === null ? "step into" : `phase ${phase + 1} of ${all.length}`;
    ui.phaseLeave.hidden = phase === null;
    ui.phaseBack.disabled = phase === 0 && state.step === 0;
    ui.phaseNext.disabled = phase === all.length - 1 && state.step === run.steps - 1;
  }

  /* ------------------------------------------------------------------------------------------------- panels */

  /**
   * @param {Run} run
   * @param {Frame} frame
   * @param {View} view
   * @param {boolean} moved
   */
  function beside(run, frame, view, moved) {
    const { selected, phase } = state;
    const tales = story(state.frames, run.steps), why = isWhyOpen(state) && view.known.parts ? whyPanel(state, tales, frame, act) : null;
    const beside = why || (selected !== null ? nodePanel(run, frame, selected, view, act)
      : phase !== null ? phasePanel(frame, view.lens, phase, act.phase) : stepPanel(run, frame, view));
    ui.inspector.replaceChildren(...beside.filter((part) => part !== null));
    const current = /** @type {HTMLElement | null} */ (ui.inspector.querySelector("[aria-current=step]"));
    ui.inspector.scrollTop = current ? Math.max(0, current.offsetTop - ui.inspector.clientHeight / 2) : 0;
    tree.legend(run, frame, view);
    drawAlarm(ui, frame, state, tales, act); // beside the tree, so it must not speak of the step before
    ui.verdicts.replaceChildren(verdictTable(run, frame, view, act));
    drawCache(frame, view, taleOf(story(state.frames, run.steps), frame.step));
    selection.refresh();
    if (moved && selected !== null && !state.offered) tree.camera.show(selected);
  }

  /* ------------------------------------------------------------------------------------------- lower panels */

  /**
   * The panel of the dock that is open: when the keys have been quiet for a moment.
   * @param {Run} run
   * @param {Frame} frame
   * @param {View} view
   */
  function lower(run, frame, view) {
    const tale = JSON.stringify(story(state.frames, run.steps).get(frame.step));
    const key = [run.id, frame.step, run.steps, state.selected, state.range && [state.range, state.frames.size], [...view.shown], [...view.open], tale, state.dock].join();
    const done = () => {
      selection.refresh();
      ui.root.dataset.painted = `${run.id}/${state.step}`;
      ui.dock.box.dataset.drawn = state.dock;
    };
    if (key === lowerKey && frame === lowerFrame) return done();
    lowerKey = "";
    const draw = () => drawPanels(ui, state, run, frame, view, act, () => {
      lowerKey = key;
      lowerFrame = frame;
      done();
    });
    quiet = setTimeout(draw, QUIET_MS);
  }

  return { paint };
}
