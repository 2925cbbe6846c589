/* Pointing at the tree: what is under the pointer, what it says, what a click on it does. */

import { digits } from "../core/digits.js";
import { el, swatch, token } from "../core/dom.js";
import { frameDrawn, frameNow, runDrawn } from "../core/state.js";
import { drawnFrom, outcome, verdictBy } from "../core/words.js";

/** @import { Bonus, Frame } from "../core/frame.d.ts" */
/** @import { Act, Hit, State } from "../core/state.js" */

/**
 * @param {{root: HTMLElement, stage: HTMLElement, tip: HTMLElement}} ui
 * @param {State} state
 * @param {Act} act
 */
export function makePointer(ui, state, act) {
  /**
   * @param {Event} event
   * @returns {Hit | null}
   */
  function inTree(event) {
    const card = /** @type {SVGElement | null} */ (/** @type {Element} */ (event.target).closest(".sv-card")), { node, bonus, stub } = card?.dataset || {};
    return state.hits.find((hit) => (node !== undefined ? hit.node === Number(node) : bonus !== undefined ? hit.bonus === bonus : stub !== undefined && hit.stub === Number(stub))) || null;
  }


  /** @param {Event} event */
  function press(event) {
    const hit = inTree(event);
    if (hit?.stub !== undefined) act.unfold(hit.stub);
    else if (hit) act.select(hit.bonus === undefined ? hit.node ?? null : bonusOf(frameDrawn(state), hit.bonus).node);
  }
  ui.stage.addEventListener("click", press);
  ui.stage.addEventListener("keydown", (event) => {
    // Elements of a picture are no buttons by themselves.
    if (!["Enter", " "].includes(event.key) || !(/** @type {Element} */ (event.target).closest("[role=button]"))) return;
    event.preventDefault();
    press(event);
  });
  ui.stage.addEventListener("pointermove", (event) => {
    const hit = inTree(event);
    ui.stage.style.cursor = hit ? "pointer" : "";
    tip(event, hit);
  });
  ui.stage.addEventListener("pointerleave", () => {
    ui.tip.hidden = true;
    act.light(null);
  });

  /**
   * @param {MouseEvent} event
   * @param {Hit | null} hit
   */
  function tip(event, hit) {
    const frame = frameNow(state);
    ui.tip.hidden = !hit || !frame;
    if (!hit || !frame) return;
    ui.tip.replaceChildren(...tipLines(frame, hit));
    const box = ui.root.getBoundingClientRect(), right = event.clientX - box.left > box.width / 2;
    ui.tip.style.left = `${event.clientX - box.left + (right ? -12 : 14)}px`;
    ui.tip.style.top = `${event.clientY - box.top + 16}px`;
    ui.tip.style.transform = right ? "translateX(-100%)" : "";
  }

  /**
   * @param {Frame} frame
   * @param {Hit} hit
   */
  function tipLines(frame, hit) {
    if (hit.stub !== undefined) return [el("div", {}, `Folded nodes at node ${hit.stub}. Click to open them.`)];
    if (hit.bonus !== undefined) {
      const bonus = bonusOf(frame, hit.bonus);
      return [el("div", {}, `${hit.bonus}: bonus `, token(bonus.text)), el("div", {}, `drawn${drawnFrom(bonus)} at node ${bonus.node}`)];
    }
    const node = Number(hit.node), known = state.known || { target: true, states: frame.tree.states };
    const lines = [el("div", {}, token(frame.nodes.text[node]), ` node ${node}, token id ${frame.nodes.token[node]}`)];
    if (node) lines.push(el("div", {}, `draft ${digits(frame.nodes.q[node])}${known.target ? ` → target ${digits(frame.nodes.p[node])}` : ""}`));
    for (const v of node ? runDrawn(state).verifiers.filter((one) => known.states[one.name]) : [])
      lines.push(el("div", {}, swatch(v), ` ${v.name}: ${outcome(known.states[v.name][node])}`));
    return lines;
  }
}

/**
 * @param {Frame} frame
 * @param {string} name
 * @returns {Bonus}
 */
const bonusOf = (frame, name) => /** @type {any} */ (verdictBy(frame, name)).bonus;
