/* All recorded numbers of one node: every verifier's decision, what each rejection left, both distributions where it was
 * judged and after it, and where a bonus token came from. Nothing is computed but the rest.
 */

import { decisionsOf, distributionAt } from "../core/columns.js";
import { digits, ordinal } from "../core/digits.js";
import { el, more, nodeButton, note, swatch, token } from "../core/dom.js";
import { decisionPath, rowPath, verdictPath } from "../core/python_path.js";
import { CALLS, unrecorded } from "../core/recorded.js";
import { driving, looksOf, outcome, unwritten } from "../core/words.js";
import { arithmetic, eldersOf } from "./decision.js";
import { bonusBox, distribution, residualBox } from "./distributions.js";
import { outsideBox } from "./outside.js";
import { processedBox } from "./processed.js";
import { biasAt, reachedNodes } from "./range_draft.js";
import { recorded, said } from "./said.js";

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
export function nodeNumbers(run, frame, node, view, act) {
  const { nodes, tree, step } = frame, parent = tree.parent[node], { known } = view, verdicts = frame.verdicts.filter((v) => view.shown.has(v.verifier));
  const judges = verdicts.filter((v) => known.states[v.verifier]);
  /** @type {Node[]} */
  const made = [];
  if (node) {
    const siblings = tree.parent.filter((up) => up === parent).length;
    made.push(el("p", { class: "sv-note" }, `depth ${nodes.depth[node]}, ${frame.proposal === "top_k" || !frame.proposal ? "" : "drawn "}${ordinal(nodes.rank[node] + 1)} of ${siblings} after `, nodeButton(parent, nodes.text[parent], act), ` · token id ${nodes.token[node]}`),
      el("h4", {}, "Decisions"), ...judges.flatMap((v) => decisions(run, frame, v, node, known, act)));
    if (!judges.length) made.push(note(known.judged ? "No verifier that has judged is shown." : "No verifier has judged the tree yet."));
  }
  const drawn = verdicts.filter((v) => v.bonus?.node === node && known.bonus.has(v.verifier));
  if (drawn.length) made.push(el("h4", {}, "Bonus token drawn here"), ...drawn.map((v) => bonusBox(run, frame, v)));
  const row = (/** @type {"target" | "draft"} */ model, /** @type {number} */ at) => {
    const found = distributionAt(nodes[model], at);
    return found && { ...found, path: rowPath(step, at, model), bias: model === "draft" ? biasAt(frame, at) : null, after: nodes.text[at] };
  };
  if (node) {
    made.push(el("h4", {}, "Where it was judged: after ", nodeButton(parent, nodes.text[parent], act)));
    const target = row("target", parent), draft = row("draft", parent);
    if (known.target) made.push(target ? distribution(frame, "target", target, { node }) : missing("The target's row there: ", CALLS.target));
    made.push(draft ? distribution(frame, "draft", draft, { node }) : missing("The draft's row there: ", CALLS.draft), ...confidence(frame, parent, known));
  }
  made.push(el("h4", { class: "sv-rows" }, "What may follow it"));
  const target = row("target", node), draft = row("draft", node);
  if (known.target) made.push(target ? distribution(frame, "target", target, null) : missing("The target's row: ", CALLS.target));
  if (nodes.depth[node] >= known.depth) made.push(note("Neither model has run this node yet."));
  else made.push(draft ? distribution(frame, "draft", draft, null) : run.engine ? missing("The draft's row: ", CALLS.draft) : note(frame.draftRan ? "The draft did not run this node: it was not expanded." : "No draft model ran in this step."));
  made.push(...confidence(frame, node, known), ...(known.target ? [outsideBox(run, frame, node, node ? "it" : "the root"), processedBox(frame, node, node ? "it" : "the root")] : []).filter((part) => part !== null));
  if (nodes.limits.shown !== nodes.limits.folded)
    made.push(note(`Large tree: ${nodes.limits.shown} entries of a distribution are carried for nodes in sight, ${nodes.limits.folded} for folded ones.`));
  return made;
}

/**
 * How likely the draft says that what it drafts after a node is accepted, and whether it was.
 * @param {Frame} frame
 * @param {number} node
 * @param {Known} known
 */
