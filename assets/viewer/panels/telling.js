/* The node whose decision tells most of a step: it is selected as long as nobody chose one. */

import { decisionsOf } from "../core/columns.js";
import { verdictBy } from "../core/words.js";

/** @import { Frame } from "../core/frame.d.ts" */

/**
 * The first node beside a verifier's path that it rejected, else the last one that it accepted, else the first one that it
 * examined; null where it examined none.
 * @param {Frame} frame
 * @param {string} verifier
 * @returns {number | null}
 */
export function tellingNode(frame, verifier) {
  const verdict = verdictBy(frame, verifier);
  if (!verdict) return null;
  const { parent } = frame.tree, all = decisionsOf(verdict), path = new Set([0, ...verdict.path]);
  const rejected = all.find(({ node, outcome }) => outcome === "r" && path.has(parent[node]));
  return (rejected ?? all.findLast(({ node }) => path.has(node)) ?? all[0])?.node ?? null;
}
