/* The viewer's empty page: every part that is filled later, by name. */

import { el, note } from "./core/dom.js";
import { makeTreePanel } from "./tree/panel.js";

/** @import { ModelName } from "./core/state.js" */

/** @typedef {ReturnType<typeof buildParts>} Ui */
/** @typedef {ReturnType<typeof maskParts>["parts"]} MaskParts */

const KEYS = [
  ["← →  or  [ ]", "one step back, forward"], ["Home  End", "first, last step"], [", .", "inside the step: one phase back, forward"], ["Space", "play, pause"],
  ["c", "the paths of all verifiers, or of one"], ["/", "find a token or a node; Enter goes on"], ["+ −  0", "the tree larger, smaller, fitted"],
  ["t", "into the tree; there ← → ↑ ↓ walk from card to card, Enter selects"], ["f", "the tree alone in the window, and back"],
  ["Esc", "out of the tree, the node, the phases, the full window"], ["?", "this list"],
];
const FATES = [
  ["kept", "stayed where it was"], ["moved", "to another slot (→ #)"], ["dropped", "not to be kept"], ["stale", "left behind beyond the length"],
  ["free", "beyond the length"], ["wrong", "✕ not what must be there"],
];
const CELLS = [
  ["seen", "sees its ancestor, as it must"], ["leak", "+ leak: sees what is no ancestor"], ["missing", "− missing: does not see its ancestor"], ["unknown", "? pruned row: not told"],
];

export function buildParts() {
  const steps = {
    first: button("first", "First step", "⇤"), back: button("back", "Back", "←"), play: button("play", "Play", "►"), next: button("next", "Forward", "→"),
    last: button("last", "Last step", "⇥"), range: el("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Step" }),
    where: el("output", { class: "sv-where" }), timeline: el("div", { class: "sv-timeline", role: "group", "aria-label": "Accepted tokens of every step" }),
    helpButton: button("helpButton", "Keys", "?"),
  };
  const inside = {
    phaseBack: button("phaseBack", "Step into: the phase before (,)", "◂"), phaseWhere: el("span", { class: "sv-phasewhere" }, "step into"),
    phaseNext: button("phaseNext", "Step into: the next phase (.)", "▸"), phaseLeave: button("phaseLeave", "The whole step at once (Esc)", "×"),
    summary: el("p", { class: "sv-summary", "aria-live": "polite" }),
  };
  const texts = {
    text: el("div", { class: "sv-text", tabindex: 0, role: "region", "aria-label": "Generated text; click a token to open its step" }),
    models: el("span", { class: "sv-models" }),
  };
  const tree = { ...makeTreePanel(), inspector: el("aside", { class: "sv-panel sv-inspector", tabindex: 0, "aria-label": "Node" }) };
  const verdicts = el("div");
  const totals = {
    totalsEmpty: note("No step yet: totals appear with the first one."), totals: el("div", { class: "sv-totals" }),
    totalsTable: disclosure("Totals as counts"), stepsTable: disclosure("Timeline as a table"),
  };
  const caches = { faults: el("div"), cache: el("div", { role: "img", "data-picture": "cache" }), slotTable: disclosure("Cache slots as a table") };
  const target = maskParts("target"), draft = maskParts("draft"), maskTable = disclosure("Mask and positions as a table");
  const audit = el("div", { role: "img", "data-picture": "audit" });
  const audits = {
    auditEmpty: el("p", { class: "sv-empty" }, "This step was not audited. Tick “Audit caches” in the settings, or record with --audit, to see the heat map."),
    auditSaid: el("div"), audit, auditBox: el("div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": "Audit heat map, scrollable" }, audit),
    auditTable: disclosure("Audit as a table"),
  };
  const nodeTable = disclosure("Draft tree as a table", { class: "sv-panel", "data-known": "end" });
  const under = el("div", { class: "sv-under" }), alarm = el("p", { class: "sv-jump", role: "status", hidden: true });
  const columns = el("div", { class: "sv-columns" }, tree.panel, tree.inspector);
  const body = el("div", { class: "sv-body", hidden: true },
    el("div", { class: "sv-now-line" },
      el("div", { class: "sv-inside", role: "group", "aria-label": "Inside the step" }, inside.phaseBack, inside.phaseWhere, inside.phaseNext, inside.phaseLeave), inside.summary),
    alarm, columns, under,
    panel("Verdicts", "Verdicts", { "data-known": "end" },
      note("What each verifier made of this one tree, with the same luck: what it accepted, and the bonus token it drew after that. A rule that draws tokens flips no coins, so it shares only the draws."), verdicts),
    panel("The run so far", "The run so far", {},
      note("How often each verifier accepted what was drafted, over the steps that it judged; every figure stands under the formula it is counted by."), ...Object.values(totals)),
    panel("KV cache", "KV cache", { "data-known": "cache" },
      note("The keys and values each model keeps of every token: written for the whole tree; then only the root and the accepted path, as far as it became text, are gathered and stay. p = position, n = node."),
      key(FATES.map(([name, what]) => el("span", {}, el("i", { class: `sv-slot sv-slot-${name}` }), ` ${name}: ${what}`))), caches.faults, scrolled("KV cache", caches.cache), caches.slotTable),
    panel("Mask and positions", "Mask and positions", { "data-known": "target" },
      note("Which slots each new token was allowed to look at, and at which position it ran, as passed to the model; a token may see the text, its ancestors and itself."),
      key(CELLS.map(([name, what]) => el("span", {}, el("i", { class: `sv-slot sv-cell-${name}` }), ` ${what}`))), el("div", { class: "sv-masks" }, target.box, draft.box), maskTable),
    panel("Audit", "Audit against a recompute", { "data-known": "cache" },
      note("Each cached key and value compared with a fresh run over the same text: the largest difference, relative to the layer's largest value (what stands out of its layer is measured by itself). Rounding leaves next to nothing."),
      audits.auditEmpty, audits.auditSaid, audits.auditBox, audits.auditTable),
    nodeTable);

  const notice = el("div", { hidden: true }), top = el("div", { class: "sv-top" }), tip = el("div", { class: "sv-tip", hidden: true }), help = helpDialog();
  const failed = el("section", { class: "sv-panel", "aria-label": "Failed step", hidden: true });
  const empty = el("div", { class: "sv-empty", role: "status" }, el("b", {}, "No run is open."), el("span", {}, "Open a recorded run under Runs, or press Step to draft a first tree."));
  const root = el("div", { class: "sv-root" }, notice, top,
    el("div", { class: "sv-bar" },
      el("div", { class: "sv-transport", role: "group", "aria-label": "Steps" }, steps.first, steps.back, steps.play, steps.next, steps.last), steps.range, steps.where, steps.timeline, steps.helpButton),
    el("section", { class: "sv-textbox", "aria-label": "Text" }, texts.text,
      key([texts.models, el("span", {}, "what the run wrote; click a word to open its step"), el("span", { class: "sv-prompt" }, "prompt"),
        el("span", { class: "sv-word sv-accepted" }, "accepted draft"), el("span", { class: "sv-word sv-bonus" }, "bonus token")])),
    failed, empty, body, tip, help);
  return {
    root, notice, top, failed, empty, body, tip, help, alarm, columns, under, verdicts, nodeTable, maskTable, masks: { target: target.parts, draft: draft.parts },
    ...steps, ...inside, ...texts, ...tree, ...totals, ...caches, ...audits,
  };
}

