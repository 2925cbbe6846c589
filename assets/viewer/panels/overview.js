/* The overview of a run: every step as a bar of what became text, drafts filled, the bonus token hollow.
 *
 * A click goes to a step; drawing over some of them, or a click with Shift held, chooses a range, which the totals follow.
 * It is built when frames come in; a move only shifts its marks.
 */

import { el } from "../core/dom.js";
import { runDrawn } from "../core/state.js";
import { looksOf } from "../core/words.js";
import { totalsOf } from "./range_totals.js";
import { binsOf, stepAt } from "./timeline.js";

/** @import { Act, Range, State } from "../core/state.js" */
/** @import { Bin, TimelineStep } from "./timeline.js" */

const UNKNOWN = 780, HEIGHT = 20, TOP = 3, DRAWN = 4, FOUND = { first: "sv-found", again: "sv-found-again", after: "sv-found-after" };

/**
 * @param {{timeline: HTMLElement, range: HTMLInputElement, rangeSaid: HTMLElement}} ui
 * @param {State} state
 * @param {Pick<Act, "show" | "range">} act
 */
export function makeOverview(ui, state, act) {
  const mark = (/** @type {string} */ name) => el("div", { class: name, hidden: true });
  const bars = el("div", { class: "sv-bins" }), now = mark("sv-overnow"), seen = mark("sv-overseen"), brush = mark("sv-overbrush");
  // The slider is what the keys and a screen reader have of the strip.
  ui.timeline.replaceChildren(bars, brush, seen, now, ui.range);

  /** @type {TimelineStep[]} */
  let shown = [];
  let width = 0;
  // How many steps share a bar depends on the room.
  new ResizeObserver(() => shown.length && ui.timeline.clientWidth !== width && build(shown)).observe(ui.timeline);

  /** @param {TimelineStep[]} steps */
  function build(steps) {
    shown = steps;
    width = ui.timeline.clientWidth;
    const run = runDrawn(state), bins = binsOf(steps, width || UNKNOWN), most = Math.max(2, ...bins.map((bin) => bin.most));
    bars.replaceChildren(...bins.map((bin) => barOf(bin, steps, (HEIGHT - TOP) / most, bin.driver === null ? "line" : looksOf(run, bin.driver).role)));
  }

  /**
   * Lay a mark over some steps.
   * @param {HTMLElement} box
   * @param {Range | null} range
   */
  function lay(box, range) {
    const { steps } = runDrawn(state);
    box.hidden = !range || !steps;
    if (range) box.style.cssText = `left:${(100 * range[0]) / steps}%;width:max(4px,${(100 * (range[1] + 1 - range[0])) / steps}%)`;
  }

  /** @param {boolean} written false while the phase in sight comes before the commit */
  function move(written) {
    now.classList.toggle("sv-unwritten", !written);
    lay(now, [state.step, state.step]);
    lay(brush, state.range);
    ui.rangeSaid.hidden = !state.range;
    if (state.range) ui.rangeSaid.replaceChildren(el("span", {}, saidOfRange(state, state.range)), el("button", { type: "button", "aria-label": "Leave the range", title: "Leave the range (Esc)", onclick: () => act.range(null) }, "×"));
  }

  /* ---------------------------------------------------------------------------------------------- pointing */

  /** @type {{x: number, step: number, drawn: boolean} | null} */
  let held = null;
  const under = (/** @type {PointerEvent} */ event) => {
    const box = ui.timeline.getBoundingClientRect();
    return stepAt(event.clientX - box.left, box.width, runDrawn(state).steps);
  };
  ui.timeline.addEventListener("pointerdown", (event) => {
    if (event.button || !state.run?.steps) return;
    ui.timeline.setPointerCapture(event.pointerId);
    held = { x: event.clientX, step: under(event), drawn: false };
  });
  ui.timeline.addEventListener("pointermove", (event) => {
    if (!held || Math.abs(event.clientX - held.x) < DRAWN) return;
    held.drawn = true;
    lay(brush, between(held.step, under(event)));
  });
  ui.timeline.addEventListener("pointerup", (event) => {
    if (!held) return;
    const { step, drawn } = held, at = under(event);
    held = null;
    if (drawn) act.range(between(step, at));
    else if (event.shiftKey) act.range(between(state.step, at));
    else act.show(at);
  });
  ui.timeline.addEventListener("pointercancel", () => {
    held = null;
    lay(brush, state.range);
  });

  return { build, move, see: (/** @type {Range | null} */ range) => lay(seen, range) };
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {Range}
 */
const between = (a, b) => [Math.min(a, b), Math.max(a, b)];

/**
 * @param {Bin} bin
 * @param {TimelineStep[]} steps
 * @param {number} unit pixels of a token
 * @param {string} role of a colour
 */
function barOf({ first, last, x, width, drafts, bonus, most, kind }, steps, unit, role) {
  const wide = Math.max(1, width - (width > 5 ? 2 : 0.5)), own = steps.slice(first, last + 1), wrong = own.filter((one) => one.wrong).map(({ step, wrong: what }) => `step ${step + 1}: ${what}`);
  const said = first === last ? own[0].said : `steps ${first + 1} to ${last + 1}: ${(drafts + bonus).toFixed(2)} new tokens a step, at most ${most}${wrong.length ? `; ✕ ${wrong.join("; ")}` : ""}`;
  const block = (/** @type {string} */ name, /** @type {number} */ from, /** @type {number} */ height) =>
    el("i", { class: name, style: `bottom:${(from * unit).toFixed(1)}px;height:${Math.max(1, height * unit - (height > 0.2 ? 1 : 0)).toFixed(1)}px` });
  return el("span", { class: `sv-bin${kind ? ` ${FOUND[kind]}` : ""}${width < 8 ? " sv-thin" : ""}`, "data-first": first, title: said, style: `left:${x.toFixed(2)}px;width:${wide.toFixed(2)}px;--sv-bar:var(--sv-${role})` },
    most > drafts + bonus && first !== last ? block("sv-barmost", 0, most) : null, drafts > 0 ? block("sv-bardrafts", 0, drafts) : null, bonus > 0 ? block("sv-barbonus", drafts, bonus) : null);
}

/**
 * @param {State} state
 * @param {Range} range
 */
function saidOfRange(state, range) {
  const { steps, tokens } = totalsOf(runDrawn(state), state.frames, range), all = range[1] + 1 - range[0], left = all - steps;
  const rate = steps ? `, ${(tokens / steps).toFixed(2)} a forward` : "";
  return `steps ${range[0] + 1} to ${range[1] + 1}: ${tokens} token${tokens === 1 ? "" : "s"}${rate}${left ? `; ${left} of ${all} steps not loaded yet` : ""}`;
}
