/* The text that a run wrote, a segment a step, under the overview of all steps: one strip.
 *
 * Both are built when frames come in; a move only changes classes and scrolls.
 */

import { rowsOf } from "../core/columns.js";
import { el } from "../core/dom.js";
import { runDrawn } from "../core/state.js";
import { driving, looksOf } from "../core/words.js";
import { makeOverview } from "./overview.js";
import { timelineOf } from "./timeline.js";

/** @import { Frame, Run } from "../core/frame.d.ts" */
/** @import { Act, State } from "../core/state.js" */

const FOUND = { first: "sv-found", again: "sv-found-again", after: "sv-found-after" };

/**
 * @typedef {object} Segment what one step wrote
 * @property {Frame | undefined} frame from which it was made; none where it has not come yet
 * @property {HTMLElement} box
 * @property {HTMLElement[]} words
 * @property {string} said
 */

/**
 * @param {{text: HTMLElement, timeline: HTMLElement, range: HTMLInputElement, rangeSaid: HTMLElement}} ui
 * @param {State} state
 * @param {Pick<Act, "show" | "range">} act
 */
export function makeText(ui, state, act) {
  const overview = makeOverview(ui, state, act);
  /** @type {Segment[]} */
  let segments = [];
  /** @type {number | null} */
  let at = null;
  let shown = "", looking = 0, isRanged = false;
  ui.text.addEventListener("scroll", look, { passive: true });
  // A double click opens a step and marks no word; text is marked by dragging.
  ui.text.addEventListener("mousedown", (event) => event.detail > 1 && event.preventDefault());

  /** Segments whose frame has come since, and the overview. */
  function build() {
    const run = runDrawn(state);
    if (shown !== run.id) {
      shown = run.id;
      segments = [];
      ui.text.replaceChildren(el("span", { class: "sv-prompt", title: run.prompt }, oneLine(run.prompt)));
    }
    for (const { box } of segments.splice(run.steps)) box.remove();
    for (let step = 0; step < run.steps; step++) {
      const frame = state.frames.get(step), old = segments[step];
      if (old && old.frame === frame) continue;
      segments[step] = segmentOf(run, step, frame);
      if (old) old.box.replaceWith(segments[step].box);
      else ui.text.append(segments[step].box);
    }
    at = null;
    buildOverview();
  }

  function buildOverview() {
    const steps = timelineOf(state.frames, runDrawn(state).steps);
    for (const { step, kind, said } of steps) {
      segments[step].said = said;
      for (const [name, found] of Object.entries(FOUND)) segments[step].box.classList.toggle(found, name === kind);
    }
    overview.build(steps);
  }

  /**
   * Mark the current step.
   * @param {boolean} written false while its phase comes before the commit
   */
  function move(written) {
    const from = at === null ? 0 : Math.min(at, state.step), to = at === null ? segments.length - 1 : Math.max(at, state.step);
    for (let step = from; step <= to; step++) mark(step, written);
    overview.move(written);
    // The sentence of a range takes room from the words.
    if (at !== state.step || isRanged !== Boolean(state.range)) centre(segments[state.step]?.box);
    at = state.step;
    isRanged = Boolean(state.range);
  }

  /**
   * @param {number} step
   * @param {boolean} written
   */
  function mark(step, written) {
    const segment = segments[step], now = step === state.step, frame = state.frames.get(step);
    if (!segment) return;
    segment.box.classList.toggle("sv-now", now);
    segment.box.classList.toggle("sv-unwritten", now && !written);
    segment.box.title = now && !written ? `step ${step + 1}` : segment.said;
    if (now) segment.box.setAttribute("aria-current", "step");
    else segment.box.removeAttribute("aria-current");
    segment.words.forEach((word, i) => {
      word.classList.toggle("sv-later", step > state.step || (now && !written));
      // Only the words of the step in sight belong to nodes of the tree in sight.
      word.removeAttribute("data-node");
      word.removeAttribute("data-bonus");
      if (!now || !frame) return;
      const { path } = driving(frame);
      if (i < path.length) word.dataset.node = String(path[i]);
      else if (driving(frame).bonus) word.dataset.bonus = frame.driver;
    });
  }

  /** @param {HTMLElement | undefined} box */
  function centre(box) {
    if (box) ui.text.scrollLeft = box.offsetLeft + (box.offsetWidth - ui.text.clientWidth) / 2;
    look();
  }

  /** Show in the overview which steps' words are in sight. */
  function look() {
    cancelAnimationFrame(looking);
    looking = requestAnimationFrame(() => {
      const left = ui.text.scrollLeft, right = left + ui.text.clientWidth;
      const first = segments.findIndex(({ box }) => box.offsetLeft + box.offsetWidth > left + 8), last = segments.findLastIndex(({ box }) => box.offsetLeft < right - 8);
      overview.see(first < 0 || last < first || (first === 0 && last === segments.length - 1) ? null : [first, last]);
    });
  }

  return { build, move };
}

/** @param {string} text line breaks made visible: the strip has one line */
const oneLine = (text) => text.replace(/\r?\n/g, "⏎");

/**
 * @param {Run} run
 * @param {number} step
 * @param {Frame | undefined} frame
 * @returns {Segment}
 */
function segmentOf(run, step, frame) {
  const rows = frame ? rowsOf(frame.commit) : [];
  const words = rows.map(({ piece, origin }) => el("span", { class: `sv-word sv-${origin}`, "data-step": step }, oneLine(piece) || "◦"));
  const dots = el("div", { class: "sv-segdots", "aria-hidden": "true" }, rows.map(({ origin }) => el("i", { class: `sv-dot-${origin}` })), frame && driving(frame).otherMode ? el("b", {}, "≠") : null);
  const style = frame ? `--sv-driver: var(--sv-${looksOf(run, frame.driver).role})` : null, unknown = el("span", { class: "sv-unknown" }, "…");
  const box = el("div", { class: "sv-seg", "data-step": step, style }, dots, el("div", { class: "sv-words" }, frame ? [words, unknown] : el("span", { class: "sv-gap" }, " … ")));
  return { frame, box, words, said: "" };
}
