/* Example prompts as chips beside the prompt: one click, or Enter on one, writes it into the box, where Enter starts it. One of
 * them is in the tab order, and the arrow keys go from one to the next.
 */

import { el } from "../core/dom.js";

/** @param {string} prompt */
function write(prompt) {
  const box = /** @type {HTMLTextAreaElement | null} */ (document.querySelector("#prompt textarea, #prompt input"));
  if (!box) return;
  box.focus(); // first, as the command bar notes then which prompt was there
  box.value = prompt;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

/**
 * @param {HTMLElement} place
 * @param {[string, string][]} examples what a chip says, and its prompt
 */
export function makeExamples(place, examples) {
  const chips = examples.map(([label, prompt], i) =>
    el("button", { type: "button", tabindex: i ? -1 : 0, title: prompt, "aria-label": `${label}, an example: ${prompt}`, onclick: () => write(prompt) }, label));
  const group = el("div", { class: "specviz-examples", role: "group", "aria-label": "Example prompts" }, chips);
  group.addEventListener("keydown", (event) => {
    const at = chips.indexOf(/** @type {HTMLButtonElement} */ (event.target)), way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (at < 0 || !way) return;
    event.preventDefault(); // the steps have the same keys
    const next = chips[(at + way + chips.length) % chips.length];
    for (const chip of chips) chip.tabIndex = chip === next ? 0 : -1;
    next.focus();
  });
  place.replaceChildren(group);
}
