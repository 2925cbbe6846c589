/* Two runs beside each other: where they part, both texts, accepted lengths, settings that differ.
 *
 * A block's `compare` opens the panel, which then has the place of the run (null closes it). All of it was computed by Python.
 * A step that is opened from it is in sight, with the panel folded to a line above it; any other run closes it.
 */

import { rowsOf } from "../core/columns.js";
import { el, note } from "../core/dom.js";
import { cells, number, table } from "../core/tables.js";

/** @import { Block, ComparedRun, ComparisonValue } from "../core/frame.d.ts" */
/** @import { Act, Handlers, State, Tool } from "../core/state.js" */

/**
 * @param {{top: HTMLElement}} ui
 * @param {State} state
 * @param {Act} _act
 * @param {Handlers} handlers
 * @returns {Tool}
 */
export function makeCompare(ui, state, _act, { ask }) {
  /** @type {HTMLElement | null} */
  let panel = null;
  /** The runs that are compared, as far as they can be opened. @type {(string | null)[]} */
  let compared = [];
  const back = el("button", { type: "button", "data-act": "compare-back", onclick: () => fold(false) }, "Back to the comparison");

  /** @param {Block} block */
  function take(block) {
    if (block.compare === undefined) return block.frames?.length && !block.fills ? fold(true) : undefined; // what came is to be seen
    close();
    if (block.compare) open(block.compare);
  }

  function close() {
    panel?.remove();
    panel = null;
  }

  /** @param {boolean} folded */
  function fold(folded) {
    if (panel) panel.dataset.folded = String(folded);
  }

  function run() {
    if (panel && !compared.includes(state.run?.id ?? null)) close();
  }

  /** @param {ComparisonValue} found */
  function open(found) {
    const { sides, parting } = found, [a, b] = sides, settings = rowsOf(found.settings);
    const head = el("h3", { tabindex: -1 }, `${a.name} and ${b.name}`);
    compared = sides.map((side) => side.run ?? null);
    panel = el("section", { class: "sv-panel sv-compare", "aria-label": "Comparison", "data-folded": "false" },
      el("div", { class: "sv-panelhead" }, head, back, el("button", { type: "button", "data-act": "compare-close", "aria-label": "Close the comparison", onclick: close }, "×")),
      el("div", { class: "sv-compare-said", role: "status" }, found.said.map((line) => el("p", {}, line))),
      parting ? el("p", {}, sides.map((side, i) => jump(side, parting.steps[i], i))) : null,
      el("p", { class: "sv-note sv-key" }, el("span", {}, "written by both"), el("span", { class: "sv-differs" }, "[only here]")),
      el("div", { class: "sv-compare-texts" }, sides.map((side, i) => el("div", {},
        el("h4", {}, side.name), el("div", { class: "sv-compare-text", tabindex: 0, role: "region", "aria-label": `Text of ${side.name}` }, rowsOf(found.texts[i]).map(piece))))),
      el("h4", {}, "Accepted draft tokens of every step"),
      el("div", { class: "sv-compare-bars" }, sides.map((side, i) => bars(found, side, i))),
      table("Both runs in figures", ["Run", "Driver", "New tokens", "Target forwards", "Block efficiency"],
        sides.map((side) => el("tr", {}, el("th", { scope: "row" }, side.name), cells([side.driver, String(side.tokens), String(side.steps), number(side.efficiency)])))),
      note("Block efficiency = new tokens per target forward, the bonus token included."),
      settings.length ? table("Settings that differ", ["Setting", a.name, b.name], settings.map((row) => el("tr", {}, el("th", { scope: "row" }, row.name), cells([row.a, row.b])))) : null);
    ui.top.prepend(panel);
    head.focus({ preventScroll: true });
  }

  /** @param {{kind: string, text: string}} piece */
  function piece({ kind, text }) {
    // Brackets, because colour alone would not tell.
    return kind === "equal" ? el("bdi", {}, text) : el("mark", { class: "sv-differs" }, "[", el("bdi", {}, text), "]");
  }

  /**
   * @param {ComparedRun} side
   * @param {number | null} step
   * @param {number} i
   */
  function jump(side, step, i) {
    if (!side.run || step === null || !ask) return null;
    return [el("button", { type: "button", "data-act": `compare-open-${i}`, onclick: () => (fold(true), ask("open_run", { run: side.run, step })) }, `Open ${side.name} at step ${step + 1}`), " "];
  }

  return { take, run };
}

/**
 * One bar a step; the step in which the runs part stands out by a mark below it.
 * @param {ComparisonValue} found
 * @param {ComparedRun} side
 * @param {number} i
 */
function bars({ sides, parting }, side, i) {
  if (!side.accepted.length) return el("div", {}, note(`${side.name}: one token a forward, nothing drafted`));
  const most = Math.max(1, ...sides.flatMap((one) => one.accepted)), at = parting?.steps[i];
  const row = el("div", { class: "sv-compare-row", role: "img", "aria-label": `${side.name}: accepted draft tokens of its ${side.accepted.length} steps: ${side.accepted.join(", ")}` },
    side.accepted.map((count, step) => el("span", { class: step === at ? "sv-parts" : null, title: `step ${step + 1}: ${count}` },
      el("i", { style: `height: ${Math.round((34 * count) / most) + 1}px` }))));
  return el("div", {}, el("span", { class: "sv-note" }, side.name), row);
}
