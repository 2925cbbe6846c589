/* What a decision compared and how that came out, as sentences and numbers: pure functions of the frames. */

import { decisionsOf } from "../core/columns.js";
import { OUTCOMES } from "../core/constants.js";
import { decisionPath } from "../core/python_path.js";
import { NOT_RECORDED } from "../core/recorded.js";

/** @import { Frame, Verdict } from "../core/frame.d.ts" */
/** @import { Decision } from "../core/columns.js" */

/**
 * A part of a sentence: text, a token, what stands out, or a recorded number with where it stands and how many digits are shown.
 * @typedef {string | {token: string} | {strong: string} | {node: number, text: string} | {value: number | string, path: string, count?: number}} Part
 */

/** Relative difference up to which a threshold counts as the quotient of the p and q that stand beside it. */
const ROUNDING = 1e-5;

/**
 * Which picture a decision has: a coin in an accept zone, p against a level, two tokens, or none where no coin was recorded.
 * @param {Decision} decision
 * @returns {"coin" | "level" | "tokens" | null}
 */
export function pictureKind({ comparison, uniform, p, threshold }) {
  if (threshold === null && !comparison.startsWith("token")) return null;
  if (comparison === "uniform < threshold") return uniform === null ? null : "coin";
  if (comparison === "p > threshold") return p === null ? null : "level";
  return comparison ? "tokens" : null;
}

/**
 * The comparison with its two sides, and whether it holds (null for what cannot be told from the numbers).
 * @param {Frame} frame
 * @param {string} verifier
 * @param {Decision} decision
 * @returns {{said: Part[], holds: boolean | null}}
 */
export function arithmetic(frame, verifier, { at, node, comparison, uniform, p, expected, threshold, outcome: letter }) {
  const path = decisionPath(frame.step, verifier, at), number = (/** @type {number} */ value, /** @type {string} */ field) => ({ value, path: `${path}.${field}`, count: 7 });
  if (!comparison) return { said: [`what was compared was ${NOT_RECORDED}`], holds: null };
  if (comparison === "uniform < threshold" || comparison === "p > threshold") {
    if (threshold === null) return { said: [`threshold ${NOT_RECORDED}`], holds: null };
    const isCoin = comparison === "uniform < threshold", left = isCoin ? uniform : p;
    if (left === null) return { said: ["threshold ", number(threshold, "threshold")], holds: null };
    // About a folded node both sides are sent rounded: where they read the same, only the outcome tells which is larger.
    const holds = left === threshold ? letter !== "r" : isCoin ? left < threshold : left > threshold;
    const sign = isCoin ? (holds ? "<" : "≥") : holds ? ">" : "≤";
    return { said: [isCoin ? "u " : "p ", number(left, isCoin ? "uniform" : "p"), ` ${sign} `, number(threshold, "threshold"), " threshold"], holds };
  }
  const own = frame.nodes.token[node], name = comparison === "token = drawn" ? "drawn" : "argmax";
  if (expected === null) return { said: [`no token was ${name}`], holds: null };
  const coin = uniform === null ? [] : [" with u ", number(uniform, "uniform")];
  return { said: [`${frame.nodes.text[node]} ${own === expected ? "=" : "≠"} ${frame.tokens[expected]} ${name}`, ...coin], holds: own === expected };
}

/** @param {string} text */
export const capital = (text) => text.replace(/^./, (letter) => letter.toUpperCase());

/**
 * A decision in one sentence.
 * @param {Frame} frame
 * @param {string} verifier
 * @param {Decision} decision
 * @param {string} state what its outcome counts as now: inside a step a rule that chooses at its end has only let a node pass
 * @returns {Part[]}
 */
