/* The run so far: block efficiency, acceptance by depth and by sibling rank of every verifier, with their formulas.
 *
 * Counts come from specviz/figures/totals.py; here a share becomes a bar and keeps its counts beside it.
 */

import { rowsOf } from "../core/columns.js";
import { percent } from "../core/digits.js";
import { el, note, swatch } from "../core/dom.js";
import { CALLS, unrecorded } from "../core/recorded.js";
import { cells, number, table } from "../core/tables.js";
import { looksOf, verdictBy } from "../core/words.js";
import { adviceParts, againstLines } from "./advice.js";
import { draftLines, draftTotals, intervalOf } from "./draft_totals.js";
import { saidOf, story, taleOf } from "./findings.js";
import { totalsOf } from "./range_totals.js";

/** @import { Counts, Frame, Looks, Run, Totals, VerifierTotals } from "../core/frame.d.ts" */
/** @import { Act, Range, State } from "../core/state.js" */

const FIGURES = [
  { name: "Block efficiency", formula: "block_efficiency" }, { name: "Acceptance by depth", formula: "acceptance_by_depth" },
  { name: "Acceptance by sibling rank", formula: "acceptance_by_rank" },
];

/** Only where optima were recorded. */
const OPTIMUM = { name: "At the nodes reached", formula: "optimum" };

/** What is shown already: totals change with a run, not with a move. @type {WeakMap<HTMLElement, Totals>} */
const drawn = new WeakMap();

/**
 * Totals of the whole run, or of the range of steps that was chosen.
 * @param {Run} run
 * @param {State} state
 */
export const totalsShown = (run, { frames, range }) => (range ? totalsOf(run, frames, range) : run.totals);

/**
 * @param {{totals: HTMLElement, totalsEmpty: HTMLElement}} ui
 * @param {Run} run
 * @param {State} state
 * @param {Act} act
 */
