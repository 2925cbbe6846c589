/* What is said of a whole step: its facts and bonus tokens beside the tree, all its nodes as a table, its phases as a list. */

import { el, nodeButton, note, token } from "../core/dom.js";
import { CALLS, lacksOf, unrecorded } from "../core/recorded.js";
import { cells, number, table } from "../core/tables.js";
import { cutOff, driving, milliseconds, outcome, thrownAway } from "../core/words.js";
import { phasesOf } from "../tree/phases.js";
import { bonusBox } from "./distributions.js";
import { headFacts } from "./head.js";

/** @import { Frame, Phase, Run } from "../core/frame.d.ts" */
/** @import { Act, View } from "../core/state.js" */

/**
 * Where the time of a step went. Of another engine only what it said.
 * @param {Run} run
 * @param {Frame} frame
 * @returns {[string, any][]}
 */
function times(run, { timings, caches, draftRan }) {
  const ms = milliseconds;
  if (run.engine) return [["Time", timings && timings.total !== null ? `${ms(timings.total)} from begin to end` : unrecorded()]];
  return [
    ["Forwards", `${draftRan ? `draft ${ms(timings?.draft)}` : "no draft model ran"}, target ${ms(timings?.target)}`],
    ["specviz", `build ${ms(timings?.build)}, verify ${ms(timings?.verify)}, commit ${ms(timings?.commit)}, record ${ms(timings?.record)}${caches.target?.audit || caches.draft?.audit ? `, audit ${ms(timings?.audit)}` : ""}`],
  ];
}

/**
 * What the engine did not say of a step, and the calls that would say it.
 * @param {Run} run
 * @param {Frame} frame
 */
function lacks(run, frame) {
  const all = lacksOf(run, frame);
  return all.length ? [el("h4", {}, "The engine did not say"), el("ul", { class: "sv-lacks" }, all.map(({ what, call }) => el("li", {}, `${what}: `, el("code", {}, call))))] : [];
}

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {View} view
 */
export function stepPanel(run, frame, view) {
  const written = frame.commit.piece.length, cut = cutOff(frame, driving(frame)), grown = [frame.builder, frame.proposal?.replace(/_/g, " ")].filter(Boolean);
  const facts = [
    ["Tree", [`${frame.tree.parent.length - 1} drafted tokens, `, grown.length ? grown.join(", ") : ["how they were proposed: ", unrecorded(CALLS.proposal)]]],
    ...headFacts(run, frame),
    ["Context", `${frame.context} tokens before this step`],
    ["Committed", `${written} token${written === 1 ? "" : "s"}${cut > 0 ? ` of the driver's ${written + cut}: the text ends there` : ""}`],
    ...times(run, frame),
  ];
  if (frame.prefilled) facts.push(["Prefilled", `${frame.prefilled} tokens before this step: ${frame.step ? "the caches were rebuilt" : "the prompt"}`]);
  if (frame.textEnd) facts.push(["Ended", frame.textEnd.said]);
  const thrown = thrownAway(frame);
  if (thrown.length) facts.push(["Thrown away", [`accepted, and not in the text: `, thrown.map((node, i) => [i ? " " : "", el("code", { class: "sv-token sv-chip-thrown", dir: "auto" }, frame.nodes.text[node])])]]);
  return [el("div", { class: "sv-thisstep" },
    el("h3", {}, "This step"),
    el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    el("h4", {}, "Bonus tokens"),
    frame.verdicts.filter((v) => view.shown.has(v.verifier)).map((v) => bonusBox(run, frame, v)), lacks(run, frame),
    el("p", { class: "sv-hint" }, "Click a card, or a token in a table, to read how every verifier decided about it."))];
}

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {Act} act
 */
export function nodeTable(run, frame, act) {
  const { nodes, tree } = frame, verifiers = run.verifiers.filter((v) => tree.states[v.name]);
  const lines = nodes.text.map((text, node) => el("tr", {}, cells([
    nodeButton(node, String(node), act), token(text), tree.parent[node] < 0 ? "–" : String(tree.parent[node]), String(nodes.depth[node]), node ? String(nodes.rank[node]) : "–",
    number(nodes.q[node]), number(nodes.p[node]), ...verifiers.map((v) => outcome(tree.states[v.name][node])),
  ])));
  return table("All nodes of the draft tree", ["Node", "Token", "Parent", "Depth", "Draw rank", "Draft prob.", "Target prob.", ...verifiers.map((v) => v.name)], lines);
}

const NEXT = {
  draft: "the draft grows the tree by one level", target: "the target scores the tree", decide: "a decision", verdict: "the path and the bonus token",
  commit: "the text grows", cache: "the caches are updated",
};

/**
 * The list of phases up to now; earlier ones can be gone back to.
 * @param {Frame} frame
 * @param {string} lens
 * @param {number} phase
 * @param {(phase: number) => void} go
 */
export function phasePanel(frame, lens, phase, go) {
  const all = phasesOf(frame, lens), next = all[phase + 1];
  const item = (/** @type {Phase} */ at, /** @type {number} */ i) =>
    el("li", { "aria-current": i === phase ? "step" : null }, el("button", { type: "button", "data-phase": i, onclick: () => go(i) }, el("bdi", {}, at.caption)));
  return [
    el("h3", {}, `Inside the step: phase ${phase + 1} of ${all.length}`),
    el("ol", { class: "sv-phaselist" }, all.slice(0, phase + 1).map(item)),
    note(next ? `Next: ${NEXT[next.kind]}.` : "That was the whole step."),
  ];
}
