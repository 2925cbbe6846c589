/* One node's arithmetic in full: both distributions where it was judged and after it, every verifier's comparison, what
 * each rejection left, and where a bonus token came from. All numbers were recorded; nothing is computed but the rest.
 * Inside a step only what is known after its phase is told (view.known, see tree/phases.js).
 */

import { decisionsOf, distributionAt } from "../core/columns.js";
import { digits, ordinal } from "../core/digits.js";
import { el, more, nodeButton, note, swatch, token } from "../core/dom.js";
import { looksOf, outcome, unwritten } from "../core/words.js";
import { bonusBox, distribution, rail, residualBox } from "./distributions.js";

/** @import { Frame, Run, Verdict } from "../core/frame.d.ts" */
/** @import { Decision } from "../core/columns.js" */
/** @import { Act, View } from "../core/state.js" */
/** @import { Known } from "../tree/phases.js" */

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {number} node
 * @param {View} view
 * @param {Act} act
 * @returns {Node[]}
 */
export function nodePanel(run, frame, node, view, act) {
  const { nodes, tree } = frame, parent = tree.parent[node], { known } = view, verdicts = frame.verdicts.filter((v) => view.shown.has(v.verifier));
  const judges = verdicts.filter((v) => known.states[v.verifier]);
  /** @type {Node[]} */
  const made = [el("h3", {}, `Node ${node} `, token(nodes.text[node]))];
  if (node === 0) made.push(note(`The last committed token (id ${nodes.token[0]}); the tree grows from it, and no verifier judges it.`));
  else {
    const siblings = tree.parent.filter((up) => up === parent).length;
    made.push(el("p", { class: "sv-note" }, `depth ${nodes.depth[node]}, ${frame.proposal === "top_k" ? "" : "drawn "}${ordinal(nodes.rank[node] + 1)} of ${siblings} after `, nodeButton(parent, nodes.text[parent], act), ` · token id ${nodes.token[node]}`),
      el("div", { class: "sv-pair" }, bar("draft", nodes.q[node]), known.target ? bar("target", nodes.p[node]) : null),
      el("h4", {}, "Decisions"), ...judges.flatMap((v) => decisions(run, frame, v, node, known)));
    if (!judges.length) made.push(note(known.judged ? "No verifier that has judged is shown." : "No verifier has judged the tree yet."));
  }
  const drawn = verdicts.filter((v) => v.bonus.node === node && known.bonus.has(v.verifier));
  if (drawn.length) made.push(el("h4", {}, "Bonus token drawn here"), ...drawn.map((v) => bonusBox(run, frame, v)));
  if (node) {
    made.push(el("h4", {}, "Where it was judged: after ", nodeButton(parent, nodes.text[parent], act)));
    const target = distributionAt(nodes.target, parent), draft = distributionAt(nodes.draft, parent);
    if (known.target && target) made.push(distribution(frame, "target", target, { token: nodes.token[node], prob: nodes.p[node] }));
    made.push(draft ? distribution(frame, "draft", draft, { token: nodes.token[node], prob: nodes.q[node] }) : note("The draft's row there was not recorded."));
  }
  made.push(el("h4", {}, "What may follow it"));
  const target = distributionAt(nodes.target, node), draft = distributionAt(nodes.draft, node);
  if (known.target && target) made.push(distribution(frame, "target", target, null));
  if (nodes.depth[node] >= known.depth) made.push(note("Neither model has run this node yet."));
  else made.push(draft ? distribution(frame, "draft", draft, null) : note(frame.caches.draft.slot.length ? "The draft did not run this node: it was not expanded." : "No draft model ran in this step."));
  if (nodes.limits.shown !== nodes.limits.folded)
    made.push(note(`Large tree: ${nodes.limits.shown} entries of a distribution are carried for nodes in sight, ${nodes.limits.folded} for folded ones.`));
  return made;
}

/**
 * @param {"draft" | "target"} model
 * @param {number | null} value
 */
const bar = (model, value) => [el("span", {}, model), rail(value || 0, model), el("b", { class: "sv-number" }, digits(value))];

/**
 * What one verifier decided about a node, as far as it is known.
 * @param {Run} run
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {number} node
 * @param {Known} known
 */