export function drawTotals(ui, run, state, act) {
  const totals = totalsShown(run, state);
  if (drawn.get(ui.totals) === totals) return;
  drawn.set(ui.totals, totals);
  ui.totalsEmpty.hidden = totals.steps > 0;
  ui.totals.hidden = !totals.steps;
  if (!totals.steps) return ui.totals.replaceChildren();
  const driver = totals.verifiers.find((v) => v.drives === totals.steps), cut = driver ? driver.emitted - totals.tokens : 0;
  ui.totals.replaceChildren(
    note(`${saidOfSteps(state.range, totals.steps)}, ${totals.tokens} new tokens. Only the driver's choices became text; the others judged the trees it led to.${driver && cut > 0 ? ` The driver's ${driver.emitted} tokens count ${cut} that were thrown away, because the text ended: ${thrownOf(totals.thrown, cut - totals.thrown)}.` : ""}`),
    totalsOfAll("Totals of the run so far, by verifier", run, totals.verifiers, totals.steps, totals.formulas), ...[againstLines(totals.against), ...sharedTotals(run, totals), ...draftTotals(run, totals), ...adviceParts(totals, act, state.range !== null)].filter((part) => part !== null));
}

/**
 * @param {number} drafts that were accepted
 * @param {number} others bonus tokens
 */
const thrownOf = (drafts, others) => [drafts ? `${drafts} accepted draft${drafts === 1 ? "" : "s"}` : "", others > 0 ? `${others} bonus token${others === 1 ? "" : "s"}` : ""].filter(Boolean).join(" and ");

/**
 * Of another engine's run: its rule beside specviz's, over the steps that all of them judged.
 * @param {Run} run
 * @param {Totals} totals
 */
function sharedTotals(run, { shared, steps, formulas }) {
  if (!run.engine || !shared) return [];
  const names = shared.verifiers.map((v) => v.verifier).join(", ");
  if (!shared.steps) return [note(`Nothing is compared: no step was judged by all of ${names}. specviz's rules need rows, and those with coins the engine's coins.`)];
  return [note(`Compared over the ${shared.steps} of ${steps} steps that all of ${names} judged, and over no others:`), totalsOfAll("Totals of the steps that all verifiers judged", run, shared.verifiers, shared.steps, formulas)];
}

/**
 * @param {string} caption
 * @param {Run} run
 * @param {VerifierTotals[]} verifiers
 * @param {number} steps
 * @param {Totals["formulas"]} formulas
 */
function totalsOfAll(caption, run, verifiers, steps, formulas) {
  const best = Math.max(1, ...verifiers.map((v) => v.efficiency || 0)), deepest = Math.max(0, ...verifiers.map((v) => v.depth.of.length)), ranks = Math.max(0, ...verifiers.map((v) => v.rank.of.length)), optima = verifiers.some((v) => v.atNodes);
  const rows = verifiers.map((v) => {
    const looks = looksOf(run, v.verifier), foreign = v.verifier === run.engine?.name;
    return el("tr", { "data-verifier": v.verifier },
      el("th", { scope: "row" }, swatch(looks), " ", v.verifier, badge(v, steps)),
      el("td", { "data-label": FIGURES[0].name }, efficiency(v, best, looks)),
      el("td", { "data-label": FIGURES[1].name }, chart(v.depth, deepest, (i) => `depth ${i + 1}`, looks)),
      el("td", { "data-label": FIGURES[2].name }, foreign && !v.rank.of.length ? unrecorded(CALLS.coins) : chart(v.rank, ranks, (i) => `rank ${i}`, looks)),
      optima ? el("td", { "data-label": OPTIMUM.name }, atNodes(v, looks)) : null);
  });
  return table(caption, ["Verifier", ...FIGURES.concat(optima ? [OPTIMUM] : []).map(({ name, formula }) => head(name, formulas[formula]))], rows);
}

/**
 * Means over the nodes that a rule's walks reached: a bar of what was accepted, a tick where it was expected, a line at the
 * optimum.
 * @param {VerifierTotals} v
 * @param {Looks} looks
 */
function atNodes({ verifier, atNodes: sums }, looks) {
  if (!sums) return el("em", { class: "sv-note" }, "none: it does not decide node by node, or it was not recorded");
  const [accepted, expected, optimum] = [sums.accepted, sums.expected, sums.optimum].map((sum) => sum / sums.nodes), at = (/** @type {number} */ share) => `left: ${100 * share}%`;
  const said = `accepted ${percent(accepted)}, ▮ expected ${percent(expected)}, │ optimum ${percent(optimum)}`;
  return el("div", { class: "sv-efficiency sv-atnodes", title: `${verifier}: ${said}` },
    el("span", { class: "sv-wide-track" }, el("span", { class: "sv-fill", style: `width: ${100 * accepted}%; background: var(--sv-${looks.role})` }), el("i", { class: "sv-optimum-mark", style: at(expected) }), el("i", { class: "sv-optimum-best", style: at(optimum) })),
    el("small", {}, `${said}; ${sums.nodes} nodes`));
}

/**
 * @param {Range | null} range
 * @param {number} steps that were counted
 */
function saidOfSteps(range, steps) {
  if (!range) return `${steps} steps`;
  const left = range[1] + 1 - range[0] - steps;
  return `Steps ${range[0] + 1} to ${range[1] + 1}${left ? ` without ${left} that are not loaded yet` : ""}: ${steps} steps`;
}

/**
 * @param {VerifierTotals} v
 * @param {number} steps of all
 */
function badge(v, steps) {
  if (!v.drives) return null;
  const text = v.drives === steps ? "driver" : `driver of ${v.drives} steps`;
  return el("span", { class: "sv-badge", title: "its verdict is committed" }, text);
}

/**
 * @param {string} name
 * @param {string} formula
 */
const head = (name, formula) => el("span", {}, el("b", {}, name), el("small", { class: "sv-formula" }, `= ${formula}`));

/**
 * @param {VerifierTotals} v
 * @param {number} best
 * @param {Looks} looks
 */
function efficiency(v, best, looks) {
  const value = Number(v.efficiency), fill = el("span", { class: "sv-fill", style: `width: ${(100 * value) / best}%; background: var(--sv-${looks.role})` });
  return el("div", { class: "sv-efficiency" }, el("b", { class: "sv-number" }, value.toFixed(2)), el("span", { class: "sv-rail" }, fill), el("small", {}, `${v.emitted} / ${v.steps}`), el("small", {}, `95 %: ${intervalOf(v.low, v.high, (end) => end.toFixed(2))}`));
}

/**
 * A small column chart; every column has its share above and its counts below.
 * @param {Counts} counts
 * @param {number} columns
 * @param {(i: number) => string} name
 * @param {Looks} looks
 */
function chart(counts, columns, name, looks) {
  if (!counts.of.length) return el("em", { class: "sv-note" }, "no decision");
  const bars = [];
  for (let i = 0; i < columns; i++) {
    const accepted = counts.accepted[i] ?? 0, all = counts.of[i] ?? 0;
    const fill = el("span", { class: "sv-stem", style: `height: ${all ? (100 * accepted) / all : 0}%; background: var(--sv-${looks.role})` });
    bars.push(el("span", { class: "sv-column", title: `${name(i)}: ${accepted} of ${all}; 95 %: ${intervalOf(counts.least[i] ?? null, counts.most[i] ?? null, percent)}` }, el("b", { class: "sv-number" }, all ? percent(accepted / all) : "–"),
      el("span", { class: "sv-well" }, fill, whisker(counts.least[i] ?? null, counts.most[i] ?? null)), el("small", {}, `${accepted}/${all}`), el("small", {}, name(i))));
  }
  return el("div", { class: "sv-chart" }, bars);
}

/**
 * The interval of a share, over its column.
 * @param {number | null} least
 * @param {number | null} most
 */
const whisker = (least, most) => (least === null || most === null ? null : el("i", { class: "sv-upright", style: `bottom: ${100 * least}%; height: ${100 * (most - least)}%` }));

/**
 * The same numbers without pictures, one row a count.
 * @param {Totals} totals
 */
export function totalsTable(totals) {
  const lines = [...totals.verifiers, ...(totals.shared?.verifiers.filter((v) => v.steps) || [])].flatMap((v) => [
    { what: "block efficiency", where: "–", accepted: v.emitted, of: v.steps },
    ...rowsOf(v.depth).map((row, i) => ({ what: "acceptance by depth", where: `depth ${i + 1}`, ...row })),
    ...rowsOf(v.rank).map((row, i) => ({ what: "acceptance by sibling rank", where: `rank ${i}`, ...row })),
    ...(v.atNodes ? /** @type {const} */ (["accepted", "expected", "optimum"]).map((what) => ({ what: `${what} at the nodes reached`, where: "–", accepted: v.atNodes ? Math.round(1e6 * v.atNodes[what]) / 1e6 : 0, of: v.atNodes?.nodes ?? 0 })) : []),
  ].map(({ what, where, accepted, of }) => el("tr", {}, cells([v.verifier, what, where, String(accepted), String(of), of ? number(accepted / of) : null]))));
  const ofDraft = draftLines(totals).map(([what, where, top, bottom, value]) => el("tr", {}, cells([null, what, where, top === null ? null : String(top), String(bottom), number(value)])));
  return table("Totals as counts", ["Verifier", "Figure", "At", "Numerator", "Denominator", "Value"], [...lines, ...ofDraft]);
}

/**
 * The timeline as a table.
 * @param {Run} run
 * @param {Map<number, Frame>} frames
 * @param {Act} act
 */
export function stepsTable(run, frames, act) {
  const lines = [], tales = story(frames, run.steps);
  for (let step = 0; step < run.steps; step++) {
    const frame = frames.get(step), accepted = (/** @type {string} */ name) => frame && verdictBy(frame, name)?.path.length;
    lines.push(el("tr", {}, cells([
      el("button", { type: "button", class: "sv-node", onclick: () => act.show(step) }, String(step + 1)), frame ? frame.driver : "not loaded",
      frame ? String(frame.commit.piece.length) : "–", ...run.verifiers.map((v) => accepted(v.name)?.toString()),
      frame ? taleOf(tales, step).found.map(saidOf).join("; ") || "none" : "–",
    ])));
  }
  return table("Accepted tokens of every step", ["Step", "Driver", "New tokens", ...run.verifiers.map((v) => v.name), "Findings"], lines);
}
