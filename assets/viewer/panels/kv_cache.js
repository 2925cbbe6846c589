/* The KV cache below the tree: one cell a slot with what it holds, moves as arcs, the tables behind it.
 *
 * One model at a time, with the tree or after the update; inside the step nothing is told before it has happened. What does
 * not fit is red, framed and said in words.
 */

import { rowsOf } from "../core/columns.js";
import { digits } from "../core/digits.js";
import { el, note, svg } from "../core/dom.js";
import { CALLS, NOT_RECORDED, unrecorded } from "../core/recorded.js";
import { MODELS } from "../core/state.js";
import { phasesOf } from "../tree/phases.js";
import { layStrip } from "./slot_layout.js";
import { saidOfLeft, saidOfSlot, sentenceOf, slotsOf, wholeOf } from "./slots.js";

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { Motion } from "../core/motion.js" */
/** @import { Act, ModelName, State, View } from "../core/state.js" */
/** @import { Arc, Cell } from "./slot_layout.js" */
/** @import { Tale } from "./findings.js" */
/** @import { Slots, Stage, WholeCache } from "./slots.js" */

const ARC = 26, HEIGHT = 40, GLIDE_MS = 240, FADED = 0.2;
/** Below this width what is said of a cache stands in its panel, not in a line that it shares. */
const NARROW = "(max-width: 999px)";
const LOOKS = [
  ["kept", "stays, framed in the driver's colour"], ["source", "moved away along the arc"], ["cut", "struck through: not kept, stale beyond the length"],
  ["wrong", "✕ not what must be there"],
];

/** @typedef {ReturnType<typeof cacheParts>} CacheParts */

/** The panel's elements: what is said in one line, and what stands below it. */
export function cacheParts() {
  /**
   * @param {"model" | "when"} what
   * @param {string} value
   * @param {string} text
   */
  const choice = (what, value, text) => el("button", { type: "button", "data-cache": what, value }, text);
  const models = MODELS.map((model) => choice("model", model, model)), whens = [choice("when", "tree", "with the tree"), choice("when", "after", "after")];
  const said = el("p", { class: "sv-cachesaid", role: "status" }), fine = el("p", { class: "sv-fine" }), faults = el("div", { hidden: true });
  const head = el("div", { class: "sv-cachehead" },
    el("div", { class: "sv-switch", role: "group", "aria-label": "Whose cache" }, models), said, fine, el("div", { class: "sv-switch", role: "group", "aria-label": "Which moment" }, whens));
  const slots = el("div", { class: "sv-slots", role: "img" }), slotTable = el("details", {}, el("summary", {}, "Cache slots as a table"));
  const legend = el("details", {}, el("summary", {}, "What the cells mean"),
    note("The keys and values a model keeps of every token: written for the whole tree; then only the root and the accepted path, as far as it became text, are gathered and stay."),
    el("p", { class: "sv-note sv-key" }, LOOKS.map(([name, what]) => el("span", {}, el("i", { class: `sv-slot sv-kv-${name}` }), ` ${what}`))));
  const below = el("div", { class: "sv-cachebelow" },
    el("div", { class: "sv-scroll sv-slotbox", tabindex: 0, role: "region", "aria-label": "Slots of the KV cache, scrollable" }, slots), faults, slotTable, legend);
  return { cacheHead: head, cacheBelow: below, cacheModels: models, cacheWhens: whens, cacheSaid: said, cacheFine: fine, slots, faults, slotTable };
}

/**
 * @param {CacheParts} ui
 * @param {State} state
 * @param {Act} act
 * @param {Motion} motion
 */
