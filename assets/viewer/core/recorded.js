/* What another engine did not say: one wording and one look for it, and which call of the recorder would say it. */

import { el } from "./dom.js";

/** @import { Frame, Run } from "./frame.d.ts" */

export const NOT_RECORDED = "not recorded";

/** The call of a recorder's step (specviz/recorder) that says a thing. */
export const CALLS = {
  draft: "step.draft(probs=...)", target: "step.target(probs=...)", coins: "step.verify(coins=...)", thresholds: "step.verify(thresholds=...)", bonus: "step.verify(bonus=...)",
  bonusRow: "step.verify(bonus_row=...)", proposal: "step.draft(proposal=...)", mask: "step.target(mask=..., positions=..., slots=...)", cache: "step.cache(...)",
};

/** @param {string} [call] of {@link CALLS} */
export const unrecorded = (call) => el("span", { class: "sv-unrecorded", title: call ? `${call} records it` : null }, NOT_RECORDED);

/**
 * What was not recorded of a step of another engine, with the calls that would say it; empty for specviz's own steps.
 * @param {Run} run
 * @param {Frame} frame
 * @returns {{what: string, call: string}[]}
 */
export function lacksOf(run, frame) {
  if (!run.engine) return [];
  const { nodes, caches } = frame, own = frame.verdicts.find((one) => one.verifier === frame.driver), drafted = nodes.depth.length > 1;
  const decided = own ? own.decisions.uniform.some((uniform) => uniform !== null) : false;
  /** @type {[string, string, boolean][]} */
  const all = [
    ["how siblings were proposed", CALLS.proposal, drafted && frame.proposal === null],
    ["the draft's probabilities", CALLS.draft, drafted && nodes.q.every((q) => q === null)],
    ["the target's probabilities", CALLS.target, !nodes.target.node.length],
    ["coins", CALLS.coins, drafted && !decided], ["thresholds", CALLS.thresholds, drafted && Boolean(own?.thresholds.every((one, node) => !node || one === null))],
    ["the bonus token", CALLS.bonus, !own?.bonus], ["what the bonus token was drawn from", CALLS.bonusRow, Boolean(own?.bonus && !own.bonus.top)],
    ["mask and positions", CALLS.mask, !caches.target?.mask], ["the KV cache", CALLS.cache, !caches.target?.after],
  ];
  return all.flatMap(([what, call, lacking]) => (lacking ? [{ what, call }] : []));
}

/**
 * Which of q and p were recorded of any node, for style sheets. A step that drafted nothing has none to show.
 * @param {Frame} frame
 */
export const rowsIn = ({ nodes }) => /** @type {const} */ (["q", "p"]).filter((name) => nodes.depth.length < 2 || nodes[name].some((value) => value !== null)).join(" ");

/**
 * Whether a step can be asked what if: it was judged by a rule of specviz's, which needs rows and coins.
 * @param {Run} run
 * @param {Frame} frame
 */
export const askable = (run, frame) => !run.engine || frame.verdicts.some(({ verifier }) => verifier !== run.engine?.name);