function decisions(run, frame, verdict, node, known) {
  const all = decisionsOf(verdict), taken = all.slice(0, known.taken).filter((one) => one.node === node), state = known.states[verdict.verifier][node];
  // Inside the step a rule that chooses at its end has only let the node pass so far.
  const late = state === "a" ? unwritten(frame, verdict, verdict.path.indexOf(node)) : null, added = late ? [note(late)] : [];
  if (taken.length) return [...taken.map((one) => decisionBox(run, frame, verdict, one, one.outcome === "a" && state === "p" ? "p" : one.outcome)), ...added];
  const why = state === "a" ? "Accepted with the path below it: this rule accepts whole paths."
    : `Its threshold here is ${digits(verdict.thresholds[node])}; the walk ${known.taken < all.length ? "has not come by yet" : "did not come by"}.`;
  return [el("div", { class: "sv-decision", "data-verifier": verdict.verifier }, who(run, verdict.verifier, state), note(why), ...added)];
}

/**
 * @param {Run} run
 * @param {string} name
 * @param {string} state
 */
const who = (run, name, state) => el("div", { class: "sv-who" }, swatch(looksOf(run, name)), ` ${name} `,
  el("b", { class: `sv-state-${state === "." ? "none" : state}` }, outcome(state)));

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {Decision} decision
 * @param {string} state what its outcome counts as now
 */
function decisionBox(run, frame, verdict, decision, state) {
  const { said, holds } = arithmetic(frame, decision), { rule, p, q } = decision;
  const box = el("div", { class: "sv-decision", "data-verifier": verdict.verifier }, who(run, verdict.verifier, state), el("p", { class: "sv-sum" }, said));
  if (holds !== null && holds !== (state !== "r")) box.append(el("p", { class: "sv-bad" }, "✕ These numbers do not give this outcome."));
  const used = [p === null ? null : `p ${digits(p, 6)}`, q === null ? null : `q ${digits(q, 6)}`].filter(Boolean);
  box.append(el("p", { class: "sv-note" }, "rule ", el("code", {}, rule), used.length ? ` · used ${used.join(rule.includes("p/q") ? " / " : ", ")}` : ""));
  if (decision.reason) box.append(el("p", {}, `because ${decision.reason}`));
  if (!decision.full) box.append(note("Folded in a large tree: its reason and residual are not carried."));
  const elder = elders(frame, verdict, decision);
  if (elder.length) box.append(more(`${elder.length} elder sibling${elder.length > 1 ? "s" : ""} came first`, () => el("ol", { class: "sv-elders" }, elder.map((one) => elderLine(frame, one)))));
  if (decision.residual) box.append(residualBox(frame, decision.residual, "Residual after it"));
  return box;
}

/**
 * Earlier decisions about children of the same parent, which is what shaped the p and q that were used.
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {Decision} decision
 */
function elders(frame, verdict, decision) {
  const all = decisionsOf(verdict), { parent } = frame.tree;
  return all.slice(0, all.indexOf(decision)).filter((one) => parent[one.node] === parent[decision.node]);
}

/**
 * @param {Frame} frame
 * @param {Decision} decision
 */
function elderLine(frame, decision) {
  const { residual } = decision;
  return el("li", {}, token(frame.nodes.text[decision.node]), ` ${outcome(decision.outcome)}: `, el("span", { class: "sv-sum" }, arithmetic(frame, decision).said),
    residual ? residualBox(frame, residual, "left") : null);
}

/**
 * The comparison with its two sides, and whether it holds (null for what cannot be told from the numbers).
 * @param {Frame} frame
 * @param {Decision} decision
 * @returns {{said: string, holds: boolean | null}}
 */
export function arithmetic(frame, { node, comparison, uniform, p, expected, threshold, outcome: letter }) {
  if (comparison === "uniform < threshold" || comparison === "p > threshold") {
    const isCoin = comparison === "uniform < threshold", left = isCoin ? uniform : p;
    if (left === null) return { said: `threshold ${digits(threshold, 7)}`, holds: null };
    // Both sides are sent rounded: where they read the same, only the outcome tells which is larger.
    const holds = left === threshold ? letter !== "r" : isCoin ? left < threshold : left > threshold;
    const sign = isCoin ? (holds ? "<" : "≥") : holds ? ">" : "≤";
    return { said: `${isCoin ? "u" : "p"} ${digits(left, 7)} ${sign} ${digits(threshold, 7)} threshold`, holds };
  }
  const own = frame.nodes.token[node], name = comparison === "token = drawn" ? "drawn" : "argmax";
  if (expected === null) return { said: `no token was ${name}`, holds: null };
  const coin = uniform === null ? "" : ` with u ${digits(uniform, 7)}`;
  return { said: `${frame.nodes.text[node]} ${own === expected ? "=" : "≠"} ${frame.tokens[expected]} ${name}${coin}`, holds: own === expected };
}
