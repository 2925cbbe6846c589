/* The same tree in a place as narrow as a telephone: depth goes downwards and order to the right, so that the path that is
 * watched is a ladder at the left edge, with the siblings of every rung beside it in their order, and their children below.
 *
 * Every depth is a row that is filled from the left: a node stands no further left than its parent, and the children of one
 * parent before those of the next, so edges do not cross. What is wider than its place is moved.
 */

import { foldingOf, foldsOf } from "./folding.js";

/** @import { Box, Layout, Shape } from "./layout.js" */

/** So far from the left edge of a card lines leave it and reach the next one. */
export const INSET = 24;
/** Heights of a row with cards of the path and of any other, and the room between rows: airy, and dense where it does not fit. */
const DENSITIES = [{ path: 64, idle: 48, apart: 12 }, { path: 54, idle: 48, apart: 10 }];
const ROOT = { wide: 92, high: 32 }, BONUS = 44, OTHER_BONUS = 116, WIDE = { tried: 132, other: 124, idle: 100 }, PATH_SHARE = 0.47, WIDEST_PATH = 200;
const SIDE = 16, TOP = 8, GAP = 8, STUB = 64;
/** A finger still meets a card of a tree that is made so much smaller; beyond it the tree is moved up and down. */
const SMALLEST = 0.92;
/** Nobody looks for a sibling further away than this: more is folded. */
const WIDEST = 2400;

/**
 * @param {Shape} shape
 * @param {Box} box
 * @returns {Layout}
 */
export function ladder(shape, box) {
  const folding = foldingOf(shape), path = Math.min(WIDEST_PATH, Math.round(box.width * PATH_SHARE));
  /** @type {Columns | null} */
  let found = null;
  for (const how of foldsOf(shape)) {
    found = placeColumns(shape, folding(how), path);
    if (found.width <= WIDEST) break;
  }
  const columns = /** @type {Columns} */ (found), [airy, dense] = DENSITIES.map((density) => placeRows(shape, columns, density));
  const { top, high, bottom } = airy.bottom <= box.height ? airy : dense;
  const scale = Math.min(1, Math.max(SMALLEST, box.height / bottom)), middle = (/** @type {number} */ row) => top[row] + high[row] / 2;
  const { left, wide, bonus, stubs } = columns, { depth } = shape;
  return {
    down: true, left: left.map((at) => at ?? 0), wide, high: depth.map((row) => high[row]), y: left.map((at, node) => (at === null ? null : middle(depth[node]))),
    bonus: bonus.map(({ row, ...card }) => ({ ...card, y: middle(row), lane: middle(row), high: Math.min(BONUS, high[row]) })),
    stubs: [...stubs].map(([node, stub]) => ({ node, ...stub })), heads: [{ left: SIDE + ROOT.wide + 10, y: middle(0) + 4, text: "last token" }],
    end: columns.width, width: columns.width + SIDE, height: bottom, scale, folded: left.filter((at) => at === null).length,
  };
}

/**
 * @typedef {object} Columns
 * @property {(number | null)[]} left null for a folded node
 * @property {number[]} wide
 * @property {{verifier: string, node: number, row: number, left: number, wide: number}[]} bonus
 * @property {import("./folding.js").Folded["stubs"]} stubs
 * @property {number} width
 */

/**
 * @param {Shape} shape
 * @param {import("./folding.js").Folded} folded
 * @param {number} path width of its cards
 * @returns {Columns}
 */
function placeColumns({ parent, depth, rank, ends }, { children, stubs }, path) {
  /** @type {(number | null)[]} */
  const left = new Array(parent.length).fill(null);
  const wide = rank.map((one, node) => (one === "root" ? ROOT.wide : one === "path" ? path : WIDE[one] + (stubs.has(node) && one !== "tried" ? STUB : 0)));
  /** @type {Columns["bonus"]} */
  const bonus = [];
  /** @type {number[]} where a row goes on */
  const free = [];
  const [driver] = ends;

  /**
   * @param {number} row
   * @param {number} least
   * @param {number} room
   */
  function take(row, least, room) {
    const at = Math.max(least, free[row] ?? SIDE);
    free[row] = at + room + GAP;
    return at;
  }

  /** @param {End} end */
  const addBonus = (end) => {
    const row = depth[end.node] + 1, own = end === driver ? path : OTHER_BONUS;
    bonus.push({ ...end, row, left: take(row, Number(left[end.node]), own), wide: own });
  };

  /** @param {number} node */
  function place(node) {
    // What is folded at a card that says what was compared is told beside it.
    left[node] = take(depth[node], node ? Number(left[parent[node]]) : SIDE, wide[node] + (stubs.has(node) && rank[node] === "tried" ? STUB : 0));
    if (driver?.node === node) addBonus(driver);
    const rung = children[node].find((kid) => rank[kid] === "path");
    if (rung !== undefined) place(rung);
    for (const kid of children[node]) if (kid !== rung) place(kid);
    for (const end of ends) if (end !== driver && end.node === node) addBonus(end);
  }
  place(0);
  return { left, wide, bonus, stubs, width: Math.max(...free) - GAP };
}

/**
 * @param {Shape} shape
 * @param {Columns} columns
 * @param {typeof DENSITIES[number]} density
 * @returns {{top: number[], high: number[], bottom: number}}
 */
function placeRows({ depth, rank }, { left, bonus }, density) {
  /** @type {number[]} */
  const high = [ROOT.high], top = [];
  left.forEach((at, node) => {
    if (node && at !== null) high[depth[node]] = Math.max(high[depth[node]] ?? 0, rank[node] === "path" || rank[node] === "tried" ? density.path : density.idle);
  });
  for (const { row } of bonus) high[row] = Math.max(high[row] ?? 0, BONUS);
  let bottom = TOP;
  for (const own of high) {
    top.push(bottom);
    bottom += own + density.apart;
  }
  return { top, high, bottom: bottom - density.apart + TOP };
}

/** @typedef {import("./layout.js").End} End */
