/* One hover and one selection for everything: a node lights its card, its word, its cache slots and its table rows, and
 * each of them lights the node. Inside the tree the arrow keys walk from card to card.
 *
 * An element that stands for a node says so with data-node (or data-bonus, for a verifier's bonus token); a picture that
 * Plotly draws gives the rectangles of its nodes, and gets outlines laid over it.
 */

import { el } from "../core/dom.js";
import { frameDrawn } from "../core/state.js";

/** @import { Hit, State, Target } from "../core/state.js" */

/**
 * @typedef {object} Outlined a picture besides the tree whose nodes are lit
 * @property {HTMLElement} box
 * @property {() => Hit[]} hits
 */

/**
 * @param {{root: HTMLElement, tree: SVGSVGElement}} ui
 * @param {State} state
 * @param {Outlined[]} pictures
 * @param {(node: number) => void} select
 * @param {(node: number) => void} reveal move the view of the tree so that a node is in sight
 */
export function makeSelection(ui, state, pictures, select, reveal) {
  const cards = ui.tree;
  /** @type {Target} */
  let hover = null;
  let home = 0;
  const outlined = pictures.map((picture) => ({ ...picture, layer: el("div", { class: "sv-outlines", "aria-hidden": "true" }) }));
  for (const { box, layer } of outlined) {
    box.parentElement?.classList.add("sv-linked");
    box.parentElement?.append(layer);
  }

  /**
   * Light everything that stands for a node or a bonus token.
   * @param {Target} target
   */
  function light(target) {
    if (hover === target || (hover && target && hover.node === target.node && hover.bonus === target.bonus)) return;
    hover = target;
    refresh();
  }

  function refresh() {
    for (const marked of ui.root.querySelectorAll(".sv-lit, .sv-picked")) marked.classList.remove("sv-lit", "sv-picked");
    for (const card of cards.querySelectorAll("[aria-selected=true]")) card.setAttribute("aria-selected", "false");
    mark(state.selected === null ? null : { node: state.selected }, "sv-picked");
    mark(hover, "sv-lit");
    for (const picture of outlined) outline(picture);
    cardOf(state.selected)?.setAttribute("aria-selected", "true");
    rove();
  }

  /**
   * @param {Target} target
   * @param {string} name
   */
  function mark(target, name) {
    if (!target) return;
    const key = target.node === undefined ? `[data-bonus="${CSS.escape(String(target.bonus))}"]` : `[data-node="${target.node}"]`;
    for (const found of ui.root.querySelectorAll(key)) {
      found.classList.add(name);
      found.closest(".sv-body details tr")?.classList.add(name);
    }
  }

  /** @param {typeof outlined[number]} picture */
  function outline({ box, layer, hits }) {
    const boxes = [];
    for (const [node, name] of /** @type {[number | null, string][]} */ ([[state.selected, "sv-picked"], [hover?.node ?? null, "sv-lit"]]))
      for (const hit of node === null ? [] : hits().filter((one) => one.node === node)) {
        const made = el("div", { class: `sv-outline ${name}` });
        made.style.cssText = `left:${box.offsetLeft + hit.left - 3}px;top:${box.offsetTop + hit.top - 3}px;width:${hit.right - hit.left + 6}px;height:${hit.bottom - hit.top + 6}px`;
        boxes.push(made);
      }
    layer.replaceChildren(...boxes);
  }

  /**
   * What the place of an event stands for, if it stands for something.
   * @param {Event} event
   * @returns {Target}
   */
  function standsFor(event) {
    const at = /** @type {HTMLElement} */ (event.target), named = "[data-node], [data-bonus]";
    const found = /** @type {HTMLElement | null | undefined} */ (at.closest(named) || at.closest(".sv-body details tr")?.querySelector("[data-node]"));
    if (!found) return null;
    return found.dataset.node === undefined ? { bonus: found.dataset.bonus } : { node: Number(found.dataset.node) };
  }

  ui.root.addEventListener("pointerover", (event) => {
    if (!(/** @type {HTMLElement} */ (event.target).closest("[data-picture]:not([data-picture=tree])"))) light(standsFor(event));
  });
  ui.root.addEventListener("pointerleave", () => light(null));
  ui.root.addEventListener("focusin", (event) => light(/** @type {HTMLElement} */ (event.target).matches(":focus-visible") ? standsFor(event) : hover));

  /* --------------------------------------------------------------------------------------------- tree keys */

  /**
   * @param {number | null | undefined} node
   * @returns {HTMLElement | null}
   */
  const cardOf = (node) => (node === null || node === undefined ? null : cards.querySelector(`[role=treeitem][data-node="${node}"]`));

  /** One card is in the tab order: the one that was left, else the selected one, else the root. */
  function rove() {
    const chosen = cardOf(home) || cardOf(state.selected) || cardOf(0);
    for (const card of /** @type {NodeListOf<HTMLElement>} */ (cards.querySelectorAll("[role=treeitem]"))) card.tabIndex = card === chosen ? 0 : -1;
  }

  /** @param {number} node */
  function focus(node) {
    const card = cardOf(node);
    if (!card) return;
    home = node;
    rove();
    card.focus({ preventScroll: true });
    reveal(node);
    // A selection must not move the page; the keys of somebody who cannot see what they walk on must.
    const spot = card.getBoundingClientRect();
    if (spot.top < 0 || spot.bottom > window.innerHeight) card.scrollIntoView({ block: "center", inline: "nearest" });
  }

  /**
   * The node that stands before or after another of its depth.
   * @param {number} node
   * @param {-1 | 1} way
   */
  function neighbour(node, way) {
    const { depth } = frameDrawn(state).nodes, own = inOrder((one) => depth[one] === depth[node]);
    return own[own.indexOf(node) + way];
  }

  /**
   * Cards of nodes as they stand beside one another.
   * @param {(node: number) => boolean} isMeant
   */
  function inOrder(isMeant) {
    const isDown = state.spot?.down, hits = state.hits.filter(({ node, stub }) => typeof node === "number" && stub === undefined && isMeant(node));
    return hits.sort((a, b) => (isDown ? a.left - b.left : a.top - b.top)).map((hit) => Number(hit.node));
  }

  /** @type {Record<string, (node: number, parents: number[]) => number | null | undefined>} */
  const STEPS = {
    ArrowLeft: (node, parents) => (node ? parents[node] : 0),
    ArrowRight: (node, parents) => inOrder((one) => parents[one] === node)[0],
    ArrowUp: (node) => neighbour(node, -1),
    ArrowDown: (node) => neighbour(node, 1),
  };
  /** The key that goes the same way in a tree whose depth goes to the right. @type {Record<string, string>} */
  const TURNED = { ArrowLeft: "ArrowUp", ArrowRight: "ArrowDown", ArrowUp: "ArrowLeft", ArrowDown: "ArrowRight" };

  cards.addEventListener("keydown", (event) => {
    const card = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("[role=treeitem]"));
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const node = Number(card.dataset.node), key = (state.spot?.down && TURNED[event.key]) || event.key;
    if (STEPS[key]) {
      const next = STEPS[key](node, frameDrawn(state).tree.parent);
      const stub = /** @type {HTMLElement | null} */ (key === "ArrowRight" ? cards.querySelector(`[data-stub="${node}"]`) : null);
      if (next !== undefined && next !== null) focus(next);
      else stub?.focus();
    } else if (event.key === "Enter" || event.key === " ") select(node);
    else if (event.key === "Escape") card.blur();
    else return;
    event.preventDefault(); // the page's own keys look at this
  });
  cards.addEventListener("focusin", (event) => {
    const card = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("[role=treeitem]"));
    if (card) home = Number(card.dataset.node);
  });
  // A click selects and leaves the keys with the steps: only the Tab key (or t) goes into the tree.
  cards.addEventListener("mousedown", (event) => {
    event.preventDefault();
    /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
  });

  /** @param {number | null} [start] the card to begin at; by default where it was left */
  const focusTree = (start) => focus(start ?? (cardOf(home) ? home : 0));

  return { light, refresh, focusTree };
}
