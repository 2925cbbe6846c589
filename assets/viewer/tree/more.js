/* The menu at the end of the tree's row of tools: what is wanted rarely, behind one button. */

import { el } from "../core/dom.js";

/**
 * A button and the list it opens; whoever has a tool for it appends a button to `list`.
 * @returns {{box: HTMLElement, button: HTMLButtonElement, list: HTMLElement}}
 */
export function makeMore() {
  const button = el("button", { type: "button", "data-act": "more", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": "More tools of this step", title: "More tools of this step" }, "⋯");
  const list = el("div", { class: "sv-tools", role: "menu", "aria-label": "Tools of this step", hidden: true }), box = el("div", { class: "sv-more" }, button, list);
  const items = () => /** @type {HTMLButtonElement[]} */ ([...list.querySelectorAll("button:enabled")]);

  /** @param {boolean} open */
  function set(open) {
    list.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    for (const item of list.querySelectorAll("button")) {
      item.setAttribute("role", "menuitem");
      item.tabIndex = -1;
    }
    items()[0]?.focus();
  }

  function leave() {
    const isInside = list.contains(document.activeElement);
    if (isInside) button.focus();
    set(false);
  }

  button.addEventListener("click", () => set(Boolean(list.hidden)));
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" || !list.hidden) return;
    event.preventDefault();
    set(true);
  });
  list.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("button")) leave();
  });
  list.addEventListener("keydown", (event) => {
    const all = items(), at = all.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to !== undefined) all.at(to % all.length)?.focus();
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
  });
  box.addEventListener("focusout", (event) => {
    if (!(event.relatedTarget instanceof Node && box.contains(event.relatedTarget))) set(false);
  });
  return { box, button, list };
}
