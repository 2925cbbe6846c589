/* The viewer's empty page: every part that is filled later, by name. */

import { el, note } from "./core/dom.js";
import { outcome } from "./core/words.js";
import { makeDock } from "./panels/dock.js";
import { cacheParts } from "./panels/kv_cache.js";
import { makeTreePanel } from "./tree/panel.js";

/** @import { ModelName } from "./core/state.js" */

/** @typedef {ReturnType<typeof buildParts>} Ui */
/** @typedef {ReturnType<typeof maskParts>["parts"]} MaskParts */

const KEYS = [
  ["← →  or  [ ]", "one step back, forward"], ["Home  End", "first, last step"], ["Shift  with one of these", "a range of steps from the one in sight, which the totals follow; Esc ends it"], [", .", "inside the step: one phase back, forward"], ["Space", "play, pause"],
  ["c", "the paths of all verifiers, or of one"], ["/", "find a token or a node; Enter goes on"], ["+ −  0", "the tree larger, smaller, fitted"],
  ["t", "into the tree; there ← → ↑ ↓ walk from card to card, Enter selects"], ["f", "the tree alone in the window, and back"], ["b", "the same in large type, for the back row, and back"], ["k", "close or open the dock; 1 to 8 open its panels"], ["s  r", "on the page: Step; Run or Stop"],
  ["l", "on the page: the lessons, and out of them; in a lesson, digits select the node of that number"],
  ["e", "a figure of the step, as SVG or PNG"],
  ["w", "why: the chain of causes of what does not fit; Backspace goes back along its links"], ["n  N", "next, previous step in which something went wrong"],
  ["Esc", "out of the tree, the node, the causes, the phases, the full window, a range of steps"], ["?", "this list"],
];
const CELLS = [
  ["seen", "sees its ancestor, as it must"], ["leak", "+ leak: sees what is no ancestor"], ["missing", "− missing: does not see its ancestor"], ["unknown", "? pruned row: not told"],
];