export function makeCache(ui, state, act, motion) {
  const home = ui.cacheHead.parentElement, next = ui.cacheHead.nextSibling, narrow = matchMedia(NARROW);
  /** @type {ModelName} */
  let model = "target";
  let when = "after";
  /** @type {[Frame, View, Tale] | null} */
  let last = null;
  let shown = "";
  let digit = 0;

  for (const button of [...ui.cacheModels, ...ui.cacheWhens])
    button.onclick = () => {
      if (button.dataset.cache === "model") model = /** @type {ModelName} */ (button.value);
      else when = button.value;
      if (last) draw(...last);
    };
  ui.slots.addEventListener("click", (event) => {
    const cell = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("[data-node]"));
    if (cell) act.select(Number(cell.dataset.node));
  });

  /**
   * @param {Frame} frame
   * @param {View} view
   * @param {Tale} tale
   */
  function draw(frame, view, tale) {
    last = [frame, view, tale];
    if (narrow.matches) ui.cacheBelow.prepend(ui.cacheHead);
    else if (ui.cacheHead.parentElement === ui.cacheBelow) home?.insertBefore(ui.cacheHead, next);
    const cache = frame.caches[model], whole = wholeOf(cache), stage = stageOf(frame, view.lens, state.phase), known = stage === "after", after = known && when === "after";
    for (const button of ui.cacheModels) {
      const wrong = known && Boolean(frame.caches[/** @type {ModelName} */ (button.value)]?.faults.length);
      button.setAttribute("aria-pressed", String(button.value === model));
      button.replaceChildren(button.value, wrong ? el("span", { class: "sv-bad" }, " ✕") : "");
    }
    for (const button of ui.cacheWhens) {
      button.setAttribute("aria-pressed", String((button.value === "after") === after));
      button.disabled = (button.value === "after" && !known) || !whole;
    }
    const wrong = known && cache && cache.faults.length > 0, said = wrong ? cache.faults[0] : sentenceOf(cache, stage);
    ui.cacheSaid.className = wrong ? "sv-cachesaid sv-bad" : "sv-cachesaid";
    if (ui.cacheSaid.textContent !== said) ui.cacheSaid.textContent = said;
    ui.cacheSaid.title = said;
    tellFaults(ui, frame, tale, act, known);
    ui.slotTable.hidden = !known;
    if (!whole) {
      ui.slots.style.width = ui.slots.style.height = "";
      ui.slots.setAttribute("aria-label", `KV cache of the ${model}: ${said}`);
      return ui.slots.replaceChildren(el("p", { class: "sv-note" }, "The slots cannot be drawn: ", unrecorded(CALLS.cache)));
    }
    if (whole.kind === "none") return ui.slots.replaceChildren(note("Its heads read the target's state at the root and nothing else."));
    drawStrip(whole, stage, after, view);
    const now = `${model} ${frame.step} `;
    // Kept cells move to their places where one sees the update happen, not where one comes to a step.
    if (after && shown === `${now}tree`) glide(whole);
    shown = `${now}${after ? "after" : "tree"}`;
  }

  /** @param {WholeCache} cache */
  function glide(cache) {
    const at = (/** @type {number} */ slot) => /** @type {HTMLElement | null} */ (ui.slots.querySelector(`[data-slot="${slot}"]`));
    const ways = cache.to.flatMap((to, i) => {
      const from = at(cache.slot[i]), cell = to === null || to === cache.slot[i] ? null : at(to);
      return from && cell ? [{ cell, way: from.offsetLeft - cell.offsetLeft }] : [];
    });
    for (const { cell, way } of ways) {
      cell.style.zIndex = "1";
      motion.run(cell, "kept", { transform: `translateX(${way}px)` }, GLIDE_MS);
    }
    for (const cell of ui.slots.querySelectorAll(".sv-kv-cut")) motion.run(cell, "cut", { opacity: FADED }, GLIDE_MS);
  }

  /**
   * @param {WholeCache} cache
   * @param {Stage} stage
   * @param {boolean} after
   * @param {View} view
   */
  function drawStrip(cache, stage, after, view) {
    const known = stage === "after", slots = slotsOf(cache), strip = layStrip(cache, ui.slots.parentElement?.clientWidth || 900, known, view.selected, digit ||= widthOfDigit(ui.slots));
    const cells = stage === "before" ? strip.cells.filter((one) => one.kind === "wrong") : strip.cells;
    const arcs = svg("svg", { width: strip.width, height: ARC, "aria-hidden": "true", class: "sv-arcs" });
    arcs.append(...strip.arcs.flatMap(arcParts));
    ui.slots.style.width = `${strip.width}px`;
    ui.slots.style.height = `${ARC + HEIGHT + 4}px`;
    ui.slots.setAttribute("aria-label", `KV cache of the ${model}, ${after ? "after the update" : "with the tree"}: ${sentenceOf(cache, stage)}; the table has every slot.`);
    ui.slots.replaceChildren(arcs, settledBlock(cache, strip.settled), ...cells.map((cell) => cellOf(cache, slots, cell, known, after, model)));
    for (const cell of ui.slots.querySelectorAll(`[data-node="${view.selected}"]`)) cell.classList.add("sv-picked");
  }

  return draw;
}

