/* One node beside the tree: what the watched verifier decided, as a sentence and a picture, and in a line each what the
 * others made of it with the same luck. All recorded numbers of the node stand below (node_numbers.js). Inside a step only
 * what is known after its phase is told (view.known, see tree/phases.js).
 */

import { decisionsOf } from "../core/columns.js";
import { el, note, swatch, token } from "../core/dom.js";
import { nodePath, verdictPath } from "../core/python_path.js";
import { askable, CALLS, NOT_RECORDED } from "../core/recorded.js";
import { looksOf, outcome, unwritten } from "../core/words.js";
import { arithmetic, sentence } from "./decision.js";
import { bothBars, decisionPicture } from "./decision_pictures.js";
import { nodeNumbers } from "./node_numbers.js";
import { optimumBox } from "./optimum.js";
import { outsideBox } from "./outside.js";
import { otherModeNote, processedBox } from "./processed.js";
import { recorded, said } from "./said.js";

/** @import { Frame, Run, Verdict } from "../core/frame.d.ts" */
/** @import { Decision } from "../core/columns.js" */
/** @import { Act, View } from "../core/state.js" */
/** @import { Part } from "./decision.js" */

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {number} node
 * @param {View} view
 * @param {Act} act
 * @returns {(Node | null)[]}
 */
export function nodePanel(run, frame, node, view, act) {
  const { nodes } = frame;
  const head = el("h3", { class: "sv-nodehead" }, el("span", { class: "sv-nodenumber" }, `Node ${node}`), " ", token(nodes.text[node]),
    el("button", { type: "button", class: "sv-close", "aria-label": "Close the node (Esc)", title: "Close (Esc)", onclick: () => act.select(null) }, "×"));
  const numbers = el("section", { class: "sv-numbers", tabindex: -1, "aria-label": `All numbers of node ${node}` }, nodeNumbers(run, frame, node, view, act));
  const show = () => {
    numbers.scrollIntoView({ block: "nearest" });
    numbers.focus();
  };
  const coin = act.whatIf && askable(run, frame) && node && view.known.judged ? el("button", { type: "button", "data-act": "force-coin", title: "Change this coin and see what would have come of it", onclick: act.whatIf }, "Force this coin") : null;
  const foot = el("div", { class: "sv-foot" },
    el("button", { type: "button", "data-act": "copy-numbers", title: "Copy every number of the picture, in full, with its place in the recorded run in Python" }, "Copy numbers"),
    el("button", { type: "button", "data-act": "all-numbers", onclick: show }, "Table"), coin, el("output", { class: "sv-copied", "aria-live": "polite" }));
  return [head, el("div", { class: "sv-picture" }, picture(run, frame, node, view, act), optimumBox(run, frame, node, view)), foot, numbers];
}

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {number} node
 * @param {View} view
 * @param {Act} act
 * @returns {(Node | null)[]}
 */
function picture(run, frame, node, view, act) {
  const { known, lens } = view, { nodes, step, tree } = frame;
  if (node === 0) return [note(`The last committed token (id ${nodes.token[0]}); the tree grows from it, and no verifier judges it.`), ...(known.target ? [outsideBox(run, frame, 0, "the root"), processedBox(frame, 0, "the root")] : [])];
  const parent = tree.parent[node], place = parent ? `node ${parent}` : "the root", ceiling = known.target ? [outsideBox(run, frame, parent, place), processedBox(frame, parent, place)] : [];
  const verdict = /** @type {Verdict} */ (frame.verdicts.find((one) => one.verifier === lens)), state = known.states[lens]?.[node];
  const decision = state === undefined ? undefined : decisionsOf(verdict).slice(0, known.taken).filter((one) => one.node === node).at(-1);
  const late = known.written && state === "a" ? unwritten(frame, verdict, verdict.path.indexOf(node)) : null, ended = late ? note(`${late[0].toUpperCase()}${late.slice(1)}.`) : null;
  const say = (/** @type {Part[]} */ parts) => el("p", { class: "sv-say", "data-verifier": lens }, said(parts, act));
  if (decision) return [
    say(sentence(frame, lens, decision, decision.outcome === "a" && state === "p" ? "p" : decision.outcome)), ended,
    ...decisionPicture(frame, verdict, looksOf(run, lens), decision, act), otherModeNote(frame, verdict, node), ...ceiling, othersBox(run, frame, node, view, act),
  ];
  const bars = bothBars({ value: nodes.q[node], path: `${nodePath(step, node)}.draft_prob` }, { value: known.target ? nodes.p[node] : null, path: `${nodePath(step, node)}.target_prob` }, known.target ? NOT_RECORDED : "?");
  if (!known.target) return [say([{ strong: "Only a guess so far." }, " The target has not looked yet."]), bars];
  if (state === undefined || known.taken < decisionsOf(verdict).length) return [say([{ strong: "Not decided yet." }, " The target has scored it."]), bars, ...ceiling];
  return [...undecided(frame, verdict, node, state, say), ended, bars, otherModeNote(frame, verdict, node), ...ceiling, othersBox(run, frame, node, view, act)];
}