export function buildParts() {
  const steps = {
    first: button("first", "First step", "⇤"), back: button("back", "Back", "←"), play: button("play", "Play", "►"), next: button("next", "Forward", "→"),
    last: button("last", "Last step", "⇥"), range: el("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Step" }),
    where: el("output", { class: "sv-where" }), timeline: el("div", { class: "sv-timeline", role: "group", "aria-label": "Accepted tokens of every step" }),
    helpButton: el("button", { type: "button", "data-act": "helpButton", title: "All keys, and what the signs mean (?)" }, "Keys"),
  };
  const inside = {
    phaseBack: button("phaseBack", "Step into: the phase before (,)", "◂"), phaseWhere: el("span", { class: "sv-phasewhere" }, "step into"),
    phaseNext: button("phaseNext", "Step into: the next phase (.)", "▸"), phaseLeave: button("phaseLeave", "The whole step at once (Esc)", "×"),
    dots: el("div", { class: "sv-dots" }), summary: el("p", { class: "sv-summary sv-hidden", "aria-live": "polite" }),
  };
  const heads = { headline: el("h2", { class: "sv-headline" }), headTokens: el("span", { class: "sv-headtokens" }), headSaid: el("span") };
  const texts = {
    text: el("div", { class: "sv-text", tabindex: 0, role: "region", "aria-label": "Generated text; click a token to open its step" }),
    models: el("span", { class: "sv-models" }), rangeSaid: el("p", { class: "sv-rangesaid", role: "status", hidden: true }),
  };
  const tree = { ...makeTreePanel(), inspector: el("aside", { class: "sv-panel sv-inspector", tabindex: 0, "aria-label": "Node" }) };
  const verdicts = el("div");
  const totals = {
    totalsEmpty: note("No step yet: totals appear with the first one."), totals: el("div", { class: "sv-totals" }),
    totalsTable: disclosure("Totals as counts"), stepsTable: disclosure("Timeline as a table"),
  };
  const caches = cacheParts();
  const target = maskParts("target"), draft = maskParts("draft"), maskTable = disclosure("Mask and positions as a table");
  const audit = el("div", { role: "img", "data-picture": "audit" });
  const audits = {
    auditEmpty: el("p", { class: "sv-empty" }, "This step was not audited. Tick “Audit caches” in the settings, or record with --audit, to see the heat map."),
    auditForeign: note("The caches of another engine are not recomputed. “specviz audit FILE --target MODEL --draft MODEL” compares its rows with those of its models."),
    auditSaid: el("div"), audit, auditBox: el("div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": "Audit heat map, scrollable" }, audit),
    auditTable: disclosure("Audit as a table"),
  };
  const nodeTable = disclosure("Draft tree as a table");
  const checks = el("div");
  const under = el("div", { class: "sv-under" }), alarm = el("div", { class: "sv-jump", role: "status", hidden: true });
  const dock = makeDock([
    { name: "cache", title: "KV cache", box: panel("KV cache", "KV cache", {}, caches.cacheBelow) },
    { name: "verdicts", title: "Verdicts", box: panel("Verdicts", "Verdicts", { "data-known": "end" },
      note("What each verifier made of this one tree, with the same luck: what it accepted, and the bonus token it drew after that. A rule that draws tokens flips no coins, so it shares only the draws."), verdicts) },
    { name: "totals", title: "Totals", box: panel("The run so far", "The run so far", {}, el("p", { class: "sv-note" }, texts.models),
      note("How often each verifier accepted what was drafted, over the steps that it judged; every figure stands under the formula it is counted by."), ...Object.values(totals)) },
    { name: "masks", title: "Masks", box: panel("Mask and positions", "Mask and positions", { "data-known": "target" },
      note("Which slots each new token was allowed to look at, and at which position it ran, as passed to the model; a token may see the text, its ancestors and itself, and a row of a block the block."),
      key(CELLS.map(([name, what]) => el("span", {}, el("i", { class: `sv-slot sv-cell-${name}` }), ` ${what}`))), el("div", { class: "sv-masks" }, target.box, draft.box), maskTable) },
    { name: "audit", title: "Audit", box: panel("Audit", "Audit against a recompute", { "data-known": "cache" },
      note("Each cached key and value compared with a fresh run over the same text: the largest difference, relative to the layer's largest value (what stands out of its layer is measured by itself). Rounding leaves next to nothing."),
      audits.auditEmpty, audits.auditForeign, audits.auditSaid, audits.auditBox, audits.auditTable) },
    { name: "table", title: "Table", box: panel("Draft tree as a table", "Draft tree as a table", { "data-known": "end" }, note("Every node of the tree in numbers: what the draft said, what the target said, and what every verifier made of it."), nodeTable) },
    { name: "whatif", title: "What if", box: el("section", { class: "sv-panel", "aria-label": "What if" }, under) },
    { name: "findings", title: "Findings", box: panel("Findings", "Findings", {},
      note("What was checked of another engine's run without its models, and what of it does not fit; each finding leads to its step and to the panel that shows it."), checks) },
  ], caches.cacheHead);
  const said = el("div", { class: "sv-said" }, alarm, heads.headline, el("p", { class: "sv-sub" }, heads.headTokens, heads.headSaid), inside.summary);
  const headbox = el("header", { class: "sv-headbox" }, said,
    el("div", { class: "sv-inside", role: "group", "aria-label": "Inside the step" }, inside.phaseBack, inside.dots, inside.phaseNext, inside.phaseWhere, inside.phaseLeave));
  const body = el("div", { class: "sv-body", hidden: true }, headbox, tree.panel, tree.inspector, dock.box);

  const notice = el("div", { hidden: true }), top = el("div", { class: "sv-top" }), tip = el("div", { class: "sv-tip", hidden: true }), help = helpDialog();
  const failed = el("section", { class: "sv-panel sv-failed", "aria-label": "Failed step", hidden: true });
  const empty = el("div", { class: "sv-empty", role: "status" }, el("b", {}, "No run is open."), el("span", {}, "Open a recorded run under Runs, or press Step to draft a first tree."));
  const root = el("div", { class: "sv-root" }, el("div", { class: "sv-above" }, notice, failed), top,
    el("section", { class: "sv-strip", "aria-label": "The run" },
      el("div", { class: "sv-bar" }, el("div", { class: "sv-transport", role: "group", "aria-label": "Steps" }, steps.first, steps.back, steps.play, steps.next, steps.last), steps.where),
      el("div", { class: "sv-overview" }, steps.timeline, texts.text, texts.rangeSaid)),
    empty, body, tip, help);
  return {
    root, notice, top, failed, empty, body, tip, help, headbox, said, alarm, under, verdicts, nodeTable, maskTable, checks, dock, masks: { target: target.parts, draft: draft.parts },
    ...steps, ...inside, ...heads, ...texts, ...tree, ...totals, ...caches, ...audits,
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
  el("h3", {}, "What is seen"),
  note("The tokens of the tree were drafted, the target scored all of them in one forward, and every verifier then took a path, which may be empty. A card shows its arithmetic when it is clicked; a word of the text opens its step."),
  key([...["a", "r", "p", "."].map((letter) => el("span", {}, outcome(letter))), el("span", {}, "◆ paths part here, in Compare"),
    el("span", {}, "dashed card, token struck out: accepted, and thrown away because the text ended before it"), el("span", {}, "≠ alone on a card or above a step's words: with processors in the other mode, exact or frozen, and the same luck, the verifier decides otherwise"),
    ...[["accepted", "accepted draft, above its word"], ["bonus", "bonus token"]].map(([origin, words]) => el("span", {}, el("span", { class: "sv-segdots" }, el("i", { class: `sv-dot-${origin}` })), ` ${words}`))]),
  el("form", { method: "dialog", class: "sv-foot" }, el("button", {}, "Close")));
