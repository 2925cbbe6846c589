/* What the checks of another engine's run found (specviz/figures/findings.py), each with a way to its place; what the page
 * itself compares in its caches, masks and bonus tokens; and which checks could not run.
 */

import { rowsOf } from "../core/columns.js";
import { el, note } from "../core/dom.js";
import { kindOf, saidOf, story } from "./findings.js";

/** @import { CheckColumns, Run } from "../core/frame.d.ts" */
/** @import { Act, Place, State } from "../core/state.js" */

/** Where a finding's place is in the page. @type {Record<string, Place["part"]>} */
export const PARTS = { cache: "faults", "draft cache": "faults", mask: "mask", decisions: "verdicts", bonus: "verdicts" };

const counted = (/** @type {number} */ count, /** @type {string} */ what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/**
 * How many findings there are, of how many checks that ran, in words.
 * @param {NonNullable<Run["findings"]>} findings
 */
export function saidOfChecks({ ran, found, more, notRun }) {
  const lacking = notRun.check.length ? `; ${counted(notRun.check.length, "check")} could not run` : "";
  return ran || found.check.length ? `${counted(found.check.length + more, "finding")} of ${counted(ran, "check")} that ran${lacking}.` : `No check ran${lacking}.`;
}

/**
 * @param {{checks: HTMLElement}} ui
 * @param {Run} run
 * @param {State} state
 * @param {Act} act
 */
export function drawChecks(ui, run, state, act) {
  const { findings } = run;
  if (!findings) return ui.checks.replaceChildren(note("Nothing is listed here of a run of specviz's own: what does not fit in it stands above the tree."));
  const go = (/** @type {Place} */ place, /** @type {string} */ text) => el("button", { type: "button", class: "sv-node", onclick: () => act.follow(place) }, text);
  const items = rowsOf(findings.found).map(({ check, weight, step, node, sentence, meaning, place }) => {
    const where = step === null ? "the whole run" : `step ${step + 1}${node === null ? "" : `, node ${node}`}`, part = PARTS[place];
    const way = step === null ? where : go({ step, ...(node === null ? {} : { node }), ...(part && { part }) }, where);
    return el("li", { class: `sv-check-${weight}` }, el("p", {}, el("b", {}, `${weight}: ${named(check)}`), " · ", way), el("p", {}, sentence), note(`Usually: ${meaning}.`));
  });
  const own = [...story(state.frames, run.steps)].flatMap(([step, tale]) =>
    (kindOf(tale) ? [el("li", {}, el("p", {}, go({ step, part: tale.found[0].place }, `step ${step + 1}`), ` ${tale.found.map(saidOf).join("; ")}`))] : []));
  ui.checks.replaceChildren(
    el("p", { role: "status" }, el("b", {}, saidOfChecks(findings))), items.length ? el("ol", { class: "sv-checks" }, items) : "", findings.more ? note(`${findings.more} more are not listed.`) : "",
    own.length ? el("div", {}, el("h4", {}, "What the page itself finds in caches, masks and bonus tokens"), el("ol", { class: "sv-checks" }, own)) : "",
    list("Could not run", findings.notRun, "it lacked "), list("Ran, and found nothing", findings.fits, ""));
}

/** @param {string} check */
export const named = (check) => check.replace(/_/g, " ");

/**
 * @param {string} title
 * @param {CheckColumns} columns
 * @param {string} before what is said
 */
const list = (title, columns, before) => (columns.check.length
  ? el("div", {}, el("h4", {}, title), el("ul", { class: "sv-lacks" }, rowsOf(columns).map(({ check, said }) => el("li", {}, `${named(check)}: ${before}${said}`)))) : "");
