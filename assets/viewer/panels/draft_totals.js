/* How the draft's numbers fit over the run: q by depth beside p and what was accepted, its confidence, what it cannot
 * propose. Everything comes counted, from specviz/trace/calibration.py or, for a range of steps, range_draft.js.
 */

import { rowsOf } from "../core/columns.js";
import { digits, percent } from "../core/digits.js";
import { el, note } from "../core/dom.js";
import { cells, number, table } from "../core/tables.js";
import { outsideBar } from "./outside.js";

/** @import { CalibrationTotals, ConfidenceTotals, OutsideTotals, Run, Totals } from "../core/frame.d.ts" */

const FEW = "too few steps";

/**
 * An interval in words.
 * @param {number | null} low
 * @param {number | null} high
 * @param {(value: number) => string} [write]
 */
export const intervalOf = (low, high, write = (value) => digits(value, 2)) => (low === null || high === null ? FEW : `${write(low)} to ${write(high)}`);

/**
 * What the interval of p - q says of the draft.
 * @param {number | null} low
 * @param {number | null} high
 */
export function fitOf(low, high) {
  if (low === null || high === null) return FEW;
  return high < 0 ? "too sure" : low > 0 ? "too unsure" : "no difference seen";
}

/**
 * q hollow and p solid on one scale, with the interval of p - q laid from q.
 * @param {number} q
 * @param {number} p
 * @param {number | null} low
 * @param {number | null} high
 * @param {string} [label]
 */
function bothTracks(q, p, low, high, label = `mean q ${digits(q)}, mean p ${digits(p)}`) {
  const clip = (/** @type {number} */ value) => 100 * Math.max(0, Math.min(1, value));
  const whisker = low === null || high === null ? null : el("i", { class: "sv-whisker", style: `left: ${clip(q + low)}%; width: ${Math.max(0.5, clip(q + high) - clip(q + low))}%` });
  return el("span", { class: "sv-fit", role: "img", "aria-label": label },
    el("span", { class: "sv-wide-track" }, el("i", { class: "sv-qbar", style: `width: ${clip(q)}%` })), el("span", { class: "sv-wide-track" }, el("i", { class: "sv-pbar", style: `width: ${clip(p)}%` }), whisker));
}

/** @param {number} accepted @param {number} of */
const shareOf = (accepted, of) => (of ? `${percent(accepted / of)} · ${accepted}/${of}` : "–");

/**
 * A table whose cells know their titles: on a telephone those stand above each.
 * @param {string} caption
 * @param {string[]} heads
 * @param {HTMLTableRowElement[]} rows
 */
function labelled(caption, heads, rows) {
  for (const row of rows) for (const [i, cell] of [...row.cells].entries()) cell.dataset.label = heads[i];
  return table(caption, heads, rows);
}

/**
 * @param {CalibrationTotals} found
 */
function calibrationTable(found) {
  const rows = rowsOf(found).map(({ steps, drafted, q, p, low, high, accepted, reached, least, most }, i) => el("tr", {},
    el("th", { scope: "row" }, `depth ${i + 1}`), cells([
      el("span", {}, String(drafted), el("small", {}, `in ${steps} step${steps === 1 ? "" : "s"}`)), number(q), number(p),
      q === null || p === null ? null : bothTracks(q, p, low, high), q === null || p === null ? null : el("span", {}, number(p - q), el("small", {}, intervalOf(low, high)), el("small", {}, low === null ? null : fitOf(low, high))),
      el("span", {}, shareOf(accepted, reached), el("small", {}, reached ? intervalOf(least, most, percent) : null)),
    ])));
  return labelled("q of drafted tokens by depth", ["Depth", "Drafted", "Mean q", "Mean p", "q and p", "p − q", "Accepted by the driver"], rows);
}

/**
 * @param {ConfidenceTotals} found
 */
