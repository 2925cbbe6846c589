/* The attention mask that was passed against the one ancestry demands, and positions against length + depth.
 *
 * Rows are written slots, columns what they may look at.
 */

import { el, nodeButton, note, token } from "../core/dom.js";
import { Labels } from "../core/labels.js";
import { Picture } from "../core/paint.js";
import { CALLS, NOT_RECORDED, unrecorded } from "../core/recorded.js";
import { MODELS } from "../core/state.js";
import { cells, table } from "../core/tables.js";
import { chosenRows, maskedOf, maskRows, positionOf } from "./mask_rows.js";

/** @import { Cache, Frame } from "../core/frame.d.ts" */
/** @import { Act, Hit, ModelName, State, View } from "../core/state.js" */
/** @import { MaskRow, MaskedCache } from "./mask_rows.js" */
/** @import { MaskParts } from "../parts.js" */

/** @typedef {{row: number, column: number | null}} Found a cell: -1 is the column of the settled slots, null none */

const PARTS = ["grid", "rule", "cell.seen", "cell.unknown", "cell.leak", "cell.missing"];
const READABLE = 9, WRONG_SIGNS = { leak: "+", missing: "−", unknown: "?" };
const sizeOf = (/** @type {number} */ count) => (count <= 40 ? 15 : count <= 70 ? 10 : count <= 130 ? 6 : count <= 200 ? 4.4 : 3.4);

/**
 * Draw one model's mask; says what is where in it.
 * @param {HTMLElement} place
 * @param {Frame} frame
 * @param {MaskedCache} cache
 * @param {MaskRow[]} rows
 * @param {number[]} chosen rows that are drawn
 * @param {number} zoom
 */
function drawMask(place, frame, cache, rows, chosen, zoom) {
  const picture = new Picture(PARTS), labels = new Labels();
  /** @type {Hit[]} */
  const hits = [];
  const size = sizeOf(chosen.length) * zoom, readable = size >= READABLE, inset = size >= 6 ? 1.2 : 0.3;
  const label = readable ? 92 : 40, early = readable ? 44 : 14, left = label + early + 4, top = 18, count = chosen.length;
  const at = new Map(chosen.map((row, k) => [row, k])), every = Math.ceil(24 / size), spread = Math.ceil((readable ? 24 : 34) / size);
  /** @type {number[]} */
  const same = [];

  picture.pen("grid").rect(left, top, count * size, count * size);
  picture.pen("grid").rect(label, top, early, count * size);
  if (readable)
    for (let k = 1; k < count; k++) {
      picture.pen("rule").line(left, top + k * size, left + count * size, top + k * size);
      picture.pen("rule").line(left + k * size, top, left + k * size, top + count * size);
    }
  labels.write("column", label + early / 2, 8, readable ? (cache.before ? `#0–${cache.before - 1}` : "none") : "old", "muted");

  /**
   * Neighbouring cells of one kind are one rectangle: a mask that leaks everywhere stays cheap to draw.
   * @param {"seen" | "leak" | "missing" | "unknown"} kind
   * @param {number} y
   * @param {Iterable<number>} columns
   */
  const lay = (kind, y, columns) => {
    const places = [...columns].map((c) => at.get(c)).filter((k) => k !== undefined).sort((a, b) => a - b);
    for (let i = 0, first = 0; i < places.length; i++) {
      if (!readable && i + 1 < places.length && places[i + 1] === places[i] + 1) continue;
      picture.pen(`cell.${kind}`).rect(left + places[first] * size + inset, y + inset, (places[i] - places[first] + 1) * size - 2 * inset, size - 2 * inset);
      first = i + 1;
    }
    if (readable && kind !== "seen")
      for (const k of places) labels.write("glyph", left + (k + 0.5) * size, y + size / 2, WRONG_SIGNS[kind], kind === "leak" ? "panel" : kind === "missing" ? "bad" : "muted");
  };

  chosen.forEach((index, k) => {
    const row = rows[index], y = top + k * size, node = cache.node[index];
    if (node !== null) hits.push({ left: 3, top: y + 3, right: left + count * size - 3, bottom: y + size - 3, node });
    if (row.must && !row.cut && !row.silent) lay("seen", y, [...row.must].filter((c) => !row.missing.has(c)));
    lay("leak", y, row.leaks);
    lay("missing", y, row.missing);
    lay("unknown", y, row.unknown);
    const tooMany = row.earlier !== null && row.earlier > cache.before;
    if (row.earlier !== null) picture.pen(tooMany ? "cell.leak" : "cell.missing").rect(label + inset, y + inset, early - 2 * inset, size - 2 * inset);
    else if (row.silent) labels.write("glyph", label + early / 2, y + size / 2, readable ? "?" : "", "muted");
    else if (cache.before && readable) picture.pen("cell.seen").rect(label + inset, y + inset, early - 2 * inset, size - 2 * inset);
    else if (cache.before) same.push(k);
    if (readable) {
      const masked = cache.role[index] === "m", who = node !== null ? `n${node} ` : masked ? "masked" : cache.role[index] === "p" ? "pruned " : cache.kind === "states" ? "state " : "late ";
      labels.write("label", 1, y + size / 2, masked ? who : who + cache.label[index], row.wrong ? "bad" : "");
      if (!row.silent) labels.write("glyph", label + early / 2, y + size / 2, row.earlier === null ? `${cache.before}` : `${row.earlier}/${cache.before}`, row.earlier === null || tooMany ? "panel" : "bad");
      labels.write("number", left + count * size + 4, y + size / 2, positionOf(frame, cache, row, index), row.due === null ? "muted" : "bad");
    } else if (k % every === 0) labels.write("number", 1, y + size / 2, node === null ? "late" : `n${node}`, "muted");
    if (!readable && row.wrong) picture.pen("cell.leak").rect(left + count * size + 4, y, 10, Math.max(1.5, size - 1));
    if (k % spread === 0 && (readable || k)) labels.write("column", left + (k + 0.5) * size, 8, readable ? cache.slot[index] ?? "?" : node === null ? "" : `n${node}`, "muted");
  });
  for (let i = 0, first = 0; i < same.length; i++) {
    if (same[i + 1] === same[i] + 1) continue;
    picture.pen("cell.seen").rect(label + inset, top + same[first] * size, early - 2 * inset, (same[i] - same[first] + 1) * size);
    first = i + 1;
  }
  picture.paint(place, left + count * size + (readable ? 96 : 20), top + count * size + 4);
  labels.lay(place);
  /**
   * @param {number} x
   * @param {number} y
   * @returns {Found | null}
   */
  const find = (x, y) => {
    const k = Math.floor((y - top) / size), c = Math.floor((x - left) / size);
    if (k < 0 || k >= count) return null;
    return { row: chosen[k], column: c >= 0 && c < count ? chosen[c] : x >= label && x < label + early ? -1 : null };
  };
  return { find, hits };
}

