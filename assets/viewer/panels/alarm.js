/* One line under the summary that says what is wrong further down, and goes there, and to where it began. */

import { el } from "../core/dom.js";
import { kindOf, saidOf, story, taleOf } from "./findings.js";

/** @import { Frame, Run } from "../core/frame.d.ts" */
/** @import { Act, State } from "../core/state.js" */

const HEADS = {
  first: "✕ Here something does not fit for the first time: ", again: "✕ Something in this step does not fit: ",
  after: "↳ Nothing new, but the cache is still wrong: ",
};

/**
 * @param {{alarm: HTMLElement, verdicts: HTMLElement, faults: HTMLElement}} ui
 * @param {Run} run
 * @param {Frame} frame
 * @param {State} state
 * @param {Act} act
 */
export function drawAlarm(ui, run, frame, state, act) {
  const tale = taleOf(story(state.frames, run.steps), frame.step), kind = kindOf(tale);
  const begun = [...new Set(tale.found.filter((one) => one.kind !== "first").map((one) => one.first))];
  ui.alarm.hidden = !kind;
  ui.alarm.classList.toggle("sv-after", kind === "after");
  ui.alarm.replaceChildren(...(kind ? [HEADS[kind]] : []),
    ...tale.found.flatMap((found) => [el("button", { type: "button", onclick: () => act.reveal(ui[found.place]) }, saidOf(found)), " "]),
    ...begun.flatMap((step) => [el("button", { type: "button", "data-act": "first-finding", onclick: () => act.show(step) }, `go to step ${step + 1}`), " "]));
}
