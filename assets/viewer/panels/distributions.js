/* Distributions as bars: a model's row after a node, what a rejection left, what a bonus token was drawn from. */

import { digits, restOf, saidOfRest } from "../core/digits.js";
import { el, more, note, swatch, token } from "../core/dom.js";
import { nodePath, verdictPath } from "../core/python_path.js";
import { CALLS, unrecorded } from "../core/recorded.js";
import { drawnFrom, looksOf, otherwise, unwritten } from "../core/words.js";
import { recorded } from "./said.js";

/** @import { Frame, Residual, Run, Top, Verdict } from "../core/frame.d.ts" */
/** @import { distributionAt } from "../core/columns.js" */
/** @import { ModelName } from "../core/state.js" */

/**
 * @param {number} share
 * @param {string} role of its colour
 */
const rail = (share, role) => el("span", { class: "sv-rail" }, el("span", { class: "sv-fill", style: `width: ${100 * Math.min(1, share)}%; background: var(--sv-${role})` }));

/**
 * @param {number | null} p null was cut by the sampling parameters
 * @param {string} role
 * @param {string} path where it stands in the run; none for what is no recorded number
 * @param {string} [said]
 */
const amount = (p, role, path, said) => el("td", { class: "sv-amount" }, el("span", { class: "sv-number" }, said || (p === null ? "cut" : recorded(p, path))), rail(p || 0, role));

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {Verdict} verdict
 */
export function bonusBox(run, frame, verdict) {
  const { bonus, verifier } = verdict, path = `${verdictPath(frame.step, verifier)}.bonus`, late = unwritten(frame, verdict, verdict.path.length);
  if (!bonus) return el("div", { class: "sv-decision", "data-bonus": verifier }, el("div", { class: "sv-who" }, swatch(looksOf(run, verifier)), ` ${verifier} `), el("p", { class: "sv-note" }, "bonus token ", unrecorded(CALLS.bonus)));
  const { top } = bonus, other = otherwise(verdict);
  const coin = bonus.uniform === null ? null : [", u ", recorded(bonus.uniform, `${path}.uniform`, digits(bonus.uniform, 7))];
  return el("div", { class: "sv-decision", "data-bonus": verifier },
    el("div", { class: "sv-who" }, swatch(looksOf(run, verifier)), ` ${verifier} `, token(bonus.text)),
    el("p", { class: "sv-note" }, `${drawnFrom(bonus)} at node ${bonus.node}`.trim(), coin, late ? `; ${late}` : null),
    other ? note(`≠ With processors in the ${other.mode} mode and the same luck it ${other.said}.`) : null,
    bonus.fault ? el("p", { class: "sv-finding" }, `✕ ${bonus.fault}`) : null,
    bonus.draftRank === null ? null : note(`The draft took ${bonus.draftRank === 1 ? "one token" : `${bonus.draftRank} tokens`} for likelier there.`),
    top ? more("The distribution it was drawn from", () => bars(frame, top, bonus.token, `${path}.distribution`)) : el("p", { class: "sv-note" }, "What it was drawn from: ", unrecorded(CALLS.bonusRow)));
}

/**
 * @param {Frame} frame
 * @param {Residual} residual
 * @param {string} title
 * @param {string} path where it stands in the run
 */
export const residualBox = (frame, residual, title, path) => more(`${title}: mass ${digits(residual.mass)}`, () => [
  note("What the target still lacks after this rejection, scaled to 1: a further sibling is judged by it, or the bonus is drawn from it."), bars(frame, residual, null, `${path}.top`)]);

/**
 * One model's row: raw and processed side by side, the rest as one bar each.
 * @param {Frame} frame
 * @param {ModelName} model
 * @param {NonNullable<ReturnType<typeof distributionAt>> & {path: string, bias: {id: number, by: number}[] | null, after: string}} row
 * @param {{node: number} | null} marked the node that was judged by it
 */
