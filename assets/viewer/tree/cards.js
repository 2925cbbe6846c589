/* The labels of the draft tree: one element a card, above the picture, written with textContent only.
 *
 * The nodes form a tree for assistive technology, with one card in the tab order. Elements are kept from step to step, so
 * that the focus stays on the card it was on.
 */

import { OUTCOMES } from "../core/constants.js";
import { digits } from "../core/digits.js";
import { el } from "../core/dom.js";

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { Hit, View } from "../core/state.js" */

/**
 * @typedef {object} CardLooks
 * @property {string} label
 * @property {string} digits
 * @property {boolean} [weak]
 * @property {boolean} [rejected]
 * @property {boolean} [acting]
 * @property {boolean} [parts] whether the paths part here
 * @property {[string, string][]} [pips] colour role and outcome of every verifier
 * @property {number} [count] of folded nodes behind a stub
 */
/** @typedef {Hit & CardLooks} Card a card where it stands */

/**
 * @typedef {object} CardLayer
 * @property {HTMLElement} box
 * @property {HTMLElement} heads of the columns
 * @property {HTMLElement} nodes
 * @property {HTMLElement} others bonus tokens and stubs
 * @property {Map<string, HTMLElement>} known the elements there are
 */

/** @returns {CardLayer} */
export function makeCardLayer() {
  const heads = el("div", { "aria-hidden": "true" }), nodes = el("div", { role: "tree", "aria-label": "Nodes of the draft tree" }), others = el("div");
  return { box: el("div", { class: "sv-cards" }, heads, nodes, others), heads, nodes, others, known: new Map() };
}

/**
 * Lay these cards and the titles of the columns.
 * @param {CardLayer} layer
 * @param {Frame} frame
 * @param {Card[]} cards
 * @param {{left: number, text: string}[]} titles
 * @param {View} view
 */
export function layCards(layer, frame, cards, titles, view) {
  layer.box.style.transform = `scale(${view.scale})`;
  const seen = new Set();
  for (const card of cards) {
    const key = card.bonus !== undefined ? `b${card.bonus}` : card.stub !== undefined ? `s${card.stub}` : `n${card.node}`;
    let made = layer.known.get(key);
    if (!made) layer.known.set(key, (made = makeCard(layer, card)));
    seen.add(key);
    place(made, card);
    made.setAttribute("aria-label", said(frame, card, view));
    if (typeof card.node === "number") made.setAttribute("aria-level", String(frame.nodes.depth[card.node] + 1));
  }
  for (const [key, made] of layer.known)
    if (!seen.has(key)) {
      made.remove();
      layer.known.delete(key);
    }
  const wanted = titles.map(({ left, text }) => `${left},${text}`).join("|");
  if (layer.heads.dataset.titles === wanted) return;
  layer.heads.dataset.titles = wanted;
  layer.heads.replaceChildren(...titles.map(({ left, text }) => el("span", { class: "sv-columnhead", style: `left: ${left}px` }, text)));
}

/**
 * @param {CardLayer} layer
 * @param {Card} card
 */
function makeCard(layer, card) {
  const parts = [el("span", { class: "sv-cardtoken", dir: "auto" }), el("span", { class: "sv-carddigits" })];
  if (card.node) parts.push(el("span", { class: "sv-pips" }));
  let made;
  if (card.bonus !== undefined) made = el("button", { class: "sv-card sv-card-bonus", type: "button", tabindex: -1, "data-bonus": card.bonus }, parts);
  else if (card.stub !== undefined) made = el("button", { class: "sv-card sv-card-stub", type: "button", "data-stub": card.stub }, parts);
  else {
    const root = card.node === 0 ? " sv-card-root" : "";
    made = el("div", { class: `sv-card sv-card-node${root}`, role: "treeitem", tabindex: -1, "data-node": card.node, "aria-selected": "false" }, parts);
    layer.nodes.append(made);
    return made;
  }
  layer.others.append(made);
  return made;
}

/**
 * @param {HTMLElement} made
 * @param {Card} card
 */
function place(made, card) {
  const [label, numbers, pips] = made.children;
  if (pips) mark(pips, card.pips || []);
  write(label, card.label);
  write(numbers, card.digits);
  const style = `left:${card.left}px;top:${card.top}px;width:${card.right - card.left}px;height:${card.bottom - card.top}px`;
  if (made.dataset.at !== style) made.style.cssText = made.dataset.at = style;
  made.classList.toggle("sv-weak", Boolean(card.weak));
  made.classList.toggle("sv-rejected", Boolean(card.rejected));
  made.classList.toggle("sv-parting", Boolean(card.parts));
  made.classList.toggle("sv-acting", Boolean(card.acting));
}

/**
 * One mark a verifier, each in its own place, so that the place tells whose it is where the colour does not.
 * @param {Element} place
 * @param {[string, string][]} pips
 */
function mark(place, pips) {
  while (place.children.length > pips.length) place.lastChild?.remove();
  pips.forEach(([role, state], i) => {
    const made = /** @type {HTMLElement} */ (place.children[i] || place.appendChild(document.createElement("i"))), key = `${role}${state}`;
    if (made.dataset.pip === key) return;
    made.dataset.pip = key;
    made.textContent = state && OUTCOMES[state].mark;
    made.style.color = `var(--sv-${state === "." ? "muted" : role})`;
  });
}

/**
 * @param {Element} place
 * @param {string} text
 */
function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/**
 * What a card says to somebody who cannot see it.
 * @param {Frame} frame
 * @param {Card} card
 * @param {View} view
 */
function said(frame, card, view) {
  if (card.stub !== undefined) return `Open ${card.count} folded nodes below node ${card.stub}`;
  if (card.bonus !== undefined) return `Bonus token of ${card.bonus}: ${card.label}, ${card.digits}`;
  const node = Number(card.node), { known } = view, parts = [`node ${node}, token ${frame.nodes.text[node]}`];
  if (node) parts.push(`draft ${digits(frame.nodes.q[node])}`);
  if (node && known.target) parts.push(`target ${digits(frame.nodes.p[node])}`);
  const state = (known.states[view.lens] || "")[node];
  if (node && state) parts.push(`${view.lens}: ${OUTCOMES[state].words}`);
  return parts.join(", ");
}