function confidenceTable(found) {
  const rows = rowsOf(found).map(({ nodes, said, accepted, least, most }, i) => el("tr", {}, el("th", { scope: "row" }, `depth ${i + 1}`), cells([
    String(nodes), number(said), said === null ? null : bothTracks(said, nodes ? accepted / nodes : 0, null, null, `mean confidence ${digits(said)}, accepted ${percent(nodes ? accepted / nodes : 0)}`), el("span", {}, shareOf(accepted, nodes), el("small", {}, nodes ? intervalOf(least, most, percent) : null))])));
  return labelled("Confidence by depth", ["Drafted at", "Nodes", "Mean confidence", "Said and accepted", "Accepted by the driver"], rows);
}

/** @param {OutsideTotals} found */
const outsideLine = ({ nodes, steps, p, low, high, accepted }) => el("section", { class: "sv-outsidebox" },
  el("h4", { class: "sv-sumline" }, el("span", {}, "p outside the draft's vocabulary"), el("b", { class: "sv-number" }, digits(p))), outsideBar(p),
  note(`Mean over the ${nodes} nodes in ${steps} steps that the driver reached and that have children (95 %: ${intervalOf(low, high)}). It leaves a ceiling of ${digits(1 - p)} for what any lossless rule accepts there on average; the driver accepted at ${shareOf(accepted, nodes)} of them.`));

/**
 * @param {Run} run
 * @param {Totals} totals
 * @returns {(Node | null)[]}
 */
export function draftTotals(run, { calibration, confidence, outside }) {
  if (!calibration.drafted.length) return [];
  const head = run.models.draft?.head, known = calibration.drafted.some(Boolean);
  const lacking = known ? [] : ["both probabilities of drafted tokens"];
  if (head?.vocabulary != null && !outside) lacking.push("p outside the draft's vocabulary");
  return [el("section", { class: "sv-drafttotals", "aria-label": "The draft's numbers" },
    el("h4", {}, "The draft's numbers, and what became of them"),
    note("q: what the draft gave the tokens that it drafted at a depth. p: what the target gives these tokens, which is the share of places where it would have taken just this one. A draft that is right on average has p − q = 0. What is accepted is more than p says: rejection, for one, takes a token with p ≥ q always. Accepted: steps whose driver accepted a node there, of those that could have. Intervals are of 95 % each, over steps; with fewer than 10 none is given."),
    lacking.length ? note(`Not recorded: ${lacking.join("; ")}.`) : null, calibrationTable(calibration), outside ? outsideLine(outside) : null,
    confidence ? el("h4", {}, "Confidence of the head") : null, confidence ? note("What the head itself says of how likely it is that the token which it drafts after a node is accepted, over the nodes that the driver reached.") : null,
    confidence ? confidenceTable(confidence) : null)];
}

/**
 * The same as lines of a table of counts: figure, place, numerator, denominator, value.
 * @param {Totals} totals
 * @returns {[string, string, number | null, number, number | null][]}
 */
export function draftLines({ calibration, confidence, outside }) {
  const by = rowsOf(calibration).flatMap(({ drafted, q, p, accepted, reached }, i) => /** @type {[string, string, number | null, number, number | null][]} */ ([
    ["mean q of drafted tokens", `depth ${i + 1}`, null, drafted, q], ["mean p of drafted tokens", `depth ${i + 1}`, null, drafted, p],
    ["accepted by the driver", `depth ${i + 1}`, accepted, reached, reached ? accepted / reached : null]]));
  const said = confidence ? rowsOf(confidence).flatMap(({ nodes, said: mean, accepted }, i) => /** @type {[string, string, number | null, number, number | null][]} */ ([
    ["mean confidence", `depth ${i + 1}`, null, nodes, mean], ["accepted where a confidence was said", `depth ${i + 1}`, accepted, nodes, nodes ? accepted / nodes : null]])) : [];
  return [...by, ...said, ...(outside ? [/** @type {[string, string, number | null, number, number | null]} */ (["mean p outside the draft's vocabulary", "–", null, outside.nodes, outside.p])] : [])];
}
