/* The audit as a heat map: what the cache holds against a fresh recompute, layers downwards, slots to the right.
 *
 * Shades are whole powers of ten (specviz/figures/audit.py); what lies beyond the tolerance has a red frame and a mark.
 */

import { DECADES, INFINITE_DIFFERENCE } from "../core/constants.js";
import { digits } from "../core/digits.js";
import { el, note } from "../core/dom.js";
import { Labels } from "../core/labels.js";
import { Picture } from "../core/paint.js";
import { MODELS } from "../core/state.js";
import { cells, table } from "../core/tables.js";

/** @import { Audit, Frame } from "../core/frame.d.ts" */
/** @import { ModelName } from "../core/state.js" */
/** @import { Tale } from "./findings.js" */

const WIDTH = 44, HEIGHT = 12, SCALE = 34;
const PARTS = /** @type {const} */ (["keys", "values"]);
const SHAPES = [...Array.from({ length: DECADES.length + 1 }, (_, i) => `heat.${i}`), "beyond", "tolerance"];

const isFinite = (/** @type {number} */ value) => value < INFINITE_DIFFERENCE;
const short = (/** @type {number} */ value) => (!isFinite(value) ? "∞" : value === 0 ? "0" : value >= 0.095 ? value.toFixed(1) : value.toExponential(0).replace("e-", "e−"));
const said = (/** @type {number} */ value) => (isFinite(value) ? digits(value, 2) : "no finite number");

/**
 * @param {{audit: HTMLElement, auditBox: HTMLElement, auditEmpty: HTMLElement, auditForeign: HTMLElement, auditSaid: HTMLElement}} ui
 * @param {Frame} frame
 * @param {Tale} tale
 * @param {boolean} foreign whether another engine ran it
 */
export function drawAudits(ui, frame, tale, foreign) {
  const audits = MODELS.flatMap((model) => {
    const audit = frame.caches[model]?.audit;
    return audit ? [{ model, audit, tolerance: frame.tolerance[model] }] : [];
  });
  ui.auditBox.hidden = !audits.length;
  ui.auditEmpty.hidden = audits.length > 0 || foreign;
  ui.auditForeign.hidden = audits.length > 0 || !foreign;
  ui.auditSaid.replaceChildren();
  if (!audits.length) return;
  const labels = new Labels(), picture = new Picture(SHAPES), dark = DECADES.length / 2;
  let x = 0, height = 0, width = 0;

  for (const { model, audit, tolerance } of audits) {
    if (!audit.keys.length) continue; // a head without keys and values: only its logits were compared
    const layers = audit.keys.length, columns = audit.keys[0] ? audit.keys[0].length : 0;
    labels.write("title", x + 2, 8, `${model} · tolerance ${digits(tolerance, 1)}`);
    PARTS.forEach((part, p) => {
      const left = x + 28 + p * (columns * WIDTH + 12), shades = audit.shades[p].split("/");
      labels.write("title", left, 24, part, "muted");
      for (let column = 0; column < columns; column++)
        labels.write("number", left + column * WIDTH, 38, column ? `#${audit.first + column - 1}` : "earlier", "muted");
      for (let layer = 0; layer < layers; layer++) {
        const y = 46 + layer * HEIGHT;
        if (!p) labels.write("layer", x + 24, y + HEIGHT / 2, layer, "muted");
        for (let column = 0; column < columns; column++) {
          const value = audit[part][layer][column], shade = Number(shades[layer][column]), at = left + column * WIDTH;
          picture.pen(`heat.${shade}`).rect(at, y, WIDTH - 1, HEIGHT - 1);
          if (value > tolerance) picture.pen("beyond").rect(at + 1, y + 1, WIDTH - 3, HEIGHT - 3);
          labels.write("glyph", at + WIDTH / 2, y + HEIGHT / 2, `${value > tolerance ? "! " : ""}${short(value)}`, shade > dark ? "panel" : "");
        }
      }
    });
    height = Math.max(height, 46 + layers * HEIGHT);
    x += 28 + 2 * (columns * WIDTH + 12) + 16;
    width = Math.max(width, x);
  }
  width = Math.max(width, 400, drawScale(picture, labels, height + 8, Math.min(...audits.map(({ tolerance }) => tolerance))));
  picture.paint(ui.audit, width, height + 40);
  labels.lay(ui.audit);
  ui.audit.setAttribute("aria-label", audits.map(({ model, audit }) => `${model}: worst relative difference ${said(audit.worst)}`).join("; "));
  ui.auditSaid.replaceChildren(...audits.map(({ model, audit, tolerance }) => sentence(model, audit, tolerance, tale.before[`${model} cache`])));
}

/**
 * The colour scale, one box a power of ten, with the tolerance as a red line; returns where it ends.
 * @param {Picture} picture
 * @param {Labels} labels
 * @param {number} y
 * @param {number} tolerance
 */
function drawScale(picture, labels, y, tolerance) {
  const boxes = DECADES.length + 1;
  labels.write("number", 2, y + 8, "scale", "muted");
  for (let i = 0; i < boxes; i++) {
    picture.pen(`heat.${i}`).rect(44 + i * SCALE, y + 2, SCALE, 12);
    if (i) labels.write("number", 44 + i * SCALE - 12, y + 24, `1e−${-DECADES[i - 1]}`, "muted");
  }
  const at = 44 + SCALE * Math.max(0, Math.min(boxes, Math.log10(tolerance) - DECADES[0] + 1));
  picture.pen("tolerance").line(at, y - 2, at, y + 18);
  labels.write("number", 44 + boxes * SCALE + 6, y + 8, "red line: tolerance", "bad");
  return 44 + boxes * SCALE + 120;
}

/**
 * @param {ModelName} model
 * @param {Audit} audit
 * @param {number} tolerance
 * @param {number | undefined} before the step in which something in this cache did not fit first, if that was an earlier one
 */
function sentence(model, audit, tolerance, before) {
  const off = audit.worst > tolerance;
  const logits = audit.logits === null ? "the context is full: no next-token logits" : `next-token logits ${said(audit.logits)}`;
  return el("p", { class: off ? "sv-bad" : "sv-good" },
    `${off ? "✕" : "✓"} ${model}: worst ${said(audit.worst)} where ${digits(tolerance, 1)} is allowed; ${audit.keys.length ? `${audit.wrong} cells beyond it` : "it has no keys and values"}; ${logits}.${off && before !== undefined ? ` This cache was wrong before: step ${before + 1} is where it began.` : ""}`);
}

/**
 * @param {Frame} frame
 * @param {ModelName} model
 */
export function auditTable(frame, model) {
  const audit = frame.caches[model]?.audit;
  if (!audit) return [note(`The ${model} was not audited.`)];
  const columns = audit.keys[0] ? audit.keys[0].map((_, c) => (c ? `slot ${audit.first + c - 1}` : "earlier slots")) : [];
  const cell = (/** @type {number} */ value) => (value > frame.tolerance[model] ? el("data", { class: "sv-bad", value }, `${isFinite(value) ? value : said(value)} ✕`) : String(value));
  const lines = PARTS.flatMap((part) => audit[part].map((row, layer) => el("tr", {}, cells([part, String(layer), ...row.map(cell)]))));
  return [el("h4", {}, model), table(`Audit of the ${model}, relative differences`, ["Part", "Layer", ...columns], lines)];
}
