/* Where the cards of a draft tree stand: a tidy tree, left to right, every parent midway between its first and its last
 * child. The one rule of page and export, and of whatever else draws a tree; it touches no page, and tests run it alone.
 *
 * Coordinates are CSS pixels at scale 1, y downwards. All verifiers share them. Bonus tokens, and the stubs that stand for
 * folded nodes, take rows of their own below the children of the node they hang on: a row belongs to one subtree in every
 * column, so no edge can cross a card, however early a path ended.
 */

/** @import { BonusCard, Tree } from "../core/frame.d.ts" */

/** Measures. A row is as high as lets the default tree of 28 nodes stand on a laptop's screen as a whole. */
export const CARD = { width: 158, height: 31 };
export const BONUS = { width: 190, height: 18 };
export const STUB = { width: 96, height: 17 };
/** Distance from one depth to the next. */
export const COLUMN = 194;
/** Height of a leaf's row, and of the row of a bonus token or a stub. */
const ROW = 34, EXTRA_ROW = 20;
/** Room above for the titles of the columns. */
const TOP = 22;
/** Room at both sides. */
export const LEFT = 6;

/**
 * @typedef {object} Layout
 * @property {number[]} x centre of every node's card
 * @property {(number | null)[]} y null for a folded node
 * @property {(BonusCard & {y: number | undefined})[]} bonus without a height below a folded node
 * @property {{node: number, y: number}[]} stubs stand for the folded children of a node
 * @property {number} columns of cards, the root's included
 * @property {number} width
 * @property {number} height
 * @property {number} folded how many nodes are
 */

/** @type {WeakMap<Tree, Set<number>>} */
const folds = new WeakMap();

/**
 * Whether a node is folded at first.
 * @param {Tree} tree
 * @param {number} node
 */
export function isFolded(tree, node) {
  let folded = folds.get(tree);
  if (!folded) folds.set(tree, (folded = new Set(tree.folded)));
  return folded.has(node);
}

/**
 * Lay out a tree with the nodes in `open` shown, whatever is folded at first; a folded node hides all below it.
 * @param {Tree} tree
 * @param {number[]} depth of every node
 * @param {Set<number>} open
 * @returns {Layout}
 */
export function layOut(tree, depth, open) {
  const size = tree.parent.length;
  /** @type {number[][]} */
  const children = Array.from({ length: size }, () => []);
  const visible = tree.parent.map((_, node) => !isFolded(tree, node) || open.has(node));
  for (let node = 1; node < size; node++) {
    visible[node] &&= visible[tree.parent[node]];
    children[tree.parent[node]].push(node);
  }
  /** @type {Map<number, string[]>} */
  const extras = new Map();
  for (const card of tree.bonus) extras.set(card.node, [...(extras.get(card.node) || []), card.verifier]);

  /** @type {(number | null)[]} */
  const y = new Array(size).fill(null);
  /** @type {Map<string, number>} */
  const bonus = new Map();
  /** @type {Layout["stubs"]} */
  const stubs = [];
  let cursor = TOP, columns = 1;
  for (const node of tree.order) {
    if (!visible[node]) continue;
    const shown = children[node].filter((child) => visible[child]), names = extras.get(node) || [];
    const hasStub = shown.length < children[node].length, extra = EXTRA_ROW * (names.length + Number(hasStub));
    let top = cursor;
    if (shown.length) {
      y[node] = (Number(y[shown[0]]) + Number(y[shown[shown.length - 1]])) / 2;
      cursor += extra;
    } else {
      const height = Math.max(ROW, extra);
      y[node] = cursor + height / 2;
      top = cursor + (height - extra) / 2;
      cursor += height;
    }
    columns = Math.max(columns, depth[node] + 1 + Number(hasStub));
    if (hasStub) {
      stubs.push({ node, y: top + EXTRA_ROW / 2 });
      top += EXTRA_ROW;
    }
    names.forEach((name, i) => bonus.set(name, top + EXTRA_ROW * (i + 0.5)));
  }
  return {
    x: depth.map((at) => LEFT + CARD.width / 2 + COLUMN * at), y, stubs, columns,
    bonus: tree.bonus.map((card) => ({ ...card, y: bonus.get(card.verifier) })),
    width: 2 * LEFT + COLUMN * columns + BONUS.width, height: Math.floor(cursor) + 6,
    folded: visible.filter((shown) => !shown).length,
  };
}

/**
 * The nodes that hide behind the stub of `parent`.
 * @param {Tree} tree
 * @param {(number | null)[]} y of a layout
 * @param {number} parent
 * @returns {Set<number>}
 */
export function hiddenBelow(tree, y, parent) {
  /** @type {Set<number>} */
  const below = new Set();
  for (let node = 1; node < tree.parent.length; node++) {
    const up = tree.parent[node];
    if (y[node] === null && (up === parent || below.has(up))) below.add(node);
  }
  return below;
}

/**
 * The nodes to open so that `node` is in sight.
 * @param {Tree} tree
 * @param {number} node
 * @returns {number[]}
 */
export function foldsAbove(tree, node) {
  const found = [];
  for (let at = node; at > 0; at = tree.parent[at]) if (isFolded(tree, at)) found.push(at);
  return found;
}
