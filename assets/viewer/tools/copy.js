/* Numbers that leave the inspector: one recorded number's place in Python, or all numbers of the picture in full. */

/** @import { Tool } from "../core/state.js" */
/** @import { Ui } from "../parts.js" */

/**
 * Every recorded number once, as Python that says its value: `trace.steps[6].tree.nodes[2].target_prob  # 0.3203...`.
 * @param {Iterable<{path: string, value: string}>} numbers
 */
export function asPython(numbers) {
  const values = new Map([...numbers].map(({ path, value }) => [path, value]));
  return [...values].map(([path, value]) => `${path}  # ${value}\n`).join("");
}

/**
 * @param {Ui} ui
 * @returns {Tool}
 */
export function makeCopy(ui) {
  ui.inspector.addEventListener("click", (event) => {
    const at = /** @type {HTMLElement} */ (event.target), one = /** @type {HTMLElement | null} */ (at.closest("[data-path]"));
    if (one) copy(String(one.dataset.path), String(one.dataset.path));
    else if (at.closest("[data-act=copy-numbers]")) {
      const found = [.../** @type {NodeListOf<HTMLElement>} */ (ui.inspector.querySelectorAll(".sv-picture [data-path]"))].map(({ dataset }) => ({ path: String(dataset.path), value: String(dataset.value) }));
      copy(asPython(found), `${found.length ? "the numbers" : "nothing: there is no recorded number here"}`);
    }
  });

  /**
   * @param {string} text
   * @param {string} name what it is called afterwards
   */
  async function copy(text, name) {
    let said = `Copied ${name}`;
    try {
      await window.navigator.clipboard.writeText(text);
    } catch {
      said = text; // no clipboard without https, or without leave: here it can be selected
    }
    for (const place of ui.inspector.querySelectorAll(".sv-copied")) place.textContent = said;
  }

  return {};
}
