/* makeBoard(element, address, ask) -> {update}: what the Compare tab shows, sections of a sentence, a figure and a table,
 * all made by Python (specviz/app/compare/view.py).
 *
 * A chosen point or row is told with `ask(kind, {section, data})`: "step" for a step, "point" for anything else. An update
 * with a notice alone leaves the sections as they are. Text is only ever written as text.
 */

import { el, note, showNotice } from "../core/dom.js";
import { drawChart, loadPlotly } from "./chart.js";
import { table } from "../core/tables.js";

/** @import { NoticeShown } from "../core/state.js" */

/**
 * @typedef {object} Section
 * @property {string} id
 * @property {string} title
 * @property {string} how
 * @property {[string, string][]} [quotes]
 * @property {{light: any, dark: any}} [figure]
 * @property {{caption: string, head: string[], rows: {cells: string[], point?: any}[]}} table
 */
/** @typedef {{notice?: NoticeShown | null, sections?: Section[], title?: string, about?: string, go?: string}} BoardValue */

const isDark = () => document.body.classList.contains("dark") || document.documentElement.dataset.theme === "dark";

const LOADING = "Loading the chart …";
const NOT_LOADED = "The chart cannot be drawn, because Plotly could not be loaded from this server; the numbers stand in the table below.";

/**
 * @param {HTMLElement} element
 * @param {string} address of Plotly's script, which is loaded with the first chart
 * @param {(kind: string, data: object) => void} ask
 */
export function makeBoard(element, address, ask) {
  const notice = el("div", { class: "sv-notice", hidden: true }), place = el("div");
  /** @type {{box: any, said: HTMLElement, figure: {light: any, dark: any}, id: string, bound: boolean}[]} */
  let drawn = [];
  element.classList.add("specviz", "sv-board");
  element.replaceChildren(notice, place);

  /** @param {string | BoardValue | null} value */
  function update(value) {
    if (!value) return;
    /** @type {BoardValue} */
    const found = typeof value === "string" ? JSON.parse(value) : value;
    showNotice(notice, found.notice);
    if (!found.sections) return;
    const tables = /** @type {HTMLDetailsElement[]} */ ([...place.querySelectorAll("details")]);
    const open = new Map(tables.map((one) => [one.dataset.table || "", one.open]));
    for (const { box } of drawn) window.Plotly?.purge(box);
    drawn = [];
    place.replaceChildren(el("p", { class: "sv-note" }, el("b", {}, found.title), ": ", found.about), ...found.sections.map((one) => section(one, open)));
    draw();
    const next = /** @type {HTMLElement | null} */ (found.go ? place.querySelector(`[data-section=${found.go}] h4`) : null);
    next?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: "start" });
  }

  /**
   * @param {string} id
   * @param {any} data
   */
  function tell(id, data) {
    const view = /** @type {HTMLElement | null} */ (id === "steps" ? document.querySelector("#viewer .sv-root") : null);
    if (view) {
      // How it goes is told there, and there the step opens.
      view.tabIndex = -1;
      view.focus({ preventScroll: true });
      view.scrollIntoView({ block: "start" });
    }
    ask(id === "steps" ? "step" : "point", { section: id, data });
  }

  /**
   * @param {Section} one
   * @param {Map<string, boolean>} open tables
   */
  function section(one, open) {
    const box = one.figure && el("div", { class: "sv-board-figure", role: "img", "aria-label": `${one.title}; the numbers stand in the table below` });
    const said = el("div", { role: "status" });
    if (box && one.figure) drawn.push({ box, said, figure: one.figure, id: one.id, bound: false });
    return el("section", { class: "sv-panel", "data-section": one.id, "aria-label": one.title },
      el("h4", { tabindex: -1 }, one.title), note(one.how),
      (one.quotes || []).map(([name, text]) => el("p", { class: "sv-board-quote" }, el("b", {}, `${name}: `), el("bdi", {}, text))),
      said, box, numbers(one, open.get(one.id) ?? one.id !== "figure"));
  }

  /**
   * @param {Section} section
   * @param {boolean} open
   */
  function numbers({ id, table: { caption, head, rows } }, open) {
    const lines = rows.map(({ cells, point }) => el("tr", {}, cells.map((cell, i) =>
      i === 0 && point
        ? el("th", { scope: "row" }, el("button", { type: "button", "data-act": `board-${id}`, onclick: () => tell(id, point) }, el("bdi", {}, cell)))
        : el("td", {}, el("bdi", {}, cell)))));
    const found = el("details", { "data-table": id }, el("summary", {}, `${caption} (${lines.length} ${lines.length === 1 ? "row" : "rows"})`),
      el("div", { class: "sv-board-table" }, table(caption, head, lines)));
    found.open = open;
    return found;
  }

  async function draw() {
    const say = (/** @type {() => Node[]} */ words) => drawn.forEach(({ said }) => said.replaceChildren(...words()));
    try {
      if (!window.Plotly) say(() => [note(LOADING)]);
      if (drawn.length) await loadPlotly(address);
    } catch {
      return say(() => [note(NOT_LOADED), el("button", { type: "button", "data-act": "board-again", onclick: draw }, "Try again")]);
    }
    say(() => []);
    for (const one of drawn) {
      drawChart(one.box, structuredClone(one.figure[isDark() ? "dark" : "light"])).then(() => {
        if (one.bound) return;
        one.bound = true;
        one.box.on("plotly_click", (/** @type {any} */ event) => event.points[0]?.customdata && tell(one.id, event.points[0].customdata));
      });
    }
  }

  new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  // A tab that is opened later had no width to draw in.
  new ResizeObserver(() => drawn.forEach(({ box }) => box.data && box.clientWidth && window.Plotly.Plots.resize(box))).observe(element);
  return { update };
}