/**
 * Pixels of a digit in a cell; 0 where nothing is laid out yet.
 * @param {HTMLElement} slots
 */
function widthOfDigit(slots) {
  const probe = el("small", {}, "0".repeat(20)), cell = el("div", { class: "sv-kv", style: "width:max-content" }, probe);
  slots.append(cell);
  const width = probe.getBoundingClientRect().width / 20;
  cell.remove();
  return width;
}

/**
 * How far a phase of a step has come for the caches.
 * @param {Frame} frame
 * @param {string} lens
 * @param {number | null} phase
 * @returns {Stage}
 */
export function stageOf(frame, lens, phase) {
  if (phase === null) return "after";
  const { kind } = phasesOf(frame, lens)[phase];
  return kind === "cache" ? "after" : kind === "draft" ? "before" : "tree";
}

/** @param {Arc} arc */
function arcParts({ from, to, height, missing, wrong }) {
  const name = `sv-arc${wrong ? " sv-arc-wrong" : ""}${missing ? " sv-arc-missing" : ""}`, rise = ARC - height * 1.25;
  return [
    svg("path", { class: name, d: `M${from} ${ARC - 1}C${from} ${rise} ${to} ${rise} ${to} ${ARC - 5}` }),
    svg("path", { class: `${name} sv-arc-head`, d: `M${to - 4.5} ${ARC - 8}l4.5 7 4.5-7z` }),
  ];
}

/**
 * The slots from before the step, one block; the last ones by text.
 * @param {WholeCache} cache
 * @param {number} width
 */
function settledBlock(cache, width) {
  const texts = rowsOf(cache.settled).map(({ text }) => text ?? "?"), kept = cache.kind === "tokens" ? "settled" : cache.kind;
  return el("div", { class: "sv-kv sv-kv-settled", style: `left:0;width:${width}px`, title: texts.length ? `the last ones hold ${texts.join(" ")}` : null },
    el("b", {}, `${cache.before} ${kept}`), el("small", {}, cache.before ? `#0–#${cache.before - 1}` : "no slot yet"));
}

/**
 * @param {WholeCache} cache
 * @param {Slots} slots
 * @param {Cell} cell
 * @param {boolean} known whether the update has been
 * @param {boolean} after whether it is shown
 * @param {ModelName} model
 */
