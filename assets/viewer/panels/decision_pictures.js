/* A decision as a picture: both probabilities as bars, and below them a coin in its accept zone, p against the level that it
 * takes, or the two tokens that were compared; then what a rejection took of the target's distribution.
 */

import { distributionAt } from "../core/columns.js";
import { digits } from "../core/digits.js";
import { el, svg, token } from "../core/dom.js";
import { decisionPath, nodePath, rowPath } from "../core/python_path.js";
import { NOT_RECORDED } from "../core/recorded.js";
import { division, eldersOf, pictureKind, takenBy } from "./decision.js";
import { recorded, said } from "./said.js";

/** @import { Frame, Looks, Verdict } from "../core/frame.d.ts" */
/** @import { Decision } from "../core/columns.js" */
/** @import { Act } from "../core/state.js" */

const WIDTH = 310, HEIGHT = 66, EDGE = 8, MIDDLE = 34, INSIDE = WIDTH - 2 * EDGE;

/**
 * Where things stand in the picture of a coin or a level: shares of the line from 0 to `most` become pixels, and a label that
 * would leave the picture stays in it.
 * @param {number} mark the end of the accept zone, or its beginning
 * @param {number} found the coin, or p
 * @param {number} most what the line ends at
 */
export function placesOf(mark, found, most) {
  const at = (/** @type {number} */ value) => EDGE + INSIDE * Math.max(0, Math.min(1, value / most)), share = Math.min(1, mark / most);
  const anchor = share < 0.32 ? "start" : share > 0.8 ? "end" : "middle";
  return { mark: at(mark), found: at(found), above: Math.max(46, Math.min(WIDTH - 46, at(found))), below: Math.max(EDGE + (anchor === "start" ? 14 : 0), Math.min(WIDTH - EDGE, at(mark))), anchor, hidesEnd: share > 0.8 };
}

/**
 * @param {Looks} looks of the verifier
 * @param {string} label
 * @param {Element[]} parts
 */
function line(looks, label, parts) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "sv-decisionline", role: "img", "aria-label": label, style: `--sv-own: var(--sv-${looks.role})` });
  picture.append(svg("rect", { x: EDGE, y: MIDDLE - 9, width: INSIDE, height: 18, rx: 4, class: "sv-line-track" }), ...parts);
  return picture;
}

/**
 * A coin on the line from 0 to 1, whose beginning accepts.
 * @param {Looks} looks
 * @param {number} uniform
 * @param {number} threshold
 */
export function coinPicture(looks, uniform, threshold) {
  const zone = Math.max(0, Math.min(1, threshold)), { mark, found, above, below, anchor, hidesEnd } = placesOf(zone, uniform, 1);
  const told = zone >= 1 ? "always accepts" : `accept below ${digits(zone)}`;
  return line(looks, `Coin ${digits(uniform)} on a line from 0 to 1; ${zone >= 1 ? "all of it accepts" : `below ${digits(zone)} it accepts`}.`, [
    svg("rect", { x: EDGE, y: MIDDLE - 9, width: Math.max(2, mark - EDGE), height: 18, rx: zone > 0.02 ? 4 : 1, class: "sv-line-zone" }),
    svg("path", { d: `M${mark} ${MIDDLE - 13}v26`, class: "sv-line-mark" }), svg("circle", { cx: found, cy: MIDDLE, r: 8, class: "sv-line-coin" }),
    svg("text", { x: above, y: 14, "text-anchor": "middle", class: "sv-line-strong" }, `coin ${digits(uniform)}`),
    svg("text", { x: EDGE, y: HEIGHT - 6 }, "0"), ...(hidesEnd ? [] : [svg("text", { x: WIDTH - EDGE, y: HEIGHT - 6, "text-anchor": "end" }, "1")]),
    svg("text", { x: below, y: HEIGHT - 6, "text-anchor": anchor, class: "sv-line-strong" }, told),
  ]);
}

/** What a line ends at that shows p and the level well: 1, or a little more than the larger of them. @param {number} larger */
const endOf = (larger) => (larger > 0.5 ? 1 : Number((1.5 * larger).toPrecision(1)) || 1);

/**
 * p as a bar against the level that it must exceed; everything beyond it accepts.
 * @param {Looks} looks
 * @param {number} p
 * @param {number} threshold
 */
