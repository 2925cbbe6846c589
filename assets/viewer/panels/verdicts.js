/* The verdicts of all verifiers on one tree, with what is known of the law of their output. */

import { el, nodeButton, swatch, token } from "../core/dom.js";
import { CALLS, unrecorded } from "../core/recorded.js";
import { cells, table } from "../core/tables.js";
import { cutOff, looksOf, otherwise, unwritten } from "../core/words.js";

/** @import { Frame, Run, Verdict } from "../core/frame.d.ts" */
/** @import { Act, View } from "../core/state.js" */

/** What was known of a verifier with its options when the step was recorded. @type {Record<string, string>} */
const LAWS = { yes: "✓ lossless", no: "✕ lossy", "greedy decoding": "✓ greedy decoding", "not proved": "? not proved for these options", unknown: "? unknown" };

/** What another engine says of its own output law. @param {boolean | null} said */
const saidOf = (said) => (said === null ? "did not say" : `says that it ${said ? "keeps" : "does not keep"} the target's law; the page has not checked it`);

/**
 * That, and what `check` found since for it with these options on trees proposed like this one.
 * @param {Run} run
 * @param {Frame} frame
 * @param {Verdict} verdict
 * @param {View} view
 */
function lawOf(run, frame, verdict, view) {
  const found = view.proofs[verdict.verifier]?.[verdict.optionsKey ?? ""]?.[frame.proposal || ""];
  if (verdict.verifier === run.engine?.name) return [`? unknown: ${run.engine.name} ${saidOf(run.engine.lossless)}`];
  if (!found) return [LAWS[verdict.lossless]];
  const then = verdict.lossless === "not proved" ? "? not proved when this was recorded" : LAWS[verdict.lossless];
  return [then, el("br"), el("small", {}, `check: ${found}`)];
}

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {View} view
 * @param {Act} act
 */
export function verdictTable(run, frame, view, act) {
  const rows = frame.verdicts.map((verdict) => {
    const { verifier, path, bonus } = verdict, options = Object.entries(verdict.options).map(([k, v]) => `${k} ${v}`).join(", "), cut = cutOff(frame, verdict), other = otherwise(verdict);
    return el("tr", { class: view.shown.has(verifier) ? null : "sv-off", "data-verifier": verifier },
      el("th", { scope: "row" }, swatch(looksOf(run, verifier)), " ", verifier,
        verifier === frame.driver ? el("span", { class: "sv-badge", title: "its verdict is committed" }, "driver") : null,
        options ? el("small", {}, options) : null),
      el("td", { class: "sv-number" }, String(path.length), cut > 1 ? el("small", {}, `${frame.commit.piece.length} written`) : null),
      cells([
        [path.length ? path.map((node) => [nodeButton(node, frame.nodes.text[node], act), " "]).flat() : el("em", {}, "nothing"), other ? el("small", {}, `≠ in the ${other.mode} mode it ${other.said}`) : null],
        bonus ? [token(bonus.text), cut > 0 ? el("small", {}, unwritten(frame, verdict, path.length)) : null] : unrecorded(CALLS.bonus),
        !bonus ? null : [bonus.source || unrecorded(CALLS.bonusRow), ", at node ", nodeButton(bonus.node, String(bonus.node), act), bonus.fault ? el("p", { class: "sv-bad sv-wide" }, `✕ ${bonus.fault}`) : null],
        lawOf(run, frame, verdict, view),
      ]));
  });
  return table("Verdicts of all verifiers on this tree", ["Verifier", "Accepted", "Accepted path", "Bonus token", "Drawn from", "Output law"], rows);
}
