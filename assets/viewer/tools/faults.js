/* The gallery of faults: a column beside the tree that says what a recorded loop does wrong, what the checks find in it, and
 * where to look.
 *
 * A block's `faults` opens the list, its `fault` one of them, at the step and the node where it shows.
 */

import { rowsOf } from "../core/columns.js";
import { el } from "../core/dom.js";
import { listenForKeys } from "../core/keys.js";
import { PARTS, named } from "../panels/checks.js";
import { NARROW } from "../panels/dock.js";
import { makeColumn } from "./column.js";

/** @import { Block, Fault, FaultName, FoundColumns } from "../core/frame.d.ts" */
/** @import { RowOf } from "../core/columns.js" */
/** @import { Act, Handlers, State, Tool } from "../core/state.js" */
/** @import { Ui } from "../parts.js" */

/** The panel of the dock that shows a finding's place; others are read in the tree and at the node. @type {Record<string, string>} */
const PANELS = { cache: "cache", "draft cache": "cache", mask: "masks" };

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {Act} act
 * @param {Handlers} handlers
 * @returns {Tool}
 */
export function makeFaults(ui, state, act, handlers) {
  const column = makeColumn(ui, state, act, handlers, { page: "faults", kind: "fault", left: () => (open = null) });
  const { put, button, close, heading } = column;
  /** @type {Fault | null} */
  let open = null;
  /** @type {FaultName[]} */
  let known = [];
  const narrow = matchMedia(NARROW);

  /** @param {Block} block */
  function take(block) {
    column.meet(block);
    if (block.faults) {
      known = block.faults;
      if (!open) list();
    }
    if (block.fault) begin(block.fault);
  }

  function list() {
    const title = heading("Faults");
    put("Faults", el("div", { class: "sv-lesson-head" }, el("span", {}, `${known.length} recorded loops`), close()), title,
      el("p", {}, "Each was written to have one fault that others have had, and was recorded as any loop can be. Its text reads well all the same."),
      el("ol", { class: "sv-lessonlist sv-faultlist" }, known.map(({ name, title: called, said }, i) => el("li", {}, el("button", { type: "button", "data-act": `fault-open-${name}`, onclick: () => column.wish(name) },
        el("span", { class: "sv-nodenumber" }, String(i + 1)), el("span", {}, el("b", {}, called), el("span", {}, said)))))));
    title.focus();
  }

  /** @param {Fault} fault */
  function begin(fault) {
    const { number, count, next } = fault, title = heading(fault.title);
    const found = rowsOf(/** @type {FoundColumns} */ (state.run?.findings?.found)), first = fault.finding === null ? undefined : found[fault.finding];
    put(`Fault ${number}`,
      el("div", { class: "sv-lesson-head" }, el("span", {}, `${number} of ${count}`), close()),
      title, el("p", {}, fault.said, " ", fault.more),
      el("div", { class: "sv-lesson-ask" }, el("h4", {}, "What the checks say"), el("ol", { class: "sv-checks" }, found.map(item))),
      el("h4", {}, "Where to look"), el("p", {}, fault.look), first ? el("p", { class: "sv-lesson-buttons" }, button("Show me", "show", () => go(first, true), "sv-lesson-primary")) : null,
      el("p", { class: "sv-lesson-aside" }, fault.reports.length ? "Met in " : "", fault.reports.flatMap(({ name, address }, i) => [i ? ", " : "", el("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, name)]), fault.reports.length ? "." : ""),
      el("div", { class: "sv-lesson-nav" }, known.length ? button("All faults", "list", list) : null, next ? button("Next ›", "next", () => column.wish(next)) : null));
    open = fault;
    if (first) go(first, false);
    act.open(first && !narrow.matches ? PANELS[first.place] || "" : "");
    ui.cacheModels.find(({ value }) => value === (first?.place === "draft cache" ? "draft" : "target"))?.click();
    title.focus();
  }

  /** @param {RowOf<FoundColumns>} finding */
  function item(finding) {
    const { check, weight, step, node, sentence } = finding, where = step === null ? "the whole run" : `step ${step + 1}${node === null ? "" : `, node ${node}`}`;
    return el("li", { class: `sv-check-${weight}` }, el("p", {}, el("b", {}, named(check)), " · ", step === null ? where : el("button", { type: "button", class: "sv-node", onclick: () => go(finding, true) }, where)),
      el("p", {}, sentence));
  }

  /**
   * @param {RowOf<FoundColumns>} finding
   * @param {boolean} panel whether the panel that shows it is opened, too
   */
  function go({ step, node, place }, panel) {
    const part = PARTS[place];
    if (step !== null) act.follow({ step, node, ...(panel && part && { part }) });
  }

  // A fault is about one run: it leaves with it.
  function run() {
    if (open && state.run?.id !== open.run) column.passed();
  }

  const stopListening = listenForKeys({ Escape: column.leave }, () => {
    if (!ui.root.isConnected) stopListening();
    return ui.root.isConnected && column.isTop();
  });

  return { take, declines: column.declines, run, leave: column.leave };
}