/**
 * @param {string} name
 * @param {string} label
 * @param {string | Node} sign
 */
const button = (name, label, sign) => el("button", { type: "button", "aria-label": label, title: label, "data-act": name }, sign);

/** @param {any[]} parts of an explanation of signs */
const key = (parts) => el("p", { class: "sv-note sv-key" }, parts);

/**
 * @param {string} title
 * @param {Record<string, string>} [attributes]
 */
const disclosure = (title, attributes) => el("details", attributes, el("summary", {}, title));

/**
 * @param {string} name
 * @param {Node} child
 */
const scrolled = (name, child) => el("div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": `${name}, scrollable` }, child);

/**
 * @param {string} name
 * @param {string} title
 * @param {Record<string, string>} attributes `data-known` is the phase from which on it may be seen
 * @param {...any} children
 */
const panel = (name, title, attributes, ...children) => el("section", { class: "sv-panel", "aria-label": name, ...attributes }, el("h3", {}, title), children);

/** @param {ModelName} model */
function maskParts(model) {
  const zoomer = (/** @type {string} */ name, /** @type {string} */ sign, /** @type {number} */ factor) =>
    el("button", { type: "button", value: factor, "data-act": `mask-${name}`, "aria-label": `${name} cells, ${model}`, title: `${name} cells` }, sign);
  const parts = {
    head: el("h4"), notes: el("div"), picture: el("div", { role: "img", "data-picture": `mask.${model}` }), said: el("output", { class: "sv-note sv-readout" }),
    zoomers: [zoomer("smaller", "−", 1 / 1.5), zoomer("larger", "+", 1.5)],
  };
  const box = el("div", { class: "sv-mask", "data-model": model },
    el("div", { class: "sv-panelhead" }, parts.head, el("div", { class: "sv-zoom" }, parts.zoomers)), parts.notes, scrolled(`Mask of the ${model}`, parts.picture), parts.said);
  return { parts, box };
}

const helpDialog = () => el("dialog", { class: "sv-help", "aria-label": "Keys" }, el("h3", {}, "Keys"),
  el("dl", {}, KEYS.map(([name, what]) => [el("dt", {}, name), el("dd", {}, what)])),
  el("form", { method: "dialog" }, el("button", {}, "Close")));
