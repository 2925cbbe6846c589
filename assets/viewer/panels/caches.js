/* The KV cache of both models in three strips each: before the step, with the tree, after the update.
 *
 * A slot keeps its column in all three strips, so a move is a slanted line. Fates differ in frame, hatching and word; what
 * does not fit is red, framed and says what it holds instead. Columns: specviz/figures/cache.py.
 */

import { rowsOf } from "../core/columns.js";
import { digits } from "../core/digits.js";
import { el } from "../core/dom.js";
import { Labels } from "../core/labels.js";
import { Picture } from "../core/paint.js";
import { MODELS } from "../core/state.js";
import { FATES, slotsOf } from "./slots.js";

/** @import { Cache, Frame, Run } from "../core/frame.d.ts" */
/** @import { Act, Hit, ModelName } from "../core/state.js" */
/** @import { Tale } from "./findings.js" */
/** @import { LeftRow, Slots } from "./slots.js" */

const CELL = 56, WIDTH = 51, HEIGHT = 53, SHORT = 28, BLOCK = 70, GAP = 36, LONG_RUN = 6, MANY = 64, NARROW = 560;

/**
 * Fill the panel; returns what can be hit in its picture.
 * @param {{cache: HTMLElement, faults: HTMLElement}} ui
 * @param {Run} run
 * @param {Frame} frame
 * @param {Tale} tale
 * @param {Act} act
 */
export function drawCaches(ui, run, frame, tale, act) {
  tellFaults(ui.faults, frame, tale, act);
  ui.cache.setAttribute("aria-label", `KV caches: target length ${frame.caches.target.length}, draft length ${frame.caches.draft.length}; the table below has every slot.`);
  const strips = new Strips(run);
  for (const model of MODELS) strips.draw(model, frame.caches[model]);
  strips.picture.paint(ui.cache, strips.width, strips.top);
  strips.labels.lay(ui.cache);
  return strips.hits;
}

/** The picture of both models, one below the other. */
class Strips {
  /** @param {Run} run */
  constructor(run) {
    this.picture = new Picture(run.figures.cache);
    this.labels = new Labels();
    /** @type {Hit[]} */
    this.hits = [];
    this.width = 330;
    this.top = 0;
  }

  /**
   * @param {ModelName} model
   * @param {Cache} cache
   */
  draw(model, cache) {
    const { labels } = this, before = this.top + 18, tree = before + SHORT + 20, after = tree + HEIGHT + GAP;
    const slots = slotsOf(cache), columns = columnsOf(cache), left = this.settled(cache, before, SHORT);
    labels.write("title", 2, before - 9, `${model} before the step: length ${cache.before}`);
    labels.write("title", 2, tree - 9, cache.slot.length ? `${model} with the tree: ${cache.slot.length} slots written` : `${model}: ran nothing in this step`);
    const stale = Math.max(0, cache.before + cache.slot.length - cache.length);
    labels.write("title", 2, after - 9, `${model} after the update: ${keptWords(slots)}, ${stale} stale, length ${cache.length}`);

    this.picture.pen("slot.free").rect(left, before, Math.max(1, columns.count) * CELL - 5, SHORT);
    labels.write("fate", left + 6, before + SHORT / 2, "free", "muted");
    this.settled(cache, tree, HEIGHT);
    this.settled(cache, after, HEIGHT);
    this.written(model, cache, slots, columns, left, tree);
    slots.left.forEach((row, k) => {
      const x = left + k * CELL;
      const shown = row.good ? row.due : row.held, look = !row.good ? "wrong" : cache.state[Number(row.due)] === "m" ? "moved" : "kept";
      const node = shown === null ? null : cache.node[shown];
      this.cell(x, after, look, [`#${row.slot}`, shown === null ? "?" : cache.label[shown], placeOf(cache, row, node), verdictOf(cache, row)], { slot: [model, shown], node });
      const from = row.good && row.due !== null ? columns.at[row.due] : null;
      if (from !== null) this.picture.pen(look === "moved" ? "move" : "stay").fall(left + from * CELL + WIDTH / 2, tree + HEIGHT, x + WIDTH / 2, after);
    });
    this.remains(cache, left, after, stale);
    this.top = after + HEIGHT + 18;
  }