export function levelPicture(looks, p, threshold) {
  const most = endOf(Math.max(p, threshold)), { mark, found, above, below, anchor } = placesOf(threshold, p, most);
  // In the middle it would run into what the line ends at.
  const side = anchor === "middle" && mark > 0.6 * WIDTH ? "end" : anchor;
  return line(looks, `Target p ${digits(p)} on a line from 0 to ${digits(most)}; above ${digits(threshold)} it accepts.`, [
    svg("rect", { x: mark, y: MIDDLE - 9, width: Math.max(2, WIDTH - EDGE - mark), height: 18, rx: 4, class: "sv-line-zone" }),
    svg("rect", { x: EDGE, y: MIDDLE - 4, width: Math.max(1.5, found - EDGE), height: 8, rx: 2, class: "sv-line-solid" }), svg("path", { d: `M${mark} ${MIDDLE - 13}v26`, class: "sv-line-mark" }),
    svg("text", { x: above, y: 14, "text-anchor": "middle", class: "sv-line-strong" }, `target p ${digits(p)}`),
    ...(anchor === "start" && mark < 26 ? [] : [svg("text", { x: EDGE, y: HEIGHT - 6 }, "0")]), ...(anchor === "end" ? [] : [svg("text", { x: WIDTH - EDGE, y: HEIGHT - 6, "text-anchor": "end" }, digits(most))]),
    svg("text", { x: below, y: HEIGHT - 6, "text-anchor": side, class: "sv-line-strong" }, `accept above ${digits(threshold)}`),
  ]);
}

/**
 * @param {number} share
 * @param {"q" | "p" | "taken" | "left"} kind draft hollow, target solid, what was taken hatched
 */
const bar = (share, kind) => el("i", { class: `sv-${kind}bar`, style: `width: ${Math.max(0.8, 100 * Math.min(1, share))}%` });

/**
 * Draft q and target p, one below the other. Null is not known yet.
 * @param {{value: number | null, path: string}} q
 * @param {{value: number | null, path: string}} p
 * @param {string} [missing] what stands in the place of a number that there is not
 */
export const bothBars = (q, p, missing = "?") => el("div", { class: "sv-pair" }, /** @type {const} */ ([["draft q", "q", q], ["target p", "p", p]]).map(([name, kind, { value, path }]) => [
  el("span", {}, name), el("span", { class: "sv-wide-track" }, value === null ? null : bar(value, kind)), el("b", { class: "sv-number" }, value === null ? missing : recorded(value, path))]));

/**
 * The token of the node beside the one that it was compared with, each with what the target gives it.
 * @param {Frame} frame
 * @param {Decision} decision
 */
function tokensPicture(frame, { node, expected, comparison, p }) {
  const { nodes, tree, step } = frame, parent = tree.parent[node], row = distributionAt(nodes.target, parent)?.processed, same = expected === nodes.token[node];
  const name = comparison === "token = drawn" ? "drawn" : "likeliest", at = row && expected !== null ? row.ids.indexOf(expected) : -1;
  const other = at < 0 || !row ? null : { value: row.probs[at], path: `${rowPath(step, parent, "target")}.processed.probs[${at}]` };
  const lineOf = (/** @type {string} */ who, /** @type {string} */ text, /** @type {{value: number, path: string} | null} */ prob) => [
    el("span", { class: "sv-note" }, who), token(text), el("span", { class: "sv-wide-track" }, prob ? bar(prob.value, "p") : null), el("b", { class: "sv-number" }, prob ? recorded(prob.value, prob.path) : "–")];
  const own = p === null ? null : { value: nodes.p[node] ?? p, path: `${nodePath(step, node)}.target_prob` };
  return el("div", { class: "sv-compared", role: "group", "aria-label": same ? "The same token" : "Two tokens" },
    lineOf(same ? `this node = ${name}` : "this node", nodes.text[node], own),
    same ? null : [el("b", { class: "sv-unequal" }, expected === null ? "" : "≠"), expected === null ? null : lineOf(name, frame.tokens[expected], other)]);
}

/**
 * The picture of a decision with the numbers that gave it.
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {Looks} looks
 * @param {Decision} decision
 * @param {Act} act
 * @returns {(Node | null)[]}
 */