/**
 * Why a verifier did not come to a node: what stands above it was rejected, or its path ends above, or goes another way.
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {number} node
 */
export function skippedFor({ tree: { parent, states } }, { verifier, path }, node) {
  const end = path.at(-1) ?? 0, on = new Set([0, ...path]);
  let above = parent[node];
  for (; !on.has(above); above = parent[above]) if (states[verifier]?.[above] === "r") return `node ${above}, which it follows, was rejected`;
  return above === end ? `its path ends at ${end ? `node ${end}` : "the root"}` : "it took another way through the tree";
}

/**
 * A node that the watched verifier has taken no decision about, and what it would have taken there.
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {number} node
 * @param {string} state
 * @param {(parts: Part[]) => Node} say
 * @returns {Node[]}
 */
function undecided(frame, verdict, node, state, say) {
  const { verifier, path, thresholds } = verdict, all = decisionsOf(verdict), threshold = thresholds[node];
  if (state === "n") return [say([{ strong: "Not accepted" }, ` by ${verifier}. Whether it was examined was ${NOT_RECORDED}: ${CALLS.coins} says it.`])];
  if (state === "a" && !all.length) return [say([{ strong: "Accepted" }, ` by ${verifier}. What it compared was ${NOT_RECORDED}: ${CALLS.coins} says it.`])];
  const below = all.find((one) => one.outcome === "a" && path.indexOf(one.node) > path.indexOf(node));
  if (state === "a" && below) return [say([{ strong: "Accepted" }, ` by ${verifier} without a decision of its own: with `, { node: below.node, text: frame.nodes.text[below.node] }, ", the whole path to it was accepted."])];
  const told = [say([{ strong: "Not examined" }, ` by ${verifier}: ${skippedFor(frame, verdict, node)}.`])], [first] = all;
  // Of rules that compare tokens the threshold says no more than whether they are equal.
  if (first && threshold !== null && /threshold/.test(first.comparison)) told.push(el("p", { class: "sv-note" }, first.comparison.startsWith("p") ? "p would have to exceed " : "The coin would have to fall below ", recorded(threshold, `${verdictPath(frame.step, verifier)}.thresholds[${node}]`), "."));
  return told;
}

/**
 * A decision in a few words: of two numbers it goes without saying which is which, and so of the node's own token.
 * @param {Frame} frame
 * @param {string} verifier
 * @param {Decision} decision
 * @returns {Part[]}
 */
function inShort(frame, verifier, decision) {
  const { comparison, expected, node } = decision;
  if (comparison.startsWith("token") && expected !== null) return [`${expected === frame.nodes.token[node] ? "=" : `≠ ${frame.tokens[expected]},`} ${comparison === "token = drawn" ? "drawn" : "likeliest"}`];
  const names = ["u ", "p ", " threshold"];
  return arithmetic(frame, verifier, decision).said.filter((part) => typeof part !== "string" || !names.includes(part)).map((part) => (typeof part === "object" && "value" in part ? { ...part, count: 3 } : part));
}

/**
 * What the verifiers that are not watched made of the node.
 * @param {Run} run
 * @param {Frame} frame
 * @param {number} node
 * @param {View} view
 * @param {Act} act
 * @returns {Node | null}
 */
function othersBox(run, frame, node, { known, lens, shown }, act) {
  const others = frame.verdicts.filter(({ verifier }) => verifier !== lens && shown.has(verifier) && known.states[verifier]);
  if (!others.length) return null;
  const lines = others.map((verdict) => {
    const { verifier } = verdict, state = known.states[verifier][node], decision = decisionsOf(verdict).filter((one) => one.node === node).at(-1);
    const numbers = decision ? said(inShort(frame, verifier, decision), act) : state === "a" ? ["with its path"] : [];
    return [swatch(looksOf(run, verifier)), el("button", { type: "button", class: "sv-watch", title: `Watch ${verifier}: its picture, its frames in the tree`, onclick: () => act.watch(verifier) }, verifier),
      el("span", { class: "sv-other" }, el("b", {}, outcome(state)), " ", numbers)];
  });
  return el("section", { class: "sv-others", "aria-label": "The other verifiers" }, el("h4", {}, "The other verifiers, same luck"), el("div", { class: "sv-otherrows" }, lines));
}
