/* The first thing that Tab comes to: places of the page, unseen until then. One of them is in the tab order; arrows choose. */

import { el } from "../core/dom.js";

/** Name -> what takes the focus there. @type {[string, string][]} */
const PLACES = [
  ["Tree", ".sv-tree [tabindex='0']"], ["Node", ".sv-inspector"], ["Panels", ".sv-tabs [aria-selected=true], .sv-tabs [tabindex='0']"], ["Steps", ".sv-transport button:not(:disabled)"],
];
/** The tabs of the other pages, which lie over this one. */
const PAGES = "#menu > .tab-wrapper [role=tab][aria-selected=true]";

/**
 * Put it first on the page.
 * @param {boolean} [pages] whether there are other pages
 */
export function addGoTo(pages = false) {
  const links = PLACES.map(([name, place], i) => el("button", { type: "button", tabindex: i ? -1 : 0, onclick: () => go(place) }, i ? name : `Go to: ${name}`));
  if (pages) links.push(el("button", { type: "button", tabindex: -1, onclick: () => /** @type {HTMLElement | null} */ (document.querySelector(PAGES))?.focus() }, "Pages"));

  /** @param {string} place */
  function go(place) {
    if (document.querySelector("#menu-view-button:not([aria-selected=true])")) document.getElementById("menu-view-button")?.click();
    // The page below has to be in sight, and the sheet of a narrow one on the node.
    setTimeout(() => {
      const seen = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(`.specviz :is(${place})`)]).find((one) => one.getClientRects().length);
      seen?.focus();
    }, 0);
  }

  const bar = el("nav", { class: "specviz-goto", "aria-label": "Go to" }, el("div", { role: "toolbar", "aria-label": "Go to" }, links));
  bar.addEventListener("keydown", (event) => {
    const at = links.indexOf(/** @type {HTMLButtonElement} */ (event.target)), to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const next = links.at(to % links.length);
    for (const one of links) one.tabIndex = one === next ? 0 : -1;
    next?.focus();
  });
  document.body.prepend(bar);
}
