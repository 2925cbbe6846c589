/* What was made of every node, as far as it is known: its rank, by which its card is drawn large or small. */

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { View } from "../core/state.js" */
/** @import { Shape } from "./layout.js" */

/**
 * root   the last token of the text
 * path   accepted by the verifier that is watched
 * tried  examined by it beside its path
 * other  examined by it elsewhere, or, where all paths are compared, accepted by another verifier
 * idle   not examined, as far as is known
 * @typedef {"root" | "path" | "tried" | "other" | "idle"} Rank
 */

/** @type {Set<number>} */
const NO_PATH = new Set();

/**
 * @param {Frame} frame
 * @param {View} view
 * @returns {Rank[]}
 */
export function ranksOf({ tree: { parent } }, { lens, shown, known, compare }) {
  const path = known.paths[lens] || NO_PATH, states = known.states[lens] || "";
  const others = Object.entries(known.paths).filter(([name]) => name !== lens && shown.has(name)).map(([, nodes]) => nodes);
  return parent.map((up, node) => {
    if (node === 0) return "root";
    if (path.has(node)) return "path";
    if ("rpa".includes(states[node] || "?")) return up === 0 || path.has(up) ? "tried" : "other";
    return compare && others.some((nodes) => nodes.has(node)) ? "other" : "idle";
  });
}

/**
 * The shape to lay out: what may be known of a frame, and what a reader wants to see of it.
 * @param {Frame} frame
 * @param {View} view
 * @returns {Shape}
 */
export function shapeOf(frame, view) {
  const { lens, shown, known, compare, open } = view, { parent, order } = frame.tree;
  const drawn = frame.verdicts.filter(({ verifier }) => known.bonus.has(verifier) && (verifier === lens || (compare && shown.has(verifier))));
  const ends = drawn.flatMap(({ verifier, bonus }) => (bonus ? [{ verifier, node: bonus.node }] : [])).sort((a, b) => Number(b.verifier === lens) - Number(a.verifier === lens));
  // Where the others ended stays in sight too, as a quiet mark on its card.
  const accepted = Object.entries(known.paths).filter(([name]) => shown.has(name)).flatMap(([, nodes]) => [...nodes]);
  return { parent, order, depth: frame.nodes.depth, rank: ranksOf(frame, view), open: new Set([...open, ...accepted]), ends };
}
