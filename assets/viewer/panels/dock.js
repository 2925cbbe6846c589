/* The dock: one panel at a time below the tree, chosen by tabs. Below 1000 pixels it is a sheet that the node has a tab in. */

import { el } from "../core/dom.js";

/**
 * @typedef {object} DockPanel
 * @property {string} name
 * @property {string} title of its tab
 * @property {HTMLElement} box
 */

/** @typedef {ReturnType<typeof makeDock>} Dock */

/** The tab of the node, which stands beside the tree where there is room. */
export const NODE = "node";
/** Below this width the sheet replaces the column beside the tree, as in core/grid.css. */
export const NARROW = "(max-width: 999px)";

/** In a window this low the sheet is closed at first, and when the window becomes so low: the tree has half of it. */
export const LOW = "(max-width: 999px) and (max-height: 520px), (min-width: 561px) and (max-width: 999px) and (max-height: 760px)";

let count = 0;

/**
 * @param {DockPanel[]} panels in the order of their tabs
 * @param {HTMLElement} cacheHead what the cache has to say in the line of the tabs
 */
export function makeDock(panels, cacheHead) {
  const id = `sv-dock${count++}`, all = [{ name: NODE, title: "Node", box: null }, ...panels];
  const tabs = all.map(({ name, title, box }) => {
    const tab = el("button", { type: "button", role: "tab", "data-tab": name, id: `${id}-${name}-tab`, "aria-controls": box && `${id}-${name}`, tabindex: -1 }, title);
    if (box) {
      box.id = `${id}-${name}`;
      box.setAttribute("role", "tabpanel");
    }
    return tab;
  });
  const fold = el("button", { type: "button", "data-act": "dock", title: "Close or open the dock (k)" });
  const list = el("div", { class: "sv-tabs", role: "tablist", "aria-label": "Panels" }, tabs);
  const box = el("section", { class: "sv-dock", "aria-label": "Panels of the step" },
    el("div", { class: "sv-dockhead" }, list, cacheHead, fold), el("div", { class: "sv-dockbody" }, panels.map((panel) => panel.box)));

  /** @param {string} name of the tab that is open, or "" */
  function show(name) {
    box.dataset.tab = name;
    all.forEach((panel, i) => {
      const open = panel.name === name;
      tabs[i].setAttribute("aria-selected", String(open));
      tabs[i].tabIndex = open || (!all.some((one) => one.name === name) && i === 1) ? 0 : -1;
      if (panel.box) panel.box.hidden = !open;
    });
    cacheHead.hidden = name !== "cache";
    fold.setAttribute("aria-expanded", String(name !== ""));
    fold.setAttribute("aria-label", name === "" ? "Open the dock" : "Close the dock");
    fold.textContent = name === "" ? "⌃" : "⌄";
  }

  /**
   * The panel that holds an element.
   * @param {HTMLElement} element
   */
  const nameOf = (element) => panels.find((panel) => panel.box.contains(element))?.name;

  /** @param {(name: string) => void} open called with the tab that was chosen */
  function listen(open) {
    list.addEventListener("click", (event) => {
      const tab = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("[role=tab]"));
      if (tab?.dataset.tab) open(tab.dataset.tab);
    });
    list.addEventListener("keydown", (event) => {
      const seen = tabs.filter((tab) => tab.offsetParent !== null), at = seen.indexOf(/** @type {HTMLButtonElement} */ (event.target));
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      const tab = seen.at(to % seen.length);
      tab?.focus();
      tab?.click();
    });
  }

  /**
   * @param {string} name of a panel that has nothing to show here
   * @param {boolean} [out] false where it has
   */
  const leaveOut = (name, out = true) => (tabs[all.findIndex((panel) => panel.name === name)].hidden = out);

  return { box, fold, leaveOut, names: panels.map(({ name }) => name), show, nameOf, listen };
}
