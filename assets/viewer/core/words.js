/* Words that several panels say of a node or a verdict. */

import { OUTCOMES } from "./constants.js";
import { NOT_RECORDED } from "./recorded.js";

/** @import { Frame, HeadInfo, Run, Verdict } from "./frame.d.ts" */

/** @type {Record<string, string>} */
const FORMATS = {
  eagle1: "EAGLE", eagle3: "EAGLE-3", p_eagle: "P-EAGLE", dflash: "DFlash", dspark: "DSpark", medusa: "Medusa", mtp: "MTP", hidden_state: "specviz's own head",
};

/**
 * What the format of a draft head is called.
 * @param {Pick<HeadInfo, "format">} head
 */
export const headName = ({ format }) => FORMATS[format] ?? format;

/**
 * Mark and words of an outcome, such as "✕ rejected".
 * @param {string} letter
 */
export const outcome = (letter) => `${OUTCOMES[letter].mark} ${OUTCOMES[letter].words}`;

/** @param {number | null | undefined} s seconds */
export const milliseconds = (s) => (s === null || s === undefined ? NOT_RECORDED : `${(1000 * s).toFixed(s < 0.01 ? 1 : 0)} ms`);

/**
 * How many tokens of a verdict were not written, bonus included, because the text ended; 0 for who does not drive.
 * @param {Frame} frame
 * @param {Verdict} verdict
 */
export const cutOff = (frame, verdict) => (verdict.verifier === frame.driver && frame.endReason ? verdict.path.length + Number(verdict.bonus !== null) - frame.commit.piece.length : 0);

/**
 * Nodes that the driver accepted and that are not in the text, because it ends before them.
 * @param {Frame} frame
 */
export const thrownAway = (frame) => frame.textEnd?.thrown ?? [];

/**
 * Where a bonus token was drawn from, with a blank before it; "" where that was not recorded.
 * @param {{source: string | null} | null} bonus
 */
export const drawnFrom = (bonus) => (bonus?.source ? ` from the ${bonus.source}` : "");

/**
 * Why a token that a verdict gave is not in the text: its place among path and bonus counts.
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {number} place
 */
export const unwritten = (frame, verdict, place) =>
  verdict.verifier === frame.driver && frame.endReason && place >= frame.commit.piece.length ? `${place < verdict.path.length ? "accepted and thrown away" : "not written"}: the text ends before it (${frame.textEnd?.said ?? frame.endReason})` : null;

/**
 * What a verifier makes of the step, with the same luck, where processors work in the other mode: how many drafts it keeps
 * and its bonus token; null where that is the same.
 * @param {Verdict} verdict
 */
export const otherwise = ({ otherMode }) => otherMode && { mode: otherMode.mode, said: `keeps ${otherMode.path.length ? otherMode.path.map((node) => `node ${node}`).join(", ") : "no draft"}${otherMode.bonus === null ? "; which token it adds is not recorded" : `, then adds “${otherMode.bonus}”`}` };

/**
 * @param {Frame} frame
 * @param {string} name
 */
export const verdictBy = (frame, name) => frame.verdicts.find((verdict) => verdict.verifier === name);

/**
 * The verdict that was committed.
 * @param {Frame} frame
 */
export const driving = (frame) => /** @type {Verdict} */ (verdictBy(frame, frame.driver));

/**
 * Role and dash of a verifier of the run.
 * @param {Run} run
 * @param {string} name
 */
export const looksOf = (run, name) => /** @type {Run["verifiers"][number]} */ (run.verifiers.find((one) => one.name === name));

/**
 * How the target was sampled from; "" where that was not recorded.
 * @param {Pick<Run, "engine" | "settings">} run
 */
export function heatOf({ engine, settings }) {
  const sampling = (settings || engine)?.target;
  return !sampling ? "" : sampling.temperature === 0 ? "greedy target" : `temperature ${sampling.temperature}`;
}

/**
 * What changed logits by the text, in one line; "" for nothing.
 * @param {Run["settings"]} settings
 */
function processorsOf(settings) {
  const { chosen, mode, draft } = settings?.processors || { chosen: [] };
  const each = chosen.map(({ name, options }) => [name, Object.entries(options).map(([option, value]) => `${option}=${value}`).join(", ")].filter(Boolean).join(" "));
  return chosen.length ? `processors (${mode}${draft ? ", the draft's rows, too" : ""}): ${each.join("; ")}` : "";
}

/**
 * The models of a run, and how it went, in one line; of another engine's, who decoded.
 * @param {Run} run
 */
export function aboutRun({ models: { target, draft }, engine, settings, weights, draftRan, endReason, endMessage }) {
  // A run that was only left off can go on.
  const end = endReason && endReason !== "stopped" ? ` · ended: ${endMessage || endReason}` : "";
  // Names can be given twice; what tells weights apart is recorded beside them.
  const hashes = weights.target === weights.draft ? weights.target : `${weights.target} ← ${weights.draft}`;
  const from = draftRan === false && draft ? ` (${draft.id} ran in no step)` : draft ? ` ← ${draft.id}${draft.head && draft.head.format !== "hidden_state" ? ` (${headName(draft.head)})` : ""}` : "";
  const pair = target ? `${target.id}${from} · weights ${hashes}` : draft ? `target not recorded${from}` : "models not recorded";
  const where = target?.dtype ? `${target.dtype}${target.device ? ` on ${target.device}` : ""}` : "";
  return `${[engine?.said, pair, where, heatOf({ engine, settings }), processorsOf(settings), settings && `seed ${settings.seed}`].filter(Boolean).join(" · ")}${end}`;
}