function cellOf(cache, slots, { kind, x, width, first, last, written, left }, known, after, model) {
  const place = `left:${Math.round(x)}px;width:${Math.round(width)}px`;
  if (kind === "fold") {
    const many = `${last - first + 1} slots of the ${model}, ${first} to ${last}${known ? ": none of them is kept" : ""}`;
    return el("div", { class: `sv-kv sv-kv-fold${after ? " sv-kv-cut" : ""}`, style: place, title: many }, el("b", {}, `${last - first + 1} ${known ? "cut" : "more"}`), el("small", {}, `${first}–${last}`));
  }
  if (kind === "wrong") {
    const at = first - (cache.before - cache.settled.text.length), text = cache.settled.text[at] ?? "?", since = `✕ step ${Number(cache.settled.step[at]) + 1}`;
    return el("div", { class: "sv-kv sv-kv-wrong", style: place, title: `${model} slot ${first}: ${since} left ${text} here, which the text has not` }, el("b", { dir: "auto" }, text), el("small", {}, since));
  }
  const { due, misplaced, strays } = slots, shown = after && left ? (left.good ? left.due : left.held) : written;
  const wrong = (after && left && !left.good) || (shown !== null && due.has(shown)) || (known && !after && written !== null && (misplaced.has(written) || strays.has(written)));
  const source = known && !(after && left) && written !== null && (cache.state[written] === "m" || misplaced.has(written));
  const look = wrong ? "wrong" : source ? "source" : after ? (left ? "kept" : "cut") : known && written !== null && cache.to[written] !== null ? "kept" : "plain";
  const text = shown === null ? "?" : cache.text[shown], node = shown === null ? null : cache.node[shown];
  const told = [`${model} slot ${first} ${text}`, after && left ? saidOfLeft(cache, slots, left) : written === null ? "written by no forward of this step" : saidOfSlot(cache, slots, written, known), after && !left ? "beyond the length, stale" : ""];
  return el("div", { class: `sv-kv sv-kv-${look}${source && after ? " sv-kv-cut" : ""}`, style: place, title: told.filter(Boolean).join("; "), "data-slot": first, "data-node": node },
    shown !== null && cache.role[shown] === "m" ? el("b", {}, el("em", {}, "mask")) : el("b", { dir: "auto" }, text), el("small", {}, String(first)));
}

/**
 * What is wrong in the caches of a step, or that nothing is.
 * @param {Pick<CacheParts, "faults" | "cacheFine">} ui
 * @param {Frame} frame
 * @param {Tale} tale
 * @param {Act} act
 * @param {boolean} known whether the update has been
 */
function tellFaults({ faults: box, cacheFine }, frame, tale, act, known) {
  const faults = MODELS.flatMap((model) => (frame.caches[model]?.faults || []).map((fault) => `${model}: ${fault}`));
  const mine = tale.found.some((one) => one.place === "faults" && one.kind !== "after");
  const begun = [...new Set(MODELS.map((model) => tale.before[`${model} cache`]).filter((step) => step !== undefined))];
  const back = begun.flatMap((step) => [" ", el("button", { type: "button", class: "sv-node", onclick: () => act.show(step) }, `step ${step + 1}`)]);
  const head = !mine ? "↳ This step's own update fits, but the cache is still what an earlier step left wrong:"
    : begun.length ? "✕ This step's caches are not what the verdict demands, and they were not before it:" : "✕ This step's caches are not what the verdict demands. It is the first such step.";
  box.hidden = !known || !faults.length;
  box.className = mine ? "sv-alarm" : "sv-alarm sv-after";
  box.title = faults.join("\n"); // the box shows two lines of them
  box.replaceChildren(el("b", {}, head), ...back, faults.length > 1 ? ` · ${faults.length} findings:` : "", el("ul", {}, faults.map((fault) => el("li", {}, fault))));
  const audits = MODELS.flatMap((model) => (frame.caches[model]?.audit ? [`${model} ${digits(frame.caches[model]?.audit?.worst, 2)}`] : []));
  const compared = audits.length ? `differs from a recompute by: ${audits.join(", ")}` : "not compared with a recompute";
  const lacking = MODELS.flatMap((model) => (frame.caches[model] ? frame.caches[model].lacks : ["slots"]).map((what) => `${model}: ${what}`));
  const said = lacking.length ? `${NOT_RECORDED}, so not checked – ${lacking.join(", ")}; ${compared}` : `✓ every kept slot has its fingerprint; positions and masks fit; ${compared}`;
  cacheFine.hidden = !known || faults.length > 0;
  cacheFine.title = said;
  cacheFine.replaceChildren(said, ...(begun.length ? ["; an earlier step left these caches wrong:", ...back] : []));
}
