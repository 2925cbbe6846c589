/* The step that an error ended: its sentence, and the tree as far as it was grown (specviz/figures/failures.py). */

import { rowsOf } from "../core/columns.js";
import { el, note, token } from "../core/dom.js";
import { unrecorded } from "../core/recorded.js";
import { cells, number, table } from "../core/tables.js";

/** @import { Failed, Run } from "../core/frame.d.ts" */

/** @type {WeakMap<HTMLElement, Failed | null>} */
const drawn = new WeakMap();

/**
 * @param {HTMLElement} place
 * @param {Run} run
 */
export function drawFailed(place, run) {
  const { failed } = run;
  place.hidden = !failed;
  if (drawn.get(place) === failed) return;
  drawn.set(place, failed);
  if (!failed) return place.replaceChildren();
  const nodes = rowsOf(failed.nodes);
  const said = (/** @type {number | null} */ value) => (value === null ? (run.engine ? unrecorded() : "not computed") : number(value));
  // Where it began stands out; where that is not known, all do.
  const began = (/** @type {string | null} */ wrong) => wrong !== null && wrong.endsWith("began here"), known = nodes.some(({ wrong }) => began(wrong));
  const lines = nodes.map(({ parent, text, q, p, wrong }, node) => el("tr", { class: (known ? began(wrong) : wrong) ? "sv-bad" : null },
    cells([String(node), parent, token(text), node ? said(q) : "root", node ? said(p) : "root", wrong ? `✕ ${wrong}` : null])));
  place.replaceChildren(
    el("h3", {}, `Step ${failed.step + 1} failed`),
    el("p", { class: "sv-bad" }, `✕ ${failed.message}`),
    note("What is known of this step: the tree as far as it got. Nothing of it became text."),
    el("details", { open: !run.steps }, el("summary", {}, `Tree of the failed step: ${nodes.length - 1} drafted tokens`),
      table(`Tree of the failed step ${failed.step + 1}`, ["Node", "Parent", "Token", "Draft probability", "Target probability", "Logits at this node"], lines)));
}
