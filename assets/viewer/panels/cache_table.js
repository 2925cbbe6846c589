/* The slots of a cache as tables: written with the tree, and left by the update. */

import { el, nodeButton, token } from "../core/dom.js";
import { CALLS, unrecorded } from "../core/recorded.js";
import { cells, table } from "../core/tables.js";
import { statesSaid } from "./head.js";
import { FATES, NO_NODE, slotsOf } from "./slots.js";

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { Act, ModelName } from "../core/state.js" */

/**
 * @param {Frame} frame
 * @param {ModelName} model
 * @param {Act} act
 * @param {boolean} unmarked whether it is not told what a slot had to hold
 */
export function slotTable(frame, model, act, unmarked) {
  const cache = frame.caches[model];
  if (!cache) return [el("h4", {}, model), el("p", { class: "sv-note" }, unrecorded(CALLS.cache))];
  const { left, due, misplaced, strays } = slotsOf(cache), states = statesSaid(cache);
  /** @param {number} i */
  const fate = (i) => misplaced.has(i) ? `✕ due in slot ${misplaced.get(i)}` : strays.has(i) ? `✕ stays in slot ${cache.to[i]}, not due`
    : cache.state[i] === "m" ? `moved to ${cache.to[i]}` : FATES[cache.state[i]];
  /**
   * @param {number} i
   * @param {any} instead where it is of no node
   */
  const nodeAt = (i, instead) => {
    const node = cache.node[i];
    return node === null ? instead : nodeButton(node, String(node), act);
  };
  const written = cache.slot.map((slot, i) => el("tr", { class: due.has(i) || misplaced.has(i) ? "sv-bad" : null }, cells([
    slot === null ? null : String(slot), token(cache.text[i]), due.has(i) ? `${cache.position[i]} ✕ not ${due.get(i)}` : cache.position[i] === null ? null : String(cache.position[i]),
    nodeAt(i, NO_NODE[cache.role[i]]), ...(states ? [states[i]] : []), fate(i), cache.prints?.[i],
  ])));
  const remaining = left.map((row) => el("tr", { class: row.good ? null : "sv-bad" }, cells([
    String(row.slot), row.due === null ? "nothing" : token(cache.text[row.due]), row.due === null ? "–" : nodeAt(row.due, "–"), row.print,
    row.good ? "✓ as kept" : row.held === null ? "✕ written in no slot of this step" : ["✕ is slot ", String(cache.slot[row.held]), ", ", token(cache.text[row.held])],
  ])));
  const held = unmarked && left.map(({ slot, held: i, print }) => el("tr", {}, cells([String(slot), i === null ? "–" : token(cache.text[i]), i === null ? "–" : nodeAt(i, "–"), print])));
  return [
    el("h4", {}, `${model}: written with the tree`),
    table(`Slots the ${model} wrote in this step`, ["Slot", "Token", "Position", "Node", ...(states ? ["State beside it"] : []), "Fate", "Fingerprint after the forward"], written),
    el("h4", {}, `${model}: left by the update`),
    held ? table(`Slots of the ${model} after the update`, ["Slot", "Holds", "Node", "Fingerprint after the update"], held)
      : table(`Slots of the ${model} after the update`, ["Slot", "Must hold", "Node", "Fingerprint after the update", "Holds"], remaining),
  ];
}