/**
 * @param {Cache} cache
 * @param {number} index
 */
const nameOf = (cache, index) => [cache.node[index] === null ? `slot ${cache.slot[index]} ` : `node ${cache.node[index]} `, token(cache.text[index])];

/**
 * One cell in words.
 * @param {Frame} frame
 * @param {Cache} cache
 * @param {MaskRow[]} rows
 * @param {Found} found
 */
function readCell(frame, cache, rows, { row: index, column }) {
  const row = rows[index];
  if (column === null) return [...nameOf(cache, index), ` · ${positionOf(frame, cache, row, index)}`];
  if (row.silent) return [...nameOf(cache, index), `: what it sees was ${NOT_RECORDED}`];
  if (column === -1) return [...nameOf(cache, index), ` sees ${row.earlier ?? cache.before} of ${cache.before} settled slots`, row.earlier === null ? " ✓" : " ✕"];
  const said = row.cut ? [" and ", ": not carried"] : row.must === null ? [row.unknown.has(column) ? " sees " : " does not see ", "; pruned: what it must see is not recorded"]
    : row.leaks.has(column) ? [" sees ", ", which is no ancestor: a leak ✕"]
      : row.missing.has(column) ? [" does not see ", ", its ancestor ✕"]
        : row.must.has(column) ? [" sees ", column === index ? ", itself ✓" : ", its ancestor ✓"] : [" does not see ", ", no ancestor ✓"];
  return [...nameOf(cache, index), said[0], ...nameOf(cache, column), said[1]];
}

/**
 * @param {Frame} frame
 * @param {ModelName} model
 * @param {Act} act
 */
export function maskTable(frame, model, act) {
  const cache = maskedOf(frame.caches[model]);
  if (!cache) return [el("h4", {}, model), el("p", { class: "sv-note" }, unrecorded(CALLS.mask))];
  const rows = maskRows(cache);
  const names = (/** @type {Iterable<number>} */ set) => [...set].sort((a, b) => a - b).map((i) => (cache.node[i] === null ? `#${cache.slot[i]}` : String(cache.node[i]))).join(", ") || "–";
  const lines = rows.map((row, i) => {
    const node = cache.node[i];
    return el("tr", { class: row.wrong ? "sv-bad" : null }, cells([
      node === null ? `#${cache.slot[i]}` : nodeButton(node, String(node), act), token(cache.text[i]),
      row.silent ? null : row.earlier === null ? `all ${cache.before}` : `${row.earlier} of ${cache.before} ✕`,
      row.silent ? null : row.cut ? "not carried" : row.must ? names([...[...row.must].filter((c) => !row.missing.has(c)), ...row.leaks]) : names(row.unknown), row.must ? names(row.must) : NOT_RECORDED,
      row.leaks.size ? `${names(row.leaks)} ✕` : "–", row.missing.size ? `${names(row.missing)} ✕` : "–",
      cache.position[i] === null ? null : positionOf(frame, cache, row, i),
    ]));
  });
  return [el("h4", {}, model), table(`Mask and positions of the ${model}`, ["Row (node)", "Token", "Settled slots seen", "Sees nodes", "Must see", "Leaks", "Missing", "Position = length + depth"], lines)];
}

