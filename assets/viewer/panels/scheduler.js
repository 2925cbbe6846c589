/* The panel of the dock that is open, one part a task, so that a key press waits for one of them at most.
 *
 * A new move cancels what is still to be drawn. Tables are made when their disclosure is open.
 */

import { MODELS } from "../core/state.js";
import { auditTable, drawAudits } from "./audits.js";
import { slotTable } from "./cache_table.js";
import { drawChecks } from "./checks.js";
import { story, taleOf } from "./findings.js";
import { drawMasks, maskTable } from "./masks.js";
import { nodeTable } from "./step.js";
import { drawTotals, stepsTable, totalsShown, totalsTable } from "./totals.js";

/** @import { Frame, Run } from "../core/frame.d.ts" */
/** @import { Act, State, View } from "../core/state.js" */
/** @import { Ui } from "../parts.js" */

/**
 * Draw the open panel for `frame`; `done` is called after its last part.
 * @param {Ui} ui
 * @param {State} state
 * @param {Run} run
 * @param {Frame} frame
 * @param {View} view
 * @param {Act} act
 * @param {() => void} done
 */
export function drawPanels(ui, state, run, frame, view, act, done) {
  const tale = taleOf(story(state.frames, run.steps), frame.step);
  /** @type {Record<string, (() => void)[]>} */
  const parts = {
    cache: [() => fill(ui.slotTable, () => MODELS.flatMap((model) => slotTable(frame, model, act, state.unmarked)))],
    totals: [() => drawTotals(ui, run, state, act), () => fill(ui.totalsTable, () => [totalsTable(totalsShown(run, state))]), () => fill(ui.stepsTable, () => [stepsTable(run, state.frames, act)])],
    masks: [() => drawMasks(ui, state, frame, view, act), () => fill(ui.maskTable, () => MODELS.flatMap((model) => maskTable(frame, model, act)))],
    audit: [() => drawAudits(ui, frame, tale, Boolean(run.engine)), () => fill(ui.auditTable, () => MODELS.flatMap((model) => auditTable(frame, model)))],
    findings: [() => drawChecks(ui, run, state, act)],
    table: [() => fill(ui.nodeTable, () => [nodeTable(run, frame, act)])],
  };
  const tasks = [...(parts[state.dock] || []), done];
  cancelPanels(state);
  let at = 0;
  const next = () => {
    tasks[at++]();
    if (at < tasks.length) state.later = setTimeout(next, 0);
  };
  // The picture that was asked for first: the browser paints it before the first of these.
  state.soon = requestAnimationFrame(() => (state.later = setTimeout(next, 0)));
}

/** @param {State} state */
export function cancelPanels(state) {
  cancelAnimationFrame(state.soon);
  clearTimeout(state.later);
}

/**
 * Make the content of a disclosure again if it is open, else when it is opened.
 * @param {HTMLDetailsElement} box
 * @param {() => Node[]} make
 */
function fill(box, make) {
  box.ontoggle = () => box.open && box.children.length === 1 && box.append(...make());
  while (box.children.length > 1) box.lastChild?.remove();
  if (box.open) box.append(...make());
}
