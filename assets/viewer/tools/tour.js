/* A tour of one step in four beats (tour_beats.js), each a note beside what it speaks of. A button offers it at the start, until it
 * was taken or another run is shown; the list of keys has it always. Whoever does something else has left it.
 */

import { digits } from "../core/digits.js";
import { el, token } from "../core/dom.js";
import { beatsOf, besideOf, stopOf } from "./tour_beats.js";

/** @import { Act, State, Tool } from "../core/state.js" */
/** @import { Part } from "../panels/decision.js" */
/** @import { Ui } from "../parts.js" */
/** @import { Beat } from "./tour_beats.js" */

const FIELDS = "textarea, input:not([type=range]), select, [contenteditable]", SETTLED_MS = 400, MARGIN = 5;

/** @param {Part[]} parts */
const words = (parts) => parts.map((part) => {
  if (typeof part === "string") return part;
  if ("strong" in part) return el("b", {}, part.strong);
  if ("value" in part) return el("b", {}, typeof part.value === "number" ? digits(part.value, part.count) : part.value);
  return token("token" in part ? part.token : part.text);
});

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {Act} act
 * @returns {Tool}
 */
export function makeTour(ui, state, act) {
  /** @type {Beat[]} */
  let beats = [];
  let at = -1, step = 0, runs = 0, card = 0, going = false, over = false;
  /** @type {number | undefined} */
  let later;

  const dots = () => [0, 1, 2, 3].map(() => el("i"));
  const button = (/** @type {string} */ name, /** @type {string} */ text, /** @type {() => void} */ click) => el("button", { type: "button", "data-act": name, onclick: click }, text);
  const offer = el("button", { type: "button", class: "sv-touroffer", "data-act": "tour", title: "One step in four moments: the draft guesses, the target scores, a coin decides, the cache follows", onclick: begin }, "Tour", el("span", { "aria-hidden": "true" }, dots()));
  const again = button("tour-again", "Tour of a step", () => (ui.help.close(), begin()));
  const count = el("span"), marks = dots(), title = el("h3"), text = el("p"), back = button("tour-back", "Back", () => go(at - 1)), next = button("tour-next", "Next", () => go(at + 1));
  const close = el("button", { type: "button", class: "sv-close", "data-act": "tour-end", "aria-label": "End the tour (Esc)", title: "End the tour (Esc)", onclick: end }, "×");
  const note = el("div", { class: "sv-tour", role: "dialog", "aria-label": "Tour", hidden: true },
    el("div", { class: "sv-tourhead" }, el("span", { class: "sv-tourdots", "aria-hidden": "true" }, marks), count, close), el("div", { "aria-live": "polite" }, title, text), el("p", { class: "sv-tournav" }, back, next));
  const ring = el("div", { class: "sv-tourring", "aria-hidden": "true", hidden: true });
  ui.dots.parentElement?.prepend(offer);
  ui.help.querySelector("form")?.prepend(again);
  ui.root.append(ring, note);

  function begin() {
    const stop = stopOf(state.frames.values(), state.step), frame = stop && state.frames.get(stop.step);
    if (!frame) return;
    beats = beatsOf(frame, stop.node);
    step = stop.step;
    card = stop.node;
    over = state.touring = true;
    state.awaits = false;
    document.addEventListener("keydown", onKey, true);
    window.addEventListener("resize", place);
    go(0);
    next.focus();
  }

  /** @param {number} beat */
  function go(beat) {
    if (beat < 0) return;
    if (beat >= beats.length) return end();
    const { phase, node, place: where, title: head, said } = beats[beat], frame = /** @type {import("../core/frame.d.ts").Frame} */ (state.frames.get(step));
    at = beat;
    going = true;
    if (state.step !== step) act.show(step);
    if (state.lens && state.lens !== frame.driver) act.watch(frame.driver);
    if (where === "dock") act.open("cache");
    act.phase(phase);
    if (node !== null) act.select(node, true);
    going = false;
    title.textContent = head;
    text.replaceChildren(...words(said));
    count.textContent = `${at + 1} of ${beats.length}`;
    marks.forEach((mark, i) => mark.classList.toggle("sv-on", i <= at));
    back.disabled = at === 0;
    next.textContent = at + 1 < beats.length ? "Next" : "Done";
    ring.hidden = note.hidden = false;
    offer.hidden = true;
    place();
    clearTimeout(later);
    later = setTimeout(place, SETTLED_MS); // cards and the sheet move for a moment
  }

  /** What the beat speaks of. */
  function target() {
    const { place: where } = beats[at];
    const found = where === "card" ? ui.tree.querySelector(`[data-node="${card}"] .sv-bg`) : where === "node" ? ui.inspector.querySelector(".sv-picture") : ui.dock.box;
    return found?.getBoundingClientRect().width ? found : ui.treeBox;
  }

  function place() {
    if (at < 0) return;
    const view = { width: window.innerWidth, height: window.innerHeight }, { left, top, width, height } = seen(target().getBoundingClientRect(), view);
    const spot = besideOf({ left, top, width, height }, { width: note.offsetWidth, height: note.offsetHeight }, view);
    Object.assign(note.style, { left: `${spot.left}px`, top: `${spot.top}px` });
    Object.assign(ring.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
  }

  /**
   * What of a place is in sight, with a margin.
   * @param {DOMRect} box
   * @param {{width: number, height: number}} view the window
   */
  function seen(box, view) {
    const limit = beats[at].place === "node" ? ui.inspector.getBoundingClientRect() : { left: 0, top: 0, right: view.width, bottom: view.height };
    const left = Math.max(limit.left, box.left - MARGIN), top = Math.max(limit.top, box.top - MARGIN);
    return { left, top, width: Math.min(limit.right, box.right + MARGIN) - left, height: Math.min(limit.bottom, box.bottom + MARGIN) - top };
  }

  function leave() {
    at = -1;
    state.touring = false;
    clearTimeout(later);
    ring.hidden = note.hidden = true;
    document.removeEventListener("keydown", onKey, true);
    window.removeEventListener("resize", place);
  }

  /** Out of the tour, to the whole step. */
  function end() {
    if (at < 0) return;
    /** @type {HTMLElement | null} */ (document.activeElement)?.blur(); // the keys are the page's again
    leave();
    act.phase(null);
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (!ui.root.isConnected) return leave();
    const from = event.target instanceof Element ? event.target : null;
    if (event.ctrlKey || event.metaKey || event.altKey || from?.closest(FIELDS)) return;
    const pressed = { ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1), Escape: end, Enter: () => go(at + 1) }[event.key];
    if (!pressed || (event.key === "Enter" && from?.closest("button, a, summary"))) return;
    event.preventDefault();
    event.stopPropagation();
    pressed();
  }

  function moved() {
    offer.hidden = over || runs > 1 || state.asks || !state.frames.size || stopOf(state.frames.values(), state.step) === null;
    again.hidden = state.asks;
    if (at < 0 || going) return;
    const { phase, node } = beats[at];
    if (state.step !== step || state.phase !== phase || state.selected !== node || state.asks) leave();
    else place();
  }

  return { moved, run: () => (runs++, leave()), dispose: leave };
}
