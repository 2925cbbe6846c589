/* The headline: what a step, or the phase in sight, came to, in one sentence, with the tokens that became text. */

import { decisionsOf, hasCoin, rowsOf } from "../core/columns.js";
import { el } from "../core/dom.js";
import { cutOff, drawnFrom, driving, thrownAway, verdictBy } from "../core/words.js";
import { phasesOf } from "../tree/phases.js";
import { keptOf, wholeOf } from "./slots.js";

/** @import { Cache, DecidePhase, Frame, Verdict } from "../core/frame.d.ts" */

/**
 * @typedef {object} Headline
 * @property {string} head
 * @property {{label: string, origin: "accepted" | "bonus" | "other" | "thrown"}[]} tokens that became text, and accepted ones that did not
 * @property {string} said the line below
 */

/**
 * @param {number} n
 * @param {string} what
 */
const count = (n, what) => `${n} ${what}${n === 1 ? "" : what.endsWith("s") ? "es" : "s"}`;

/**
 * @param {Frame} frame
 * @param {string} lens the verifier that is watched
 * @param {number | null} phase
 * @returns {Headline}
 */
export function headlineOf(frame, lens, phase) {
  const written = frame.commit.piece.length, tokens = [...rowsOf(frame.commit).map(({ label, origin }) => ({ label, origin })), ...thrownAway(frame).map((node) => ({ label: frame.nodes.text[node], origin: /** @type {const} */ ("thrown") }))];
  if (phase === null) return { head: `${count(written, "token")} from one target forward`, tokens, said: saidOfStep(frame) };
  const at = phasesOf(frame, lens)[phase], verdict = verdictBy(frame, lens) || driving(frame), nodes = frame.tree.parent.length;
  /** @type {Omit<Headline, "said">} */
  let told = { head: "", tokens: [] };
  if (at.kind === "draft") told.head = `Draft, level ${at.depth}: ${count(frame.nodes.depth.filter((depth) => depth === at.depth).length, "guess")}`;
  else if (at.kind === "target") told.head = nodes > 1 ? `One target forward scores ${nodes} nodes` : "One target forward scores the last token";
  else if (at.kind === "decide") told.head = headOfDecision(frame, verdict, at);
  else if (at.kind === "verdict") told.head = `${verdict.verifier} accepts ${verdict.path.length ? count(verdict.path.length, "draft") : "no draft"}${verdict.bonus ? " and draws its bonus token" : ""}`;
  else if (at.kind === "commit") told = { head: written === 1 ? "1 token becomes text" : `${written} tokens become text`, tokens };
  else told.head = headOfCache(frame.caches.target);
  return { ...told, said: at.caption };
}

/** @param {Cache | null} cache */
function headOfCache(cache) {
  const whole = wholeOf(cache);
  return whole ? `The target's cache keeps ${keptOf(whole)} of ${count(whole.slot.length, "slot")}` : "What became of the target's slots was not recorded";
}

/** @param {Frame} frame */
function saidOfStep(frame) {
  const verdict = driving(frame), drafted = frame.tree.parent.length - 1, kept = verdict.path.length, cut = cutOff(frame, verdict);
  if (!drafted) return `nothing was drafted; ${frame.driver} took the token${drawnFrom(verdict.bonus)}`;
  const said = `${frame.driver} kept ${kept || "none"} of ${count(drafted, "draft")}`;
  if (!verdict.bonus) return `${said}; no bonus token was recorded`;
  const { otherMode } = verdict, unlike = otherMode ? `; ≠ processors in ${otherMode.mode} mode: ${otherMode.path.length || "none"} kept${otherMode.bonus === null ? "" : `, then “${otherMode.bonus}”`}` : "";
  if (cut <= 0) return `${said}, the target added 1${unlike}`;
  const thrown = thrownAway(frame).length;
  return `${said}${thrown ? `, ${thrown} thrown away` : ""}; the text ends ${cut === 1 ? "with them" : `after ${frame.commit.piece.length} of them`} (${frame.textEnd?.said ?? frame.endReason})${unlike}`;
}

/**
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {DecidePhase} at
 */
function headOfDecision(frame, verdict, { node, upto }) {
  const all = decisionsOf(verdict), last = all[upto - 1], { outcome } = last, { walk } = frame.phases.verdicts[verdict.verifier];
  const place = `${hasCoin(last) ? "Coin" : "Decision"} ${upto} of ${all.length}`;
  if (node === null) return `Up to decision ${upto} of ${all.length}: folded nodes`;
  return `${place}: node ${node} ${outcome === "r" ? "is rejected" : outcome === "a" && walk ? "is accepted" : "passes"}`;
}

/**
 * While a new run has no step yet, and the tree of the one before is still in sight.
 * @param {string} prompt
 * @returns {Headline}
 */
export const headlineOfStart = (prompt) => ({ head: "Starting a new run", tokens: [], said: `of “${prompt.trim()}”; what is below is still the run before` });

/**
 * @param {{headline: HTMLElement, headTokens: HTMLElement, headSaid: HTMLElement}} ui
 * @param {Frame} frame
 * @param {string} lens
 * @param {number | null} phase
 * @param {string | null} [starting] the prompt of a new run that has no step yet
 */
export function drawHeadline(ui, frame, lens, phase, starting = null) {
  const { head, tokens, said } = starting === null ? headlineOf(frame, lens, phase) : headlineOfStart(starting);
  if (ui.headline.textContent !== head) ui.headline.replaceChildren(head);
  const chips = tokens.flatMap(({ label, origin }, i) => [i && origin === "bonus" ? " + " : " ", el("code", { class: `sv-token sv-chip-${origin}`, dir: "auto", title: origin === "thrown" ? "accepted and thrown away: the text ends before it" : null }, label)]);
  ui.headTokens.replaceChildren(...chips);
  ui.headSaid.replaceChildren(el("bdi", {}, said));
  ui.headSaid.title = said;
}
