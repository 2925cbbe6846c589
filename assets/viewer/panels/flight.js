/* At the commit the words of the path fly from their cards into the strip. Copies of them do; the words are there already. */

import { el } from "../core/dom.js";

/** @import { Motion } from "../core/motion.js" */

const FLIGHT_MS = 240;

/**
 * @param {{root: HTMLElement, tree: SVGSVGElement, text: HTMLElement}} ui
 * @param {Motion} motion
 */
export function flyWords(ui, motion) {
  const words = /** @type {HTMLElement[]} */ ([...ui.text.querySelectorAll(".sv-seg.sv-now .sv-word")]);
  // All places are read before anything is put anywhere.
  const flights = words.flatMap((word) => {
    const { node, bonus } = word.dataset, card = ui.tree.querySelector(node === undefined ? `.sv-card-bonus[data-bonus="${CSS.escape(String(bonus))}"]` : `.sv-card-node[data-node="${node}"]`);
    const token = card?.querySelector(".sv-cardtoken");
    return token ? [{ text: word.textContent || "", to: word.getBoundingClientRect(), from: token.getBoundingClientRect() }] : [];
  });
  for (const { text, from, to } of flights) {
    const flying = el("span", { class: "sv-flying", "aria-hidden": "true", style: `left:${to.left}px;top:${to.top}px` }, text);
    ui.root.append(flying);
    motion.run(flying, "word", { transform: `translate(${from.left - to.left}px, ${from.top - to.top}px)` }, FLIGHT_MS, () => flying.remove());
  }
}
