/* Where something in a step does not fit, that is its headline: what, since when, and the ways to why and to other faults. */

import { el } from "../core/dom.js";
import { markFaults } from "../tree/draw.js";
import { countOf, kindOf, saidOf, taleOf } from "./findings.js";
import { said } from "./said.js";
import { faultHeadline, faultyNodes } from "./why.js";
import { hitButtons, isWhyOpen } from "./why_panel.js";

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { Act, State } from "../core/state.js" */
/** @import { Ui } from "../parts.js" */
/** @import { Tale } from "./findings.js" */

const LEADS = { first: "✕ First here: ", again: "✕ Something in this step does not fit: ", after: "↳ Nothing new here: " };

/**
 * @param {Ui} ui
 * @param {Frame} frame
 * @param {State} state
 * @param {Map<number, Tale>} tales
 * @param {Act} act
 */
export function drawAlarm(ui, frame, state, tales, act) {
  const tale = taleOf(tales, frame.step), kind = kindOf(tale), head = faultHeadline(frame, tales);
  const begun = [...new Set(tale.found.filter((one) => one.kind !== "first").map((one) => one.first))];
  ui.alarm.hidden = !kind;
  // What only follows from an earlier step stands below the headline, and not in its place.
  if ((kind === "after") === (ui.alarm.parentElement === ui.said)) kind === "after" ? ui.headbox.after(ui.alarm) : ui.said.prepend(ui.alarm);
  ui.alarm.classList.toggle("sv-after", kind === "after");
  markFaults(ui.scene, faultyNodes(frame));
  if (!kind || !head) return ui.alarm.replaceChildren();
  ui.alarm.replaceChildren(
    el("strong", { class: "sv-alarmtitle" }, `${kind === "after" ? "↳" : "✕"} ${head.title}`), el("span", { class: "sv-alarmsub" }, said(head.sub, act)),
    el("span", { class: "sv-alarmways" },
      el("button", { type: "button", "data-act": "why", "aria-pressed": String(isWhyOpen(state)), title: "The chain of causes (w)", onclick: () => act.why(!isWhyOpen(state)) }, "Why?"),
      begun.map((step) => el("button", { type: "button", "data-act": "first-finding", onclick: () => act.show(step) }, `First cause: step ${step + 1}`)), hitButtons(tales, frame.step, act)),
    el("span", { class: "sv-alarmfound" }, LEADS[kind], tale.found.map((found) => [el("button", { type: "button", "data-act": "finding", onclick: () => act.reveal(ui[found.place]) }, found.kind === kind ? countOf(found) : saidOf(found)), " "])));
}
