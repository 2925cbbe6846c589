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

/**
 * @param {Shape} shape
 * @returns {(fold: number) => Folded} 0 folds nothing, 4 leaves the accepted paths and what a reader opened
 */
export function foldingOf({ parent, order, rank, open }) {
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

  return (fold) => {
    /** @type {Folded["stubs"]} */
    const stubs = new Map();
    if (!fold) return { children: all, stubs };
    const keep = kept(fold), children = all.map((own) => own);
    for (let node = 0; node < parent.length; node++) {
      if (node && !keep[node]) continue; // what is below it is hidden by the card that stays
      const own = all[node], quiet = own.filter((child) => !keep[child]);
      if (!quiet.length) continue;
      const onPath = rank[node] === "path" || rank[node] === "root";
      if (quiet.length === own.length && !onPath) {
        children[node] = [];
        stubs.set(node, { hidden: own, count: size[node] });
      } else if (fold >= SIBLINGS && quiet.length > 1) {
        const [first, ...rest] = quiet, below = all[first];
        children[node] = own.filter((child) => keep[child] || child === first);
        children[first] = [];
        stubs.set(first, { hidden: [...below, ...rest], count: size[first] + rest.reduce((sum, one) => sum + 1 + size[one], 0) });
      } else
        for (const child of quiet) {
          if (!all[child].length) continue;
          children[child] = [];
          stubs.set(child, { hidden: all[child], count: size[child] });
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
