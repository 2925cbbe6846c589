/* A recording with several requests: which of them is in sight, beside the number of its step. */

import { el } from "../core/dom.js";

/** @import { Block } from "../core/frame.d.ts" */
/** @import { Act, Handlers, State, Tool } from "../core/state.js" */

/**
 * @param {{where: HTMLElement}} ui
 * @param {State} state
 * @param {Act} _act
 * @param {Handlers} handlers
 * @returns {Tool}
 */
export function makeRequests(ui, state, _act, { ask }) {
  if (!ask) return {};
  const choice = el("select", { "aria-label": "Request of this recording", "data-act": "request", onchange: () => ask("open_run", { run: choice.value, step: 0 }) });
  const box = el("label", { class: "sv-requests", hidden: true }, "request ", choice);
  ui.where.after(box);

  /** @param {Block} block */
  function take({ requests }) {
    if (!requests) return;
    choice.replaceChildren(...requests.map(({ run, name }) => el("option", { value: run, selected: run === state.run?.id }, name)));
    box.hidden = false;
  }

  return { take, run: () => (box.hidden = true) };
}
