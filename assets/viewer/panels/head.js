/* The draft head of a step: its format, which of the target's layers it reads, what was set by hand, the rows of a block. */

import { rowsOf } from "../core/columns.js";
import { el, more, note, svg, token } from "../core/dom.js";
import { NOT_RECORDED } from "../core/recorded.js";
import { cells, table } from "../core/tables.js";
import { headName } from "../core/words.js";

/** @import { Cache, Frame, HeadInfo, ModelInfo, Run } from "../core/frame.d.ts" */

/** Layers up to which each has a mark, and up to which there is a line at all: a stranger's file may say any number. */
const MARKED = 160, DRAWN = 2000, WIDTH = 310, EDGE = 6, HEIGHT = 30, LINE = 10;

/**
 * The draft that a step ran on.
 * @param {Run} run
 * @param {Frame} frame
 * @returns {ModelInfo | null}
 */
export const draftOf = (run, frame) => frame.draftModel ?? run.models.draft;

/** @param {number} n @param {string} what */
const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

/**
 * A head in a few words.
 * @param {HeadInfo} head
 * @param {number | null} all tokens of the target's vocabulary
 */
export function saidOfHead({ format, kind, layers, depth, vocabulary }, all) {
  const how = kind === "step" ? "one forward a level" : `one forward at the root drafts ${depth === null ? "all levels" : count(depth, "level")}`;
  const own = layers ? `${count(layers, "layer")} of its own` : "no keys and values of its own";
  const most = vocabulary === null ? "can propose every token" : `can propose ${vocabulary.toLocaleString("en")}${all ? ` of ${all.toLocaleString("en")}` : ""} tokens`;
  return `${headName({ format })}: ${how}, ${own}, ${most}`;
}

/**
 * Which hidden states are read, in words: 0 are the embeddings, k the output of layer k.
 * @param {Pick<HeadInfo, "reads" | "before_norm">} head
 * @param {number | null} layers of the target
 */
export function saidOfReads({ reads, before_norm }, layers) {
  if (!reads.length) return "none of the target's hidden states";
  const listed = reads.map((read) => (read ? String(read) : "0 (embeddings)")).join(", "), of = layers ? ` of ${layers}` : "";
  const last = layers !== null && reads.includes(layers) ? `; ${layers} ${before_norm ? "before" : "after"} the final norm` : "";
  return `the target after layer${reads.length > 1 ? "s" : ""} ${listed}${of}${last}`;
}

/**
 * The target's layers as a line, those that are read marked.
 * @param {number[]} reads
 * @param {number} layers
 */
function layersPicture(reads, layers) {
  if (!layers || layers > DRAWN) return null;
  const at = (/** @type {number} */ layer) => EDGE + ((WIDTH - 2 * EDGE) * layer) / Math.max(1, layers);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "sv-layers", role: "img", "aria-label": `Layers 0 to ${layers} of the target; read: ${reads.join(", ")}` });
  picture.append(svg("path", { d: `M${EDGE} ${LINE}H${WIDTH - EDGE}`, class: "sv-layerline" }), ...Array.from({ length: layers > MARKED ? 0 : layers + 1 }, (_, layer) => svg("path", { d: `M${at(layer)} ${LINE - 3}v6`, class: "sv-layerline" })));
  let end = -Infinity;
  for (const read of reads.filter((one) => one <= layers).sort((a, b) => a - b)) {
    picture.append(svg("circle", { cx: at(read), cy: LINE, r: 4.5, class: "sv-layerread" }));
    // Numbers that would stand on each other are left to the words beside.
    if (at(read) - end < 18) continue;
    end = at(read);
    picture.append(svg("text", { x: at(read), y: HEIGHT - 3, "text-anchor": "middle" }, String(read)));
  }
  return picture;
}

/**
 * An option as it was run.
 * @param {HeadInfo} head
 * @param {string} name
 */
const optionOf = ({ options, reads }, name) => `${name} = ${name === "reads" ? reads.join(", ") : String(options[name])}`;

/**
 * What there is to say of the head in the panel of the step.
 * @param {Run} run
 * @param {Frame} frame
 * @returns {[string, any][]}
 */