  /**
   * The strip with the tree.
   * @param {ModelName} model
   * @param {Cache} cache
   * @param {Slots} slots
   * @param {ReturnType<typeof columnsOf>} columns
   * @param {number} left
   * @param {number} y
   */
  written(model, cache, { due, misplaced, strays }, columns, left, y) {
    cache.slot.forEach((slot, i) => {
      const column = columns.at[i];
      if (column === null) return;
      const node = cache.node[i], place = misplaced.get(i), wrong = due.has(i) || place !== undefined || strays.has(i);
      const where = due.has(i) ? `p${cache.position[i]} not ${due.get(i)}` : `p${cache.position[i]}${node === null ? { c: " late", p: " pruned" }[cache.role[i]] : ` n${node}`}`;
      const fate = place !== undefined ? `due #${place}` : strays.has(i) ? "✕ stays" : cache.state[i] === "m" ? `→ #${cache.to[i]}` : FATES[cache.state[i]];
      const look = wrong ? "wrong" : { k: "kept", m: "moved", d: "dropped", l: "dropped" }[cache.state[i]] || "";
      this.cell(left + column * CELL, y, look, [`#${slot}`, cache.label[i], where, fate], { slot: [model, i], node });
    });
    for (const { column, count } of columns.gaps) {
      this.labels.write("fate", left + column * CELL, y + 24, `… ${count}`, "muted");
      this.labels.write("fate", left + column * CELL, y + 38, "dropped", "muted");
    }
  }

  /**
   * One slot with up to four lines of text.
   * @param {number} x
   * @param {number} y
   * @param {string} look
   * @param {(string | null)[]} lines
   * @param {Pick<Hit, "slot" | "node"> | null} hit
   * @param {{height?: number, odd?: boolean}} [more]
   */
  cell(x, y, look, lines, hit, { height = HEIGHT, odd = false } = {}) {
    const { picture, labels } = this, tint = look === "wrong" || odd ? "bad" : look === "dropped" || look === "stale" ? "muted" : "";
    picture.pen(`slot.${look}`).rect(x, y, WIDTH, height);
    if (look === "dropped") picture.pen("strike").to(x, y + height).to(x + WIDTH, y).lift();
    if (look === "stale") for (const part of [1, 2, 3]) picture.pen("hatch").to(x, y + (height * part) / 3).to(x + (WIDTH * part) / 3, y).lift();
    const [slot, text, where, fate] = lines;
    labels.write("number", x + 3, y + 8, String(slot), "muted");
    labels.write("token", x + 3, y + 20, String(text), tint);
    if (where) labels.write("number", x + 3, y + 32, where, look === "wrong" ? "bad" : "muted");
    if (fate) labels.write("fate", x + 3, y + 44, fate, tint);
    if (hit) this.hits.push({ left: x, top: y, right: x + WIDTH, bottom: y + height, ...hit });
    this.width = Math.max(this.width, x + CELL + 4);
  }

  /**
   * The slots from before the step; returns where they end.
   * @param {Cache} cache
   * @param {number} y
   * @param {number} height
   */
  settled(cache, y, height) {
    // On a narrow screen the slots of this step are what the room is for.
    const rows = rowsOf(cache.settled).slice(window.innerWidth < NARROW ? -1 : 0), rest = cache.before - rows.length, tall = height > SHORT;
    this.picture.pen("slot.before").rect(4, y, BLOCK - 9, height);
    this.labels.write("number", 7, y + 8, rest > 0 ? `#0 – #${rest - 1}` : "no slot", "muted");
    this.labels.write("fate", 7, y + 20, rest > 0 ? "settled" : "before", "muted");
    rows.forEach(({ text, step }, i) => {
      const short = text === null ? "?" : [...text].slice(0, 6).join("") + ([...text].length > 6 ? "…" : ""), wrong = step !== null;
      const lines = [`#${rest + i}`, short, tall ? (wrong ? "not due" : `p${rest + i}`) : null, tall ? (wrong ? `✕ step ${step + 1}` : "settled") : null];
      this.cell(BLOCK + i * CELL, y, "before", lines, null, { height, odd: wrong });
    });
    return BLOCK + rows.length * CELL;
  }

