/* Menus of the tree's row of tools: what is wanted rarely, and all verifiers, each behind one button. */

import { el } from "../core/dom.js";

/** @typedef {{box: HTMLElement, button: HTMLButtonElement, list: HTMLElement, open: () => void}} Menu */

/** The tools at the end of the row; whoever has one appends a button to `list`. */
export const makeMore = () => makeMenu({ act: "more", sign: "⋯", label: "More tools of this step", title: "Tools of this step", role: "menuitem" });

/** All verifiers, each a switch: the menu stays open while some are chosen. */
export const makeEveryone = () => makeMenu({ act: "everyone", sign: "", label: "All verifiers", title: "Verifiers, each shown or hidden", role: "menuitemcheckbox" });

/**
 * A button and the list it opens.
 * @param {{act: string, sign: string, label: string, title: string, role: "menuitem" | "menuitemcheckbox"}} about
 * @returns {Menu}
 */
function makeMenu({ act, sign, label, title, role }) {
  const button = el("button", { type: "button", "data-act": act, "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": label, title: label }, sign);
  const list = el("div", { class: "sv-tools", role: "menu", "aria-label": title, hidden: true }), box = el("div", { class: "sv-more" }, button, list);
  const items = () => /** @type {HTMLButtonElement[]} */ ([...list.querySelectorAll("button:enabled")]).filter((item) => item.offsetParent);

  /** @param {boolean} open */
  function set(open) {
    list.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    for (const item of list.querySelectorAll("button")) {
      item.setAttribute("role", role);
      item.tabIndex = -1;
    }
    items()[0]?.focus();
  }

  function leave() {
    const isInside = list.contains(document.activeElement);
    // Where there is no room for the button, the menu was opened from the one at the end of the row.
    if (isInside) (button.offsetParent ? button : /** @type {HTMLElement | null} */ (box.parentElement?.querySelector("[data-act=more]")))?.focus();
    set(false);
  }

  button.addEventListener("click", () => set(Boolean(list.hidden)));
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" || !list.hidden) return;
    event.preventDefault();
    set(true);
  });
  list.addEventListener("click", (event) => {
    if (role === "menuitem" && event.target instanceof Element && event.target.closest("button")) leave();
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
  return { box, button, list, open: () => set(true) };
}
