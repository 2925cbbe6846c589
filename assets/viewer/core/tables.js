/* Every table of the viewer: its titles sort it, a field filters its rows, a button copies what is left as CSV.
 *
 * A table is made anew with every step. What a reader chose is kept by its caption and holds for the next one.
 */

import { csv, matches, sorted } from "./csv.js";
import { digits } from "./digits.js";
import { el } from "./dom.js";
import { copyText, saveFile } from "./files.js";

/** @typedef {{column: number | null, down: boolean, filter: string}} Chosen */

const FEW = 5;
/** @type {Map<string, Chosen>} */
const chosen = new Map();

/**
 * A number as people read it, which leaves with all its digits.
 * @param {number | null} value
 */
export const number = (value) => (value === null ? null : el("data", { value, class: "sv-number" }, digits(value)));

/** @param {any[]} values of a row of a table; null is a dash, and an empty cell of the CSV */
export const cells = (values) => values.map((value) => (value === null || value === undefined ? el("td", { "data-nothing": "" }, "–") : el("td", {}, value)));

/**
 * @param {string} caption what the table is of, for those who cannot see it
 * @param {any[]} heads
 * @param {any[]} rows `tr` elements
 */
export function table(caption, heads, rows) {
  const head = el("thead", {}, el("tr", {}, heads.map((one) => el("th", { scope: "col" }, one)))), body = el("tbody", {}, rows);
  return el("div", { class: "sv-tablebox" }, tools(caption, head, body),
    el("div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": caption }, el("table", {}, el("caption", { class: "sv-hidden" }, caption), head, body)));
}

/**
 * What a cell says, for a program: a number in full, words as they are read.
 * @param {Element} place
 * @returns {string}
 */
export function valueOf(place) {
  const only = place.children.length === 1 && place.firstElementChild;
  if (only && only.tagName === "DATA" && only.textContent === place.textContent) return String(only.getAttribute("value"));
  const said = [...place.childNodes].map((node) => (node instanceof Element ? (/^(BR|SMALL|P|LI|SPAN|B)$/.test(node.tagName) ? ` ${valueOf(node)}` : valueOf(node)) : node.textContent || ""));
  return said.join("").replace(/\s+/g, " ").trim();
}

/**
 * @param {string} caption
 * @param {HTMLTableSectionElement} head
 * @param {HTMLTableSectionElement} body
 */
function tools(caption, head, body) {
  const rows = [...body.rows], titles = [.../** @type {HTMLTableRowElement} */ (head.rows[0]).cells], names = titles.map(valueOf);
  const choice = chosen.get(caption) || { column: null, down: false, filter: "" };
  const said = el("output", { class: "sv-note" });
  const field = el("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter: ${caption}`, value: choice.filter, autocomplete: "off", spellcheck: "false", oninput: () => choose({ filter: field.value }) });

  /** @param {Partial<Chosen>} change */
  function choose(change) {
    chosen.set(caption, Object.assign(choice, change));
    apply();
  }

  function apply() {
    for (const [i, title] of titles.entries()) {
      if (i === choice.column) title.setAttribute("aria-sort", choice.down ? "descending" : "ascending");
      else title.removeAttribute("aria-sort");
    }
    const { column } = choice;
    body.replaceChildren(...(column === null || column >= titles.length ? rows : sorted(rows.map((row) => (row.cells[column] ? valueOf(row.cells[column]) : "")), choice.down).map((i) => rows[i])));
    const wanted = choice.filter.trim();
    for (const row of rows) row.hidden = wanted !== "" && !matches([...row.cells].map(valueOf).join(" "), wanted);
    said.textContent = wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
  }

  async function copy() {
    const shown = [...body.rows].filter((row) => !row.hidden), text = csv([names, ...shown.map((row) => [...row.cells].map((cell) => (cell.hasAttribute("data-nothing") ? "" : valueOf(cell))))]);
    const count = `${shown.length} ${shown.length === 1 ? "row" : "rows"}`;
    if (await copyText(text)) said.textContent = `Copied ${count} as CSV`;
    else {
      saveFile("specviz-table.csv", new Blob(["\ufeff", text], { type: "text/csv" }));
      said.textContent = `Saved ${count} as CSV: there is no clipboard here`;
    }
  }

  // A title sorts upwards, then downwards, then not at all.
  const turn = (/** @type {number} */ i) => choose(choice.column !== i ? { column: i, down: false } : choice.down ? { column: null, down: false } : { down: true });
  for (const [i, title] of titles.entries())
    if (names[i]) title.replaceChildren(el("button", { type: "button", class: "sv-sort", title: "Sort the rows", onclick: () => turn(i) }, [...title.childNodes]));
  if (choice.column !== null || choice.filter) apply();
  return el("div", { class: "sv-tabletools" }, rows.length > FEW || choice.filter ? field : null,
    el("button", { type: "button", "data-act": "copy-csv", title: `${caption}: copy the rows in sight as CSV`, onclick: copy }, "Copy CSV"), said);
}