export function distribution(frame, model, { entropy, raw, processed, path, bias, after }, marked) {
  const one = raw || processed, same = raw === processed || !raw || !processed, who = model === "draft" && frame.draftRan === false ? frame.builder : model;
  const said = el("p", { class: "sv-note" }, `${who}: entropy `, entropy === null ? unrecorded(CALLS[model]) : [recorded(entropy, `${path}.entropy`), " nats"]);
  if (!one) return el("div", { class: "sv-row", "data-model": model }, said, el("p", { class: "sv-note" }, "likeliest tokens ", unrecorded(CALLS[model])));
  const judged = marked && { token: frame.nodes.token[marked.node], prob: frame.nodes[model === "draft" ? "q" : "p"][marked.node], path: `${nodePath(frame.step, marked.node)}.${model}_prob` };
  const kept = (/** @type {number} */ id) => {
    const { ids, probs } = processed || one, at = ids.indexOf(id);
    return amount(at < 0 ? null : probs[at], model, `${path}.processed.probs[${at}]`);
  };
  const largest = Math.max(1e-9, ...(bias || []).map(({ by }) => Math.abs(by)));
  const lines = one.ids.map((id, i) => el("tr", { class: id === judged?.token ? "sv-hit" : null }, el("th", { scope: "row" }, token(frame.tokens[id])),
    amount(one.probs[i], model, `${path}.${raw ? "raw" : "processed"}.probs[${i}]`), same ? null : kept(id), bias && raw ? lifted(bias[i]?.by ?? null, largest, `${path}.bias[${i}]`) : null));
  if (judged && !one.ids.includes(judged.token) && judged.prob !== null)
    lines.push(el("tr", { class: "sv-hit" }, el("th", { scope: "row" }, token(frame.tokens[judged.token] || "this token")), same ? null : el("td", { class: "sv-note" }, "below these"), amount(judged.prob, model, judged.path)));
  const rests = [one, processed || one].map(({ probs }) => restOf(probs));
  lines.push(el("tr", {}, el("th", { scope: "row" }, el("em", {}, "the rest")), amount(rests[0], model, "", saidOfRest(rests[0])), same ? null : amount(rests[1], model, "", saidOfRest(rests[1]))));
  const heads = ["token", ...(!raw ? ["processed"] : !processed ? ["raw"] : same ? ["raw = processed"] : ["raw", "processed"]), ...(bias && raw ? ["bias"] : [])];
  return el("div", { class: "sv-row", "data-model": model }, said, bias && raw ? el("p", { class: "sv-note" }, saidOfBias(frame, bias, after)) : null,
    el("table", { class: "sv-bars" }, el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, lines)));
}

/**
 * What was added to a token's logit, to the right of the middle where it was lifted.
 * @param {number | null} by
 * @param {number} largest
 * @param {string} path
 */
const lifted = (by, largest, path) => el("td", { class: "sv-amount" }, by === null ? null : [el("span", { class: "sv-number" }, recorded(by, path, signed(by))),
  el("span", { class: "sv-rail sv-lift" }, el("span", { class: `sv-fill${by < 0 ? " sv-lowered" : ""}`, style: `width: ${(50 * Math.abs(by)) / largest}%; ${by < 0 ? `margin-left: ${50 - (50 * Math.abs(by)) / largest}%` : "margin-left: 50%"}; background: var(--sv-draft)` }))]);

/** @param {number} value */
const signed = (value) => (value > 0 ? `+${digits(value)}` : digits(value));

/**
 * Which of the likeliest tokens the bias moved most, each way.
 * @param {Frame} frame
 * @param {{id: number, by: number}[]} bias
 * @param {string} after the token that it follows from
 */
export function saidOfBias(frame, bias, after) {
  const ordered = [...bias].sort((a, b) => b.by - a.by), up = ordered[0], down = ordered.at(-1), name = (/** @type {number} */ id) => `“${frame.tokens[id]}”`;
  const parts = [up && up.by > 0 ? `lifts ${name(up.id)} most, by ${digits(up.by)}` : null, down && down.by < 0 ? `lowers ${name(down.id)} most, by ${digits(-down.by)}` : null].filter(Boolean);
  return `The bias that follows from “${after}”, in logits, of the tokens below: ${parts.join("; ") || "moves none of them"}.`;
}

/**
 * Bars of a distribution's top entries and of the rest, in the target's colour.
 * @param {Frame} frame
 * @param {Top} top
 * @param {number | null} marked
 * @param {string} path where it stands in the run
 */
function bars(frame, { ids, probs }, marked, path) {
  const rest = restOf(probs);
  const line = (/** @type {any} */ label, /** @type {boolean} */ hit, /** @type {HTMLElement} */ shown) => el("tr", { class: hit ? "sv-hit" : null }, el("th", { scope: "row" }, label), shown);
  const lines = ids.map((id, i) => line(token(frame.tokens[id]), id === marked, amount(probs[i], "target", `${path}.probs[${i}]`)));
  if (rest > 5e-4) lines.push(line(el("em", {}, "the rest"), marked !== null && !ids.includes(marked), amount(rest, "target", "", saidOfRest(rest))));
  return el("table", { class: "sv-bars" }, el("tbody", {}, lines));
}
