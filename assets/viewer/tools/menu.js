/* The tabs of Gradio's pages: arrow keys go from one to the next, and one of them is in the tab order. */

const TABS = ".tab-container[role=tablist] > [role=tab]";

/** Tables of Gradio's that scroll sideways, so that keys have to reach them: id and name. */
const TABLES = { proofs: "What is proved of the verifiers", "memory-plan": "Whether the models fit" };

/** @param {Element} tab */
const listOf = (tab) => /** @type {HTMLElement[]} */ ([...(tab.closest("[role=tablist]")?.querySelectorAll(":scope > [role=tab]") || [])]);

/** @param {Element} tab of the list that is looked at */
function rove(tab) {
  for (const one of listOf(tab)) one.tabIndex = one.getAttribute("aria-selected") === "true" ? 0 : -1;
}

export function listenForTabs() {
  document.addEventListener("keydown", (event) => {
    const tab = event.target instanceof Element ? event.target.closest(TABS) : null;
    if (!tab || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = listOf(tab), at = all.indexOf(/** @type {HTMLElement} */ (tab)), to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = /** @type {HTMLElement} */ (all.at(to % all.length));
    next.focus();
    next.click();
  });
  // After Gradio has said which one is selected; it mounts them late, and with the first Tab of a visitor they are there.
  const all = () => {
    document.querySelectorAll(`${TABS}[aria-selected=true]`).forEach(rove);
    for (const [id, name] of Object.entries(TABLES)) {
      const box = document.getElementById(id);
      if (!box || box.tabIndex === 0) continue;
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", name);
    }
  };
  for (const kind of ["focusin", "click"]) document.addEventListener(kind, () => setTimeout(all, 0));
}

/**
 * Turn to a page that stands beside the run, or from it to the run.
 * @param {"lessons" | "faults"} page
 * @param {boolean} open
 */
export function turnTo(page, open) {
  const tab = (/** @type {string} */ name) => document.getElementById(`menu-${name}-button`), own = tab(page);
  if (open) own?.click();
  else if (own?.getAttribute("aria-selected") === "true") tab("view")?.click();
}