function confidence(frame, node, known) {
  const value = frame.nodes.confidence?.[node] ?? null;
  if (value === null || frame.nodes.depth[node] >= known.depth) return [];
  const came = reachedNodes(frame).find(([at]) => at === node), path = driving(frame).path, next = frame.nodes.text[path[frame.nodes.depth[node]]];
  const what = !known.judged ? "" : !came ? `; ${frame.driver} had nothing to decide after it` : came[1] ? [`; ${frame.driver} accepted `, token(next)] : `; ${frame.driver} accepted none of its children`;
  return [el("p", { class: "sv-note" }, "draft's confidence that a child is accepted: ", recorded(value, `${rowPath(frame.step, node, "draft")}.confidence`), what)];
}

/**
 * @param {string} what was not recorded
 * @param {string} call that would say it
 */
const missing = (what, call) => el("p", { class: "sv-note" }, what, unrecorded(call));

/**
 * What one verifier decided about a node, as far as it is known.
 * @param {Run} run
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {number} node
 * @param {Known} known
 * @param {Act} act
 */
function decisions(run, frame, verdict, node, known, act) {
  const all = decisionsOf(verdict), taken = all.slice(0, known.taken).filter((one) => one.node === node), state = known.states[verdict.verifier][node];
  // Inside the step a rule that chooses at its end has only let the node pass so far.
  const late = state === "a" ? unwritten(frame, verdict, verdict.path.indexOf(node)) : null, added = late ? [note(late)] : [];
  if (taken.length) return [...taken.map((one) => decisionBox(run, frame, verdict, one, one.outcome === "a" && state === "p" ? "p" : one.outcome, act)), ...added];
  const threshold = verdict.thresholds[node];
  const why = state === "n" || (state === "a" && !all.length) ? ["What it decided: ", unrecorded(CALLS.coins)] : state === "a" ? "Accepted with the path below it: this rule accepts whole paths."
    : ["Its threshold here is ", threshold === null ? unrecorded(CALLS.thresholds) : recorded(threshold, `${verdictPath(frame.step, verdict.verifier)}.thresholds[${node}]`), `; the walk ${known.taken < all.length ? "has not come by yet" : "did not come by"}.`];
  return [el("div", { class: "sv-decision", "data-verifier": verdict.verifier }, who(run, verdict.verifier, state), el("p", { class: "sv-note" }, why), ...added)];
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
 * @param {Act} act
 */
function decisionBox(run, frame, verdict, decision, state, act) {
  const { verifier } = verdict, sum = arithmetic(frame, verifier, decision), { rule, p, q } = decision, path = decisionPath(frame.step, verifier, decision.at);
  const box = el("div", { class: "sv-decision", "data-verifier": verifier }, who(run, verifier, state), el("p", { class: "sv-sum" }, said(sum.said, act)));
  if (sum.holds !== null && sum.holds !== (state !== "r")) box.append(el("p", { class: "sv-bad" }, "✕ These numbers do not give this outcome."));
  const used = [p === null ? null : ["p ", recorded(p, `${path}.p`, digits(p, 6))], p === null || q === null ? null : rule.includes("p/q") ? " / " : ", ", q === null ? null : ["q ", recorded(q, `${path}.q`, digits(q, 6))]];
  box.append(el("p", { class: "sv-note" }, "rule ", el("code", {}, rule), p === null && q === null ? null : " · used ", used));
  if (decision.reason) box.append(el("p", {}, `because ${decision.reason}`));
  if (!decision.full) box.append(note("Folded in a large tree: its reason and residual are not carried."));
  const elder = eldersOf(frame, verdict, decision);
  if (elder.length) box.append(more(`${elder.length} elder sibling${elder.length > 1 ? "s" : ""} came first`, () => el("ol", { class: "sv-elders" }, elder.map((one) => elderLine(frame, verifier, one, act)))));
  if (decision.residual) box.append(residualBox(frame, decision.residual, "Residual after it", `${path}.residual`));
  return box;
}

/**
 * @param {Frame} frame
 * @param {string} verifier
 * @param {Decision} decision
 * @param {Act} act
 */
function elderLine(frame, verifier, decision, act) {
  const { residual } = decision;
  return el("li", {}, token(frame.nodes.text[decision.node]), ` ${outcome(decision.outcome)}: `, el("span", { class: "sv-sum" }, said(arithmetic(frame, verifier, decision).said, act)),
    residual ? residualBox(frame, residual, "left", `${decisionPath(frame.step, verifier, decision.at)}.residual`) : null);
}
