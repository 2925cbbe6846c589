/* The answer to a what-if question beside what was recorded (specviz/figures/whatif.py). */

import { OUTCOMES } from "../core/constants.js";
import { digits } from "../core/digits.js";
import { el, nodeButton, token } from "../core/dom.js";
import { table } from "../core/tables.js";
import { drawnFrom, outcome } from "../core/words.js";

/** @import { Judged, OtherBonus, PathNodes, WhatIf } from "../core/frame.d.ts" */
/** @import { Act } from "../core/state.js" */

/**
 * @param {WhatIf} found it may have an error alone, or only what it needs to be answered
 * @param {Act} act
 * @param {(() => void) | null} askModels null where they cannot be asked
 * @returns {Node[]}
 */
export function answerLines(found, act, askModels) {
  if (found.error) return [el("p", { class: "sv-bad" }, found.error)];
  const models = found.needs && askModels ? [el("button", { type: "button", "data-act": "whatif-models", onclick: askModels }, "Score again with the models")] : [];
  if (!found.rows) return [el("p", {}, found.needs), ...models];
  const by = found.by === "trace" ? "From the trace alone: the recorded thresholds and coins suffice."
    : `By the models, which scored the recorded tree again; their probabilities of the drafted tokens are within ${digits(found.difference, 2)} of the recorded ones.${found.caveat ? ` ${found.caveat}` : ""}`;
  const beside = found.beside === found.verifier ? "as recorded" : `recorded: ${found.beside}`;
  return [result(found), el("p", { class: "sv-note sv-whatif-by" }, by), ...(found.needs ? [el("p", {}, found.needs, " ")] : []), ...models,
    table("What if, beside what was recorded", ["", beside, `what if: ${found.verifier}`], comparison(found, act))];
}

/**
 * What would have come of it, in a line.
 * @param {WhatIf} found
 */
function result({ verifier, beside, path, recordedPath, bonus, samePath, sameBonus }) {
  const text = (/** @type {PathNodes} */ one) => (one.node.length ? one.text.map((word) => token(word)) : el("em", {}, "nothing"));
  const last = sameBonus ? null : bonus ? [samePath ? "the bonus token would be " : ", then ", token(bonus.text)] : [samePath ? "" : "; ", "the bonus token is not known"];
  if (samePath && sameBonus) return el("p", { class: "sv-whatif-result" }, beside === verifier ? "The outcome stays as it was." : `${verifier} comes to the same outcome.`);
  return el("p", { class: "sv-whatif-result" }, samePath ? `The path stays; ` : [`${verifier} would accept `, text(path), ` instead of `, text(recordedPath)], last, ".");
}

/**
 * @param {WhatIf} found
 * @param {Act} act
 */
function comparison(found, act) {
  const path = (/** @type {PathNodes} */ { node, text }) => (node.length ? node.map((one, i) => [nodeButton(one, text[i], act), " "]) : el("em", {}, "nothing"));
  const bonus = (/** @type {OtherBonus | null} */ b) => (b ? [token(b.text), `${drawnFrom(b)} at node ${b.node}`] : el("em", {}, "not known"));
  const judged = (/** @type {Judged | null} */ one) => (one ? `${outcome(one.outcome)}: ${one.said}` : OUTCOMES["."].words);
  const { recordedPath, recordedBonus } = found, accepted = [recordedPath.node.length, found.path.node.length];
  return [
    line("Accepted", accepted[0] === accepted[1], String(accepted[0]), String(accepted[1])),
    line("Accepted path", found.samePath, path(recordedPath), path(found.path)),
    line("Bonus token", found.sameBonus, bonus(recordedBonus), bonus(found.bonus)),
    ...found.rows.map((row) => {
      const made = line(nodeButton(row.node, `${row.node} ${row.text}`, act), !row.differs, judged(row.recorded), judged(row.now));
      made.dataset.differs = String(row.differs);
      return made;
    }),
  ];
}

/**
 * @param {string | Node} name
 * @param {boolean} same whether both sides are
 * @param {any} before
 * @param {any} after
 */
function line(name, same, before, after) {
  return el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, before), el("td", {}, same ? after : el("span", { class: "sv-whatif-changed" }, "≠ ", after)));
}
