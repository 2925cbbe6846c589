/* The generated text and the timeline. Both are built when frames come in; a move only changes classes. */

import { rowsOf } from "../core/columns.js";
import { el } from "../core/dom.js";
import { runDrawn } from "../core/state.js";
import { driving, looksOf } from "../core/words.js";
import { timelineOf } from "./timeline.js";

/** @import { State } from "../core/state.js" */

const MOST_COLUMNS = 400, FOUND = { first: "sv-found", again: "sv-found-again", after: "sv-found-after" };

/**
 * @param {{text: HTMLElement, timeline: HTMLElement}} ui
 * @param {State} state
 */
export function makeText(ui, state) {
  /** @type {HTMLElement[][]} */
  let words = [];
  /** @type {HTMLElement[]} */
  let columns = [];
  /** @type {number | null} */
  let at = null;

  /** Every committed token as a word of its own; steps that were not loaded yet are dots. */
  function build() {
    const run = runDrawn(state), spans = [el("span", { class: "sv-prompt" }, run.prompt)];
    words = [];
    at = null;
    for (let step = 0; step < run.steps; step++) {
      const frame = state.frames.get(step);
      const made = frame
        ? rowsOf(frame.commit).map(({ piece, label, origin }) => el("span", { class: `sv-word sv-${origin}`, "data-step": step, title: `step ${step + 1}: ${label}` }, piece || "◦"))
        : [el("span", { class: "sv-gap" }, " … ")];
      words.push(made);
      spans.push(...made);
    }
    ui.text.replaceChildren(...spans);
    buildTimeline();
  }

  function buildTimeline() {
    const run = runDrawn(state);
    columns = timelineOf(state.frames, Math.min(run.steps, MOST_COLUMNS), state.hidden).map(({ step, bars, kind, wrong, said }) =>
      el("button", { type: "button", tabindex: -1, class: kind && FOUND[kind], "data-step": step, title: said, "aria-label": `Step ${step + 1}${wrong ? `, ${wrong}` : ""}` },
        bars.map(({ verifier, share, drives }) => el("span", { class: drives ? "sv-driver" : null, style: `height: ${2 + 24 * share}px; background: var(--sv-${looksOf(run, verifier).role})` }))));
    ui.timeline.replaceChildren(...columns);
    markColumn(state.step);
  }

  /**
   * Mark the current step.
   * @param {boolean} written false while its phase comes before the commit
   */
  function move(written) {
    const from = at === null ? 0 : Math.min(at, state.step), to = at === null ? words.length - 1 : Math.max(at, state.step);
    for (let step = from; step <= to; step++) words[step]?.forEach((word, i) => place(word, step, i, written));
    if (at !== state.step) {
      if (at !== null) {
        columns[at]?.classList.remove("sv-now");
        columns[at]?.removeAttribute("aria-current");
      }
      markColumn(state.step);
      scrollTo(words[state.step]?.[0]);
    }
    at = state.step;
  }

  /**
   * @param {HTMLElement} word
   * @param {number} step
   * @param {number} i its place among the committed tokens
   * @param {boolean} written
   */
  function place(word, step, i, written) {
    const frame = state.frames.get(step), now = step === state.step;
    word.classList.toggle("sv-now", now);
    word.classList.toggle("sv-later", step > state.step || (now && !written));
    // Only the words of the step in sight belong to nodes of the tree in sight.
    word.removeAttribute("data-node");
    word.removeAttribute("data-bonus");
    if (!now || !frame) return;
    const { path } = driving(frame);
    if (i < path.length) word.dataset.node = String(path[i]);
    else word.dataset.bonus = frame.driver;
  }

  /** @param {number} step */
  function markColumn(step) {
    const column = columns[step];
    if (!column) return;
    column.classList.add("sv-now");
    column.setAttribute("aria-current", "step");
    ui.timeline.scrollLeft = column.offsetLeft - ui.timeline.offsetLeft - ui.timeline.clientWidth / 2;
  }

  /** @param {HTMLElement | undefined} word */
  function scrollTo(word) {
    if (word) ui.text.scrollTop = Math.max(0, word.offsetTop - ui.text.offsetTop - ui.text.clientHeight / 2);
  }

  return { build, buildTimeline, move };
}