export function decisionPicture(frame, verdict, looks, decision, act) {
  const { nodes, step } = frame, { node, at, p, q, uniform, threshold, rule, comparison } = decision, path = decisionPath(step, verdict.verifier, at), kind = pictureKind(decision);
  const elder = eldersOf(frame, verdict, decision).filter((one) => one.outcome === "r").at(-1);
  const before = { q: nodes.q[node], p: nodes.p[node] }, changed = differ(p, before.p) || differ(q, before.q);
  /** @type {(Node | null)[]} */
  const made = [bothBars(p === null || q === null ? { value: before.q, path: `${nodePath(step, node)}.draft_prob` } : { value: q, path: `${path}.q` },
    p === null ? { value: before.p, path: `${nodePath(step, node)}.target_prob` } : { value: p, path: `${path}.p` }, NOT_RECORDED)];
  if (changed && p !== null && before.p !== null && before.q !== null) made.push(el("p", { class: "sv-note" }, elder ? `after node ${elder.node} went; before: ` : "as this rule used them; the tree has ",
    said(["q ", { value: /** @type {number} */ (before.q), path: `${nodePath(step, node)}.draft_prob` }, ", p ", { value: /** @type {number} */ (before.p), path: `${nodePath(step, node)}.target_prob` }], act)));
  /** @type {(Node | null)[]} */
  const decided = [];
  const divided = division(frame, verdict.verifier, decision), isCoin = comparison === "uniform < threshold";
  decided.push(el("h4", { class: "sv-sumline" }, el("span", {}, divided ? "Accept chance p ÷ q" : el("code", {}, rule)),
    kind === "tokens" || (threshold === null && !divided) ? null : el("b", { class: "sv-number" }, said(divided || [isCoin ? "threshold " : "level ", { value: Number(threshold), path: `${path}.threshold` }], act), isCoin && Number(threshold) > 1 ? ", more than 1" : null)));
  if (kind === "coin") decided.push(coinPicture(looks, Number(uniform), Number(threshold)));
  else if (kind === "level") decided.push(levelPicture(looks, Number(p), Number(threshold)));
  else if (kind === "tokens") decided.push(tokensPicture(frame, decision));
  const rejected = decision.outcome === "r" && decision.residual ? decision : elder;
  return [...made, el("div", { class: "sv-decided" }, decided, rejected ? residualPicture(frame, verdict, rejected, node) : null)];
}

/**
 * @param {number | null} one
 * @param {number | null} other
 */
const differ = (one, other) => one !== null && other !== null && Math.abs(one - other) > 1e-5 * Math.max(one, other);

/**
 * What a rejection took and what it left, for the likeliest tokens.
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {Decision} rejected
 * @param {number} node the one that is selected: a younger sibling is judged by what is left
 * @returns {Node | null}
 */
export function residualPicture(frame, verdict, rejected, node) {
  const parent = frame.tree.parent[rejected.node], taken = takenBy(frame, verdict, rejected, distributionAt(frame.nodes.target, parent)?.processed || null, node);
  if (!taken) return null;
  const path = `${decisionPath(frame.step, verdict.verifier, rejected.at)}.residual`, most = Math.max(0.2, ...taken.rows.map(({ before }) => before));
  const { nodes } = frame, textOf = (/** @type {number} */ id) => frame.tokens[id] ?? nodes.text[nodes.token.indexOf(id)];
  const lines = taken.rows.map(({ token: id, before, left, after, place }) => [
    el("span", { class: "sv-takentoken", title: textOf(id) }, token(textOf(id))),
    el("span", { class: "sv-wide-track", title: `${digits(before)} before` }, bar(before / most, "taken"), bar(left / most, "left")),
    el("span", { class: "sv-number" }, after === null ? `<${digits(taken.least)}` : place < 0 ? "0" : recorded(after, `${path}.top.probs[${place}]`))]);
  const quotient = rejected.rule.includes("p/q");
  return el("section", { class: "sv-taken", "aria-label": "What the rejection took" },
    el("h4", {}, rejected.node === node ? "What this rejection took, and what is left" : `Before this: node ${rejected.node} was rejected`),
    el("div", { class: "sv-takenrows" }, el("span", { class: "sv-takenhead" }, "left, scaled to 1"), lines),
    el("p", { class: "sv-note" }, quotient ? "hatched min(p, q) is gone · solid max(p − q, 0), mass " : "hatched is gone · solid is left, mass ", recorded(taken.mass, `${path}.mass`), ", scaled to 1"));
}