/**
 * @typedef {object} Pointed what a picture does when it is pointed at
 * @property {number} zoom
 * @property {(x: number, y: number) => Found | null} find
 * @property {(found: Found) => void} read
 * @property {(found: Found) => void} choose
 * @property {() => void} leave
 * @property {() => void} again
 */

/** @type {WeakMap<HTMLElement, Pointed>} */
const bound = new WeakMap();

/**
 * What goes with one model's picture, bound to it once.
 * @param {MaskParts} parts
 * @returns {Pointed}
 */
function pointedOf({ picture, zoomers }) {
  const known = bound.get(picture);
  if (known) return known;
  const nothing = () => {};
  /** @type {Pointed} */
  const pointed = { zoom: 1, find: () => null, read: nothing, choose: nothing, leave: nothing, again: nothing };
  bound.set(picture, pointed);
  for (const button of zoomers)
    button.onclick = () => {
      pointed.zoom = Math.max(1, Math.min(5, pointed.zoom * Number(button.value)));
      pointed.again();
    };
  const spot = (/** @type {MouseEvent} */ event) => {
    const box = picture.getBoundingClientRect();
    return pointed.find(event.clientX - box.left, event.clientY - box.top);
  };
  picture.addEventListener("pointermove", (event) => {
    const found = spot(event);
    picture.style.cursor = found ? "pointer" : "";
    if (found) pointed.read(found);
  });
  picture.addEventListener("pointerleave", () => pointed.leave());
  picture.addEventListener("click", (event) => {
    const found = spot(event);
    if (found) pointed.choose(found);
  });
  return pointed;
}

/**
 * @param {MaskParts} parts
 * @param {ModelName} model of which neither a mask nor positions were recorded
 */
function nothing(parts, model) {
  parts.head.replaceChildren(`${model}: `, unrecorded(CALLS.mask));
  parts.notes.replaceChildren();
  parts.said.replaceChildren();
  parts.picture.replaceChildren();
  /** @type {HTMLElement} */ (parts.picture.parentElement).hidden = true;
}

/**
 * @param {{masks: Record<ModelName, MaskParts>}} ui
 * @param {State} state
 * @param {Frame} frame
 * @param {View} view
 * @param {Act} act
 */
export function drawMasks(ui, state, frame, view, act) {
  state.maskHits = {};
  for (const model of MODELS) {
    const cache = maskedOf(frame.caches[model]);
    for (const button of ui.masks[model].zoomers) button.hidden = !cache;
    if (!cache) {
      nothing(ui.masks[model], model);
      continue;
    }
    const rows = maskRows(cache), chosen = chosenRows(cache, rows, (node) => state.spot?.y[node] !== null, state.selected);
    const parts = ui.masks[model], pointed = pointedOf(parts);
    const { wrong, cut, silent } = cache.mask, unplaced = cache.position.filter((position) => position === null).length;
    const fits = wrong ? el("span", { class: "sv-bad" }, `✕ ${wrong} wrong`) : silent.length === rows.length && unplaced < rows.length ? ["positions fit; mask ", unrecorded(CALLS.mask)]
      : unplaced ? ["mask fits; positions ", unrecorded(CALLS.mask)] : el("span", { class: "sv-good" }, "✓ mask and positions fit");
    parts.head.replaceChildren(`${model}: ${rows.length} rows `, ...[fits].flat());
    const notes = [
      rows.length ? "" : "This model wrote no slot in this step.",
      chosen.length < rows.length ? `${chosen.length} of ${rows.length} rows and columns are drawn: wrong ones and those in sight in the tree. The table has all.` : "",
      silent.length && silent.length < rows.length ? `What ${silent.length} of these rows see was ${NOT_RECORDED}.` : "",
      cut !== null ? `So many cells are wrong that rows after ${cut} are not carried; they are left empty.` : "",
    ];
    parts.notes.replaceChildren(...notes.filter(Boolean).map(note));
    /** @type {HTMLElement} */ (parts.picture.parentElement).hidden = !rows.length;
    parts.picture.setAttribute("aria-label", `Mask of the ${model}: ${wrong} of ${rows.length} rows are wrong; the table below has every row.`);
    parts.said.replaceChildren(rows.length ? "Point at a cell to read it; click to select the row's node." : "");
    if (!rows.length) continue;
    const { find, hits } = drawMask(parts.picture, frame, cache, rows, chosen, pointed.zoom);
    pointed.find = find;
    state.maskHits[model] = hits;
    const nodeOf = (/** @type {Found} */ found) => cache.node[found.row];
    pointed.read = (found) => {
      const node = nodeOf(found);
      parts.said.replaceChildren(...readCell(frame, cache, rows, found));
      act.light(node === null ? null : { node });
    };
    pointed.leave = () => act.light(null);
    pointed.choose = (found) => nodeOf(found) !== null && act.select(nodeOf(found));
    pointed.again = () => drawMasks(ui, state, frame, view, act);
  }
}