  /**
   * Slots beyond the length that still hold what the forward wrote.
   * @param {Cache} cache
   * @param {number} left
   * @param {number} y
   * @param {number} stale how many
   */
  remains(cache, left, y, stale) {
    const first = cache.length - cache.before, x = left + first * CELL;
    if (!stale) return;
    if (cache.slot.length > MANY) {
      this.picture.pen("slot.stale").rect(x, y, 3 * CELL, HEIGHT);
      this.labels.write("fate", x + 4, y + 20, `#${cache.length} – #${cache.before + cache.slot.length - 1}`, "muted");
      this.labels.write("fate", x + 4, y + 36, `${stale} stale slots`, "muted");
      this.width = Math.max(this.width, x + 3 * CELL + 8);
      return;
    }
    for (let i = first; i < cache.slot.length; i++)
      this.cell(left + i * CELL, y, "stale", [`#${cache.slot[i]}`, cache.label[i], cache.node[i] === null ? "" : `n${cache.node[i]}`, "stale"], null);
  }
}

/**
 * Column of every written slot; long runs of dropped slots of a large tree share one column.
 * @param {Cache} cache
 */
function columnsOf(cache) {
  /** @type {(number | null)[]} */
  const at = [];
  /** @type {{column: number, count: number}[]} */
  const gaps = [];
  let next = 0, run = 0;
  cache.slot.forEach((_, i) => {
    run = cache.state[i] === "d" ? run + 1 : 0;
    if (cache.slot.length > MANY && run > LONG_RUN) {
      at.push(null);
      if (run === LONG_RUN + 1) gaps.push({ column: next++, count: 1 });
      else gaps[gaps.length - 1].count++;
    } else at.push(next++);
  });
  return { at, gaps, count: next };
}

/** @param {Slots} slots */
function keptWords({ left, strays }) {
  const kept = left.filter((row) => row.held !== null).length, unknown = left.length - kept;
  return `${kept} kept${strays.size ? `, ${strays.size} of them not due there` : ""}${unknown ? `, ${unknown} left with what no slot of this step held` : ""}`;
}

/**
 * Position and node of what a slot that is left holds, or what it had to hold.
 * @param {Cache} cache
 * @param {LeftRow} row
 * @param {number | null} node
 */
function placeOf(cache, row, node) {
  if (row.good) return `p${cache.position[Number(row.due)]}${node === null ? "" : ` n${node}`}`;
  if (row.due === null) return "nothing due";
  return cache.node[row.due] === null ? "due: late" : `due: n${cache.node[row.due]}`;
}

/**
 * What a slot that is left says of itself.
 * @param {Cache} cache
 * @param {LeftRow} row
 */
function verdictOf(cache, { due, good, held }) {
  if (good) return cache.state[Number(due)] === "m" ? `← #${cache.slot[Number(due)]}` : "= kept";
  if (held === null) return "✕ unknown";
  return cache.node[held] === null ? `✕ has #${cache.slot[held]}` : `✕ has n${cache.node[held]}`;
}

/**
 * What is wrong in the caches of a step, or that nothing is.
 * @param {HTMLElement} box
 * @param {Frame} frame
 * @param {Tale} tale
 * @param {Act} act
 */
function tellFaults(box, frame, tale, act) {
  const faults = MODELS.flatMap((model) => frame.caches[model].faults.map((fault) => `${model}: ${fault}`));
  const mine = tale.found.some((one) => one.place === "faults" && one.kind !== "after");
  const begun = [...new Set(MODELS.map((model) => tale.before[`${model} cache`]).filter((step) => step !== undefined))];
  const back = begun.flatMap((step) => [" ", el("button", { type: "button", class: "sv-node", onclick: () => act.show(step) }, `step ${step + 1}`)]);
  box.className = faults.length ? (mine ? "sv-alarm" : "sv-alarm sv-after") : "sv-fine";
  const head = !mine ? "↳ This step's own update fits, but the cache is still what an earlier step left wrong:"
    : begun.length ? "✕ This step's caches are not what the verdict demands, and they were not before it:" : "✕ This step's caches are not what the verdict demands. It is the first such step.";
  const said = ["✓ Every kept slot has the fingerprint it had after the forward; positions and masks fit the tree."];
  for (const model of MODELS) {
    const { audit } = frame.caches[model];
    if (audit) said.push(` ${model} within ${digits(audit.worst, 2)} of a recompute.`);
  }
  if (begun.length) said.push(" An earlier step left these caches wrong:");
  box.replaceChildren(...(faults.length ? [el("b", {}, head), ...back, el("ul", {}, faults.map((fault) => el("li", {}, fault)))] : [...said, ...back]));
}
