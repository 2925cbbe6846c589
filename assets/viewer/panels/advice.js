/* Below the totals: would width have helped, and which tree would pay? Everything comes from specviz/figures/advice.py.
 *
 * One button takes an advised shape into the settings of the page; an exported page has none.
 */

import { rowsOf } from "../core/columns.js";
import { digits } from "../core/digits.js";
import { el, note } from "../core/dom.js";
import { cells, number, table } from "../core/tables.js";
import { milliseconds } from "../core/words.js";
import { intervalOf } from "./draft_totals.js";

/** @import { AdvisedTree, AdviceFound, AgainstTotals, RankTotals, Totals } from "../core/frame.d.ts" */
/** @import { Act } from "../core/state.js" */

/**
 * Every other verifier beside the driver: whether they differ by more than noise.
 * @param {AgainstTotals[]} found
 */
export function againstLines(found) {
  if (!found.length) return null;
  return el("ul", { class: "sv-against", "aria-label": "Differences from the driver" }, found.map((one) => el("li", { "data-against": one.verifier },
    `${one.verifier} less ${one.other}: ${one.value > 0 ? "+" : ""}${digits(one.value)} new tokens a step (95 %: ${intervalOf(one.low, one.high)}), another length in ${one.parted} of ${one.steps} steps. `, el("b", {}, saidOf(one)))));
}

/** @param {AgainstTotals} one */
function saidOf({ noise, parted, value }) {
  if (!parted) return "No step differs.";
  if (noise === null) return "Too few steps to tell it from noise.";
  return noise ? "This may be noise." : `More than noise: ${value > 0 ? "longer" : "shorter"}.`;
}

/**
 * @param {Totals} totals
 * @param {Act} act
 * @param {boolean} ofRange whether the totals are of chosen steps; the advice never is
 */
export function adviceParts({ ranks, advice }, act, ofRange) {
  return [ranks && ranksPart(ranks), advice && el("section", { class: "sv-advice", "aria-label": "What shape would pay" }, el("h4", {}, "What shape would pay?"),
    ofRange ? note("By all steps of the run, not by the chosen ones alone.") : null, advice.found ? foundPart(advice.found, act) : note(advice.refused || ""))];
}

/** @param {RankTotals} ranks */
function ranksPart({ names, rejections, leaves }) {
  const most = Math.max(1, ...[rejections, leaves].flatMap(({ known, never, beyond, noRow }) => [...known.flat(), ...never, ...beyond, ...noRow]));
  const rows = [...rowsOf(rejections).map((row) => rankRow(`rejected at depth ${row.depth}`, row, most)), ...rowsOf(leaves).map((row) => rankRow(`leaf at depth ${row.depth}`, row, most))];
  const beyond = [...rejections.recorded, ...leaves.recorded].filter(Boolean);
  return el("section", { class: "sv-advice", "aria-label": "Would width have helped?" }, el("h4", {}, "Would width have helped?"),
    note(`Where the driver's walk ended, the rank that the token which the target emitted there has in the draft's row: 0 is the draft's likeliest. Never: the draft gives it nothing. No row: the draft did not run that node, or its row was not recorded.${beyond.length ? ` Beyond: past the recorded width of the row (${Math.min(...beyond)} entries or more), where a rank cannot be known.` : ""}`),
    rows.length ? table("Ranks of the target's tokens by depth", ["Walk ended", "Times", ...names.map((name) => `rank ${name}`), "never", "beyond", "no row"], rows) : note("No walk of the driver ended in a bonus token that was recorded."));
}

/**
 * @param {string} name
 * @param {{ends: number, known: number[], never: number, beyond: number, noRow: number}} row
 * @param {number} most
 */
const rankRow = (name, { ends, known, never, beyond, noRow }, most) => el("tr", {}, el("th", { scope: "row" }, name), cells([String(ends), ...[...known, never, beyond, noRow].map((n) => count(n, most))]));

/** @param {number} n @param {number} most */
const count = (n, most) => el("span", { class: "sv-count" }, String(n), el("i", { style: `height: ${(16 * n) / most}px`, "aria-hidden": "true" }));

/**
 * @param {AdviceFound} found
 * @param {Act} act
 */
function foundPart(found, act) {
  const rows = found.trees.map((tree) => el("tr", { "data-budget": tree.budget }, el("th", { scope: "row" }, `${tree.nodes} nodes`, tree.fastest ? el("span", { class: "sv-badge" }, "fastest") : null), cells([
    String(tree.levels), number(tree.expected), tree.seconds === null ? null : el("span", {}, milliseconds(tree.seconds)), tree.seconds === null ? null : number(tree.expected / tree.seconds)])));
  const best = found.trees.find(({ budget }) => budget === found.best) || found.trees[0];
  return el("div", {},
    note(`${found.decisions} decisions stand behind this, nodes whose children ${found.driver} judged in ${found.steps} steps${found.leftOut ? `, ${found.leftOut} with another driver, proposal, sampling or processors left out` : ""}. Today's trees have ${digits(found.nodes)} nodes: expected by the same model ${found.today.toFixed(2)} new tokens a target forward, seen ${found.seen.toFixed(2)} (95 %: ${intervalOf(found.low, found.high, (end) => end.toFixed(2))}); the model is off by ${(found.today - found.seen).toFixed(3)}.`),
    table("Best trees by budget", ["Tree", "Levels", "Expected tokens a forward", "Forwards of a step", "Expected tokens a second"], rows), ...found.notes.map((text) => note(text)),
    takePart(best, act));
}

/**
 * @param {AdvisedTree} best
 * @param {Act} act
 */
function takePart(best, act) {
  const shape = el("details", { class: "sv-shape" }, el("summary", {}, `The tree of ${best.nodes} nodes`), el("code", {}, `--builder explicit --tree ${best.paths}`));
  const { takeShape } = act;
  if (!takeShape) return shape;
  return el("div", {}, el("button", { type: "button", "data-act": "take-shape", title: "Draft tree explicit, with these paths, in Settings; the next run has it", onclick: () => takeShape(best.budget) }, `Take the tree of ${best.nodes} nodes into the settings`), shape);
}
