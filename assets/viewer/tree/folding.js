/* Which parts of a tree are folded, by how little room there is. A pure function; layout.js asks it. */

/** @import { Shape } from "./layout.js" */

/**
 * @typedef {object} Folded
 * @property {number[][]} children those that are shown, of every node
 * @property {Map<number, {hidden: number[], count: number}>} stubs by the card that says "+ count more": the uppermost nodes it hides
 */

/** Ranks that stay, by how much is folded: first what nobody examined goes, then what was examined, then what was refused. */
const STAY = [[], ["path", "tried", "other"], ["path", "tried", "other"], ["path", "tried"], ["path"]];
/** From this one on siblings of which nothing stays are folded into the first of them. */
const SIBLINGS = 2;
/** In larger trees everything that nobody examined is folded at once. */
const LARGE = 200;

/**
 * How much can be folded, step by step: what nobody examined from the deepest level on; then its siblings; then the rest.
 * @param {Shape} shape
 * @returns {{fold: number, from: number}[]} the first folds nothing, the last leaves the accepted paths and what a reader opened
 */
export function foldsOf({ parent, depth }) {
  const levels = parent.length > LARGE ? 1 : Math.max(1, Math.max(...depth) - 1);
  return [{ fold: 0, from: 0 }, ...Array.from({ length: levels }, (_, i) => ({ fold: 1, from: levels - i })), ...[2, 3, 4].map((fold) => ({ fold, from: 0 }))];
}

/**
 * @param {Shape} shape
 * @returns {(how: {fold: number, from: number}) => Folded}
 */
export function foldingOf({ parent, order, depth, rank, open }) {
  /** @type {number[][]} */
  const all = parent.map(() => []), size = new Array(parent.length).fill(0);
  for (const node of order) {
    if (node > 0) all[parent[node]].push(node);
    for (const child of all[node]) size[node] += 1 + size[child];
  }

  /** @param {number} fold */
  function kept(fold) {
    const stay = STAY[fold], keep = new Array(parent.length).fill(false);
    for (let node = parent.length - 1; node >= 0; node--) {
      if (node === 0 || open.has(node) || stay.includes(rank[node])) keep[node] = true;
      if (keep[node] && node) keep[parent[node]] = true;
    }
    return keep;
  }

  return ({ fold, from }) => {
    /** @type {Folded["stubs"]} */
    const stubs = new Map();
    if (!fold) return { children: all, stubs };
    const keep = kept(fold), children = all.map((own) => own), gone = new Array(parent.length).fill(false);
    for (let node = 0; node < parent.length; node++) {
      if (node && (gone[parent[node]] || (stubs.has(parent[node]) && !children[parent[node]].length))) gone[node] = true;
      if (gone[node] || stubs.has(node)) continue;
      const own = all[node], quiet = own.filter((child) => !keep[child]), isPath = rank[node] === "path" || rank[node] === "root";
      if (quiet.length && quiet.length === own.length && !isPath) {
        if (depth[node] < from) continue;
        children[node] = [];
        stubs.set(node, { hidden: own, count: size[node] });
      } else if (fold >= SIBLINGS && quiet.length > 1) {
        const [first, ...rest] = quiet;
        children[node] = own.filter((child) => keep[child] || child === first);
        children[first] = [];
        stubs.set(first, { hidden: [...all[first], ...rest], count: size[first] + rest.reduce((sum, one) => sum + 1 + size[one], 0) });
        for (const one of rest) gone[one] = true;
      }
    }
    return { children, stubs };
  };
}

/**
 * These nodes and all below them.
 * @param {number[]} parent
 * @param {number[]} tops
 * @returns {Set<number>}
 */
export function allBelow(parent, tops) {
  const found = new Set(tops);
  for (let node = 1; node < parent.length; node++) if (found.has(parent[node])) found.add(node);
  return found;
}
