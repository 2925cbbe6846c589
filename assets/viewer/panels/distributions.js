/* Distributions as bars: a model's row after a node, what a rejection left, what a bonus token was drawn from. */

import { digits, restOf, saidOfRest } from "../core/digits.js";
import { el, more, note, swatch, token } from "../core/dom.js";
import { looksOf, unwritten } from "../core/words.js";

/** @import { Frame, Residual, Run, Top, Verdict } from "../core/frame.d.ts" */
/** @import { distributionAt } from "../core/columns.js" */
/** @import { ModelName } from "../core/state.js" */

/**
 * @param {number} share
 * @param {string} role of its colour
 */
export const rail = (share, role) => el("span", { class: "sv-rail" }, el("span", { class: "sv-fill", style: `width: ${100 * Math.min(1, share)}%; background: var(--sv-${role})` }));

/**
 * @param {number | null} p null was cut by the sampling parameters
 * @param {string} role
 * @param {string} [said]
 */
const amount = (p, role, said) => el("td", { class: "sv-amount" }, el("span", { class: "sv-number" }, said || (p === null ? "cut" : digits(p))), rail(p || 0, role));

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {Verdict} verdict
 */
export function bonusBox(run, frame, verdict) {
  const { bonus, verifier } = verdict, from = `from the ${bonus.source} at node ${bonus.node}${bonus.uniform === null ? "" : `, u ${digits(bonus.uniform, 7)}`}`;
  return el("div", { class: "sv-decision", "data-bonus": verifier },
    el("div", { class: "sv-who" }, swatch(looksOf(run, verifier)), ` ${verifier} `, token(bonus.text)),
    note([from, unwritten(frame, verdict, verdict.path.length)].filter(Boolean).join("; ")),
    bonus.fault ? el("p", { class: "sv-finding" }, `✕ ${bonus.fault}`) : null,
    more("The distribution it was drawn from", () => bars(frame, bonus.top, bonus.token)));
}

/**
 * @param {Frame} frame
 * @param {Residual} residual
 * @param {string} title
 */
export const residualBox = (frame, residual, title) => more(`${title}: mass ${digits(residual.mass)}`, () => [
  note("What the target still lacks after this rejection, scaled to 1: a further sibling is judged by it, or the bonus is drawn from it."), bars(frame, residual, null)]);

/**
 * One model's row: raw and processed side by side, the rest as one bar each.
 * @param {Frame} frame
 * @param {ModelName} model
 * @param {NonNullable<ReturnType<typeof distributionAt>>} row
 * @param {{token: number, prob: number | null} | null} marked the token that was judged
 */
export function distribution(frame, model, { entropy, raw, processed }, marked) {
  const same = raw === processed, kept = new Map(processed.ids.map((id, i) => [id, processed.probs[i]]));
  const who = model === "draft" && !frame.caches.draft.slot.length ? frame.builder : model;
  const lines = raw.ids.map((id, i) => el("tr", { class: marked && id === marked.token ? "sv-hit" : null }, el("th", { scope: "row" }, token(frame.tokens[id])),
    amount(raw.probs[i], model), same ? null : amount(kept.get(id) ?? null, model)));
  if (marked && !raw.ids.includes(marked.token) && marked.prob !== null)
    lines.push(el("tr", { class: "sv-hit" }, el("th", { scope: "row" }, token(frame.tokens[marked.token] || "this token")), same ? null : el("td", { class: "sv-note" }, "below these"), amount(marked.prob, model)));
  const rests = [raw, processed].map(({ probs }) => restOf(probs));
  lines.push(el("tr", {}, el("th", { scope: "row" }, el("em", {}, "the rest")), amount(rests[0], model, saidOfRest(rests[0])), same ? null : amount(rests[1], model, saidOfRest(rests[1]))));
  const heads = ["token", ...(same ? ["raw = processed"] : ["raw", "processed"])];
  return el("div", { class: "sv-row", "data-model": model }, note(`${who}: entropy ${digits(entropy)} nats`),
    el("table", { class: "sv-bars" }, el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, lines)));
}

/**
 * Bars of a distribution's top entries and of the rest, in the target's colour.
 * @param {Frame} frame
 * @param {Top} top
 * @param {number | null} marked
 */
function bars(frame, { ids, probs }, marked) {
  const rest = restOf(probs);
  const line = (/** @type {any} */ label, /** @type {number} */ p, /** @type {boolean} */ hit, /** @type {string} */ said = digits(p)) =>
    el("tr", { class: hit ? "sv-hit" : null }, el("th", { scope: "row" }, label), amount(p, "target", said));
  const lines = ids.map((id, i) => line(token(frame.tokens[id]), probs[i], id === marked));
  if (rest > 5e-4) lines.push(line(el("em", {}, "the rest"), rest, marked !== null && !ids.includes(marked), saidOfRest(rest)));
  return el("table", { class: "sv-bars" }, el("tbody", {}, lines));
}
