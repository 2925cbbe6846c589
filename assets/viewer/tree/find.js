/* The search field: what is found stays bright and the rest dims, folds over it open, Enter goes from one to the next. */

import { frameNow } from "../core/state.js";
import { search } from "./search.js";

/** @import { Act, State } from "../core/state.js" */

/** So many hits may open their folds at once; of more, the one that is gone to. */
const MANY = 40;

/**
 * @param {{find: HTMLInputElement, found: HTMLElement}} ui
 * @param {State} state
 * @param {Act} act
 * @param {() => void} redraw
 */
export function makeFind(ui, state, act, redraw) {
  /** @type {number[]} */
  let nodes = [];
  let at = -1, asked = "";

  /** Search the frame in sight, as far as it is known; before every drawing. */
  function look() {
    const frame = frameNow(state), query = ui.find.value.trim();
    if (!query || !frame || !state.known) {
      nodes = [];
      state.found = null;
      ui.found.textContent = "";
      ui.find.title = "";
      return;
    }
    const { nodes: hits, said } = search(frame, query, state.known), where = `${query} ${state.step}`;
    if (where !== asked) at = -1;
    asked = where;
    nodes = hits;
    state.found = { nodes: new Set(hits), open: hits.length <= MANY ? hits : at >= 0 ? [hits[at]] : hits.slice(0, 1) };
    ui.found.textContent = said ? "none" : at >= 0 ? `${at + 1}/${hits.length}` : String(hits.length);
    ui.found.title = ui.find.title = said;
    ui.find.setAttribute("aria-description", said || `${hits.length} found; Enter goes to the next`);
  }

  /** @param {number} way */
  function go(way) {
    if (!nodes.length) return;
    at = at < 0 && way < 0 ? nodes.length - 1 : (at + way + nodes.length) % nodes.length;
    act.select(nodes[at], true);
  }

  function clear() {
    ui.find.value = "";
    redraw();
  }

  ui.find.addEventListener("input", () => {
    state.awaits = false;
    redraw();
  });
  ui.find.addEventListener("keydown", (event) => {
    if (event.key === "Enter") go(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") {
      clear();
      ui.find.blur();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  return { look, focus: () => (ui.find.focus(), ui.find.select()) };
}