export function sentence(frame, verifier, decision, state) {
  const path = decisionPath(frame.step, verifier, decision.at), { uniform, threshold, p, expected, node } = decision, { holds } = arithmetic(frame, verifier, decision);
  const head = [{ strong: capital(OUTCOMES[state].words) }, ` by ${verifier}: `], kind = pictureKind(decision);
  const number = (/** @type {number | null} */ value, /** @type {string} */ field) => ({ value: /** @type {number} */ (value), path: `${path}.${field}` });
  if (threshold === null && kind === null) return [...head, `what was compared was ${NOT_RECORDED}.`];
  if (kind === "coin" && threshold !== null) {
    if (threshold >= 1 && holds) return [...head, "the accept zone is everything, so the coin ", number(uniform, "uniform"), " could not miss it."];
    return [...head, "the coin ", number(uniform, "uniform"), holds ? " fell inside" : " missed", " the accept zone, 0 to ", threshold >= 1 ? "1" : number(threshold, "threshold"), "."];
  }
  if (kind === "level") return [...head, "the target gives it ", number(p, "p"), holds ? ", more than the " : ", no more than the ", number(threshold, "threshold"), " that it takes. No coin is flipped."];
  if (kind === null && !decision.comparison) return [...head, `what was compared was ${NOT_RECORDED}.`];
  if (kind === null) return [...head, "its threshold is ", number(threshold, "threshold"), "; no coin was recorded."];
  const drawn = decision.comparison === "token = drawn";
  if (expected === null) return [...head, drawn ? "no token was drawn here." : "there was no likeliest token here."];
  const other = { token: frame.tokens[expected] };
  if (expected === frame.nodes.token[node]) return [...head, drawn ? "the target drew this token itself." : "it is the target's likeliest token. No coin is flipped."];
  return [...head, drawn ? "the target drew " : "the target's likeliest token is ", other, drawn ? " instead." : ". No coin is flipped."];
}

/**
 * The threshold as the quotient it is: p ÷ q = threshold. Null for other rules, and where the numbers do not give it.
 * @param {Frame} frame
 * @param {string} verifier
 * @param {Decision} decision
 * @returns {Part[] | null}
 */
export function division(frame, verifier, { at, rule, p, q, threshold }) {
  if (!rule.includes("p/q") || p === null || threshold === null || !q || Math.abs(p / q - threshold) > ROUNDING * threshold) return null;
  const path = decisionPath(frame.step, verifier, at), number = (/** @type {number} */ value, /** @type {string} */ field) => ({ value, path: `${path}.${field}` });
  return [number(p, "p"), " ÷ ", number(q, "q"), " = ", number(threshold, "threshold")];
}

/**
 * Decisions about children of the same parent, in the order they were taken: earlier ones shaped the p and q of later ones.
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {Decision} decision
 */
export function familyOf(frame, verdict, decision) {
  const { parent } = frame.tree;
  return decisionsOf(verdict).filter((one) => parent[one.node] === parent[decision.node]);
}

/**
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {Decision} decision
 */
export const eldersOf = (frame, verdict, decision) => familyOf(frame, verdict, decision).filter((one) => one.at < decision.at);

/**
 * @typedef {object} Taken a token before and after a rejection
 * @property {number} token
 * @property {number} before its probability, of the residual that an elder sibling left or of the target's row
 * @property {number} left what the rejection left of that, not scaled
 * @property {number | null} after that, scaled to 1; null where it is not among the listed ones
 * @property {number} place among those
 */

const ROWS = 4, WHOLE = 0.9995;

/**
 * What a rejection took of the likeliest tokens: the rejected one and `selected` are among them. Null without a residual.
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {Decision} rejected
 * @param {{ids: number[], probs: number[]} | null} row the target's, where the node was judged
 * @param {number} selected node
 * @returns {{rows: Taken[], mass: number, least: number} | null} `least`: what is not listed is at most that
 */
export function takenBy(frame, verdict, rejected, row, selected) {
  const { residual } = rejected;
  if (!residual || !row) return null;
  const elder = eldersOf(frame, verdict, rejected).filter((one) => one.residual).at(-1), before = elder?.residual || row;
  const own = frame.nodes.token[rejected.node], known = new Map(before.ids.map((id, i) => [id, before.probs[i]]));
  if (!known.has(own) && rejected.p !== null) known.set(own, rejected.p);
  const wanted = new Set([...before.ids.slice(0, ROWS), own, frame.nodes.token[selected]].filter((id) => known.has(id)));
  const least = residual.probs.reduce((sum, p) => sum + p, 0) > WHOLE ? 0 : Math.min(...residual.probs);
  const rows = [...wanted].map((token) => {
    const place = residual.ids.indexOf(token), after = place < 0 ? (least ? null : 0) : residual.probs[place], p = known.get(token) || 0;
    return { token, before: p, left: Math.min(p, (after || 0) * residual.mass), after, place };
  });
  return { rows: rows.sort((a, b) => (b.after ?? 0) - (a.after ?? 0) || b.before - a.before), mass: residual.mass, least };
}