export function headFacts(run, frame) {
  const draft = draftOf(run, frame), target = run.models.target, layers = target?.layers ?? null;
  if (!draft) return [];
  const { head } = draft;
  if (!head) return draft.reads.length ? [["Draft reads", [saidOfReads({ reads: draft.reads, before_norm: false }, null), layers === null ? null : layersPicture(draft.reads, layers)]]] : [];
  const names = Object.keys(head.options), rows = head.kind === "block" ? blockRows(head, frame) : null;
  return [
    ["Draft head", saidOfHead(head, target?.vocabulary ?? null)],
    ["It reads", [saidOfReads(head, layers), layers === null ? null : layersPicture(head.reads, layers)]],
    ["By hand", head.by_hand.length ? head.by_hand.map((name) => optionOf(head, name)).join("; ") : "nothing: all of it as its files say"],
    ...(names.length ? [/** @type {[string, any]} */ (["Run with", more(count(names.length, "option"), () => el("ul", { class: "sv-lacks" }, names.map((name) => el("li", {}, el("code", {}, optionOf(head, name))))))])] : []),
    ...(rows ? [/** @type {[string, any]} */ (["Block", blockSaid(rows)])] : []),
  ];
}

/**
 * @typedef {object} BlockRow
 * @property {number | null} slot
 * @property {number | null} position
 * @property {string} text of its token, which for a masked place is a stand-in
 * @property {boolean} masked
 * @property {number | null} level that it drafts; 0 for none, null where not recorded
 */

/**
 * The rows of the forward that drafted a block, as its cache has them.
 * @param {HeadInfo} head
 * @param {Frame} frame
 * @returns {BlockRow[]}
 */
export function blockRows(head, frame) {
  const cache = frame.caches.draft, { depth, options } = head;
  if (!cache) return [];
  const places = [...cache.role].flatMap((role, i) => (role === "m" || cache.node[i] === 0 ? [i] : []));
  // Where the root's own row is not used, each masked place drafts the token at its place.
  const anchor = options.sample_from_anchor ?? (head.format === "dflash" ? null : true);
  const level = (/** @type {number} */ row) => anchor === null ? null : anchor ? row + 1 : row;
  return places.map((i, row) => ({ slot: cache.slot[i], position: cache.position[i], text: cache.text[i], masked: cache.role[i] === "m", level: level(row) }))
    .map((row) => (row.level !== null && depth !== null && row.level > depth ? { ...row, level: 0 } : row));
}

/** @param {BlockRow[]} rows */
function blockSaid(rows) {
  if (!rows.length) return "one forward, of which no slots were written";
  const known = rows.flatMap(({ position }) => (position === null ? [] : [position])), masked = rows.filter((row) => row.masked).length;
  const where = known.length ? `positions ${known.reduce((a, b) => Math.min(a, b))} to ${known.reduce((a, b) => Math.max(a, b))}` : `positions ${NOT_RECORDED}`;
  return [`${count(rows.length, "row")} in one forward, ${masked} of them masked, ${where}`, more("Rows of the block", () => blockTable(rows))];
}

/** @param {BlockRow[]} rows */
const blockTable = (rows) => [
  note("A node of the tree at some depth has the row of that depth, whatever stands above it."),
  table("Rows of the block", ["Row", "Position", "Slot", "Token", "Drafts"], rows.map(({ slot, position, text, masked, level }, i) => el("tr", {}, cells([
    String(i + 1), position === null ? null : String(position), slot === null ? null : String(slot), masked ? ["masked, ", token(text)] : token(text),
    level === null ? NOT_RECORDED : level ? `level ${level}` : "nothing",
  ]))))];

/**
 * What stands beside the token in each written slot of a head's cache, in words; null for what is no head's.
 * @param {Cache} cache
 * @returns {string[] | null}
 */
export function statesSaid(cache) {
  if (!cache.states) return null;
  const { of, at, text } = cache.states;
  return rowsOf({ of, at, text }).map(({ of: whose, at: where, text: what }) => {
    if (whose === "m") return "no state: a place of the block";
    if (whose === "t") return what === null ? "the target's state" : `the target's state at “${what}”`;
    return where === null ? "the head's own state" : `the head's own state at ${where ? `node ${where}` : "the root"}`;
  });
}
