/* What stands in a column beside the tree for a while: a lesson or a fault of the gallery, or the list of either. One of
 * them at a time; each has a page in the menu.
 */

import { el } from "../core/dom.js";

/** @import { Block } from "../core/frame.d.ts" */
/** @import { Act, Handlers, State } from "../core/state.js" */
/** @import { Ui } from "../parts.js" */

/** What a block has that one of the columns takes: the page, its list, and one of it. */
const PAGES = /** @type {const} */ ([["lessons", "lesson"], ["faults", "fault"]]);

/** @typedef {ReturnType<typeof makeColumn>} Column */

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {Act} act
 * @param {Handlers} handlers
 * @param {{page: "lessons" | "faults", kind: "lesson" | "fault", left: () => void}} own the page in the menu, what is asked for, and
 *   what is done before the column is emptied
 */
export function makeColumn(ui, state, act, { ask, onPage }, { page, kind, left }) {
  /** @type {HTMLElement | null} */
  let panel = null;
  /** The panel of the dock that was open before. @type {string | null} */
  let dock = null;
  /** Whether one was asked for that has not come. */
  let wished = false;
  /** Whether the column was left before it came. */
  let unwanted = false;

  /** @param {string} name */
  function wish(name) {
    wished = true;
    unwanted = false;
    ask?.(kind, { name });
  }

  /**
   * One that comes after the column was left is not opened; the server, which has opened its run, is told.
   * @param {Block[]} blocks
   */
  function declines(blocks) {
    if (!unwanted || !blocks.some((block) => block[kind])) return false;
    unwanted = false;
    if (state.run) ask?.("open_run", { run: state.run.id, step: state.step });
    return true;
  }

  /**
   * Before a block is taken: what was asked for is there, or cannot be; or another column takes the place.
   * @param {Block} block
   */
  function meet(block) {
    if (block[kind] || block.notice) wished = unwanted = false;
    if (panel && PAGES.some(([list, one]) => one !== kind && (block[list] || block[one]))) {
      clear();
      dock = null;
    }
  }

  function clear() {
    left();
    panel?.remove();
    panel = null;
    state.asks = ui.top.querySelector(".sv-lesson") !== null; // of another column
  }

  /** Out of the column; the run stays. */
  function leave() {
    if (!panel) return;
    unwanted = wished;
    wished = false;
    clear();
    if (dock !== null) act.open(dock);
    dock = null;
    onPage?.(page, false);
  }

  /** Another run is in sight than the one that the column is about. */
  const passed = () => (wished ? clear() : leave());

  /**
   * @param {string} name
   * @param {...any} content
   */
  function put(name, ...content) {
    clear();
    dock ??= state.dock;
    state.asks = true;
    panel = el("section", { class: "sv-panel sv-lesson", "aria-label": name }, content);
    ui.top.prepend(panel);
    ui.top.scrollTop = 0;
  }

  /**
   * @param {string} text
   * @param {string} name
   * @param {() => void} click
   * @param {string} [look]
   */
  const button = (text, name, click, look = "") => el("button", { type: "button", class: look, "data-act": `${kind}-${name}`, onclick: click }, text);
  const close = () => el("button", { type: "button", class: "sv-close", "data-act": `${kind}-close`, "aria-label": `Leave the ${page} (Esc)`, title: `Leave the ${page} (Esc)`, onclick: leave }, "×");
  const heading = (/** @type {string} */ text) => el("h3", { tabindex: -1 }, text);
  /** Whether nothing lies over the column that Escape closes first. */
  const isTop = () => panel !== null && state.phase === null && !state.why && !state.focus && !ui.help.open;

  return { wish, declines, meet, clear, leave, passed, put, button, close, heading, isTop, panel: () => panel };
}
