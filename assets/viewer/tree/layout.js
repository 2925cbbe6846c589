/* Where the cards of a draft tree stand. The one rule of the page, of exported files and of the pictures they save: it is
 * run by whatever draws a tree, touches no page, and tests run it alone. Python gives the order of the nodes and what was
 * made of them; it has no coordinates.
 *
 * The path of the verifier that is watched is a straight line, its spine: elder siblings stand above it and younger ones
 * below, and its bonus token comes after the children that were refused. Every other parent stands midway between its first
 * and its last child. A subtree has rows of its own, so cards do not overlap and edges do not cross. Cards are larger the
 * more was made of them (ranks.js). What does not fit into the box is drawn denser, then folded, beginning with what nobody
 * examined, and only then smaller. In a narrow place the same order and depth are turned by a quarter (ladder.js).
 *
 * Coordinates are CSS pixels at scale 1, y downwards.
 */

import { foldingOf, foldsOf } from "./folding.js";
import { ladder } from "./ladder.js";

/** @import { Rank } from "./ranks.js" */

/**
 * @typedef {object} Shape a tree as it is to be laid out
 * @property {number[]} parent -1 for the root
 * @property {number[]} order children in draw order, and before their parent
 * @property {number[]} depth
 * @property {Rank[]} rank
 * @property {Set<number>} open nodes that a reader wants to see
 * @property {End[]} ends where paths end in a bonus token, of the verifier that is watched first; none as long as it is not known
 */

/** @typedef {{verifier: string, node: number}} End */
/** @typedef {{width: number, height: number}} Box */
/** @typedef {End & {y: number, lane: number, high: number}} Raised a bonus card whose column is not known yet */

/**
 * @typedef {object} Layout
 * @property {number[]} left edge of every card
 * @property {(number | null)[]} y centre of every card; null for a folded node
 * @property {number[]} wide
 * @property {number[]} high
 * @property {boolean} down whether depth goes downwards, and not to the right
 * @property {(End & {left: number, wide: number, y: number, lane: number, high: number})[]} bonus cards; `lane` is the height at which their line may run freely
 * @property {{node: number, hidden: number[], count: number}[]} stubs what "+ count more" at a card stands for: the uppermost hidden nodes
 * @property {{left: number, y: number, text: string}[]} heads of the columns
 * @property {number} end right edge of the last column of nodes
 * @property {number} width
 * @property {number} height
 * @property {number} scale at which it fits
 * @property {number} folded how many nodes are
 */

/** Heights of cards by rank, and the room between them, from airy to dense. */
export const DENSITIES = [
  { path: 52, tried: 40, other: 28, idle: 20, gap: 4, apart: 6 },
  { path: 52, tried: 36, other: 26, idle: 18, gap: 2, apart: 4 },
  { path: 48, tried: 34, other: 22, idle: 17, gap: 1, apart: 2 },
  { path: 48, tried: 34, other: 18, idle: 17, gap: 1, apart: 1 },
];
const DENSEST = DENSITIES[DENSITIES.length - 1];
/** A large window shows the tree larger; narrower than this the columns would be cut for it. */
const LARGEST = 1.5, SCALE_STEP = 0.1, WIDE_ENOUGH = 820, WIDE_ENOUGH_DEEP = 980;
/** In a narrower place depth goes downwards. */
const NARROWEST = 480;
/** Below this a tree is not made smaller to fit: labels would not be readable any more. */
const SMALLEST = 0.6;
/** On a phone it is rather moved than made smaller. */
const NARROW = 620, SMALLEST_NARROW = 0.85;
/** Room below for the sentence that says what is folded. */
const SAYING = 22;
/** A tree that would fit at this scale is rather made smaller than folded. */
const NEARLY = 0.85;
/** Room above for the titles of the columns, and at the sides. */
const HEAD = 22, HEAD_BASE = 13, SIDE = 16;
const NARROWEST_COLUMN = 118, WIDEST_COLUMN = 300, WIDEST_CARD = 196, DEEP = 3;
/** Height of another verifier's bonus card, of a line that passes below the children of its node, room between cards; lower
 * where there are many of them. */
const BONUS = 26, LANE = 5, BONUS_GAP = 4, MANY = 5, LOW_BONUS = 20, LOW_GAP = 2;

/**
 * @param {Shape} shape
 * @param {Box} box
 * @returns {Layout}
 */
export function layOut(shape, box) {
  if (box.width < NARROWEST) return ladder(shape, box);
  const folding = foldingOf(shape), deepest = Math.max(...shape.depth), room = box.height - HEAD;
  const least = deepest > DEEP ? WIDE_ENOUGH_DEEP : WIDE_ENOUGH, inner = new Set(shape.parent), leaves = shape.parent.length - inner.size + 1;
  // Of a large tree it is plain that it has to be folded.
  const mayFit = leaves * (DENSEST.idle + DENSEST.gap) <= room / NEARLY, airy = mayFit ? placeRows(shape, folding({ fold: 0, from: 0 }), DENSITIES[0]) : null;
  for (let scale = LARGEST; airy && scale > 1.01; scale -= SCALE_STEP) {
    if (box.width / scale < least) continue;
    if ((airy.height + HEAD) * scale <= box.height) return finish(shape, airy, { width: box.width / scale, height: box.height / scale }, scale);
  }
  /** @type {Rows | null} */
  let rows = airy;
  for (const how of foldsOf(shape)) {
    if (!how.fold && !mayFit) continue;
    const folded = folding(how), fits = (/** @type {Rows} */ one) => one.height <= room - (how.fold ? SAYING : 0);
    if (rows && how.fold && !folded.stubs.size) continue; // as before
    rows = placeRows(shape, folded, DENSEST);
    if (fits(rows)) return finish(shape, DENSITIES.map((density) => placeRows(shape, folded, density)).find(fits) || rows, box, 1);
    const small = how.fold ? 0 : box.height / (rows.height + HEAD);
    if (small >= NEARLY) return finish(shape, rows, { width: box.width / small, height: box.height / small }, small);
  }
  return finish(shape, /** @type {Rows} */ (rows), box, 1);
}

/* ----------------------------------------------------------------------------------------------------- heights */

/**
 * @typedef {object} Rows
 * @property {(number | null)[]} y
 * @property {number[]} high
 * @property {Raised[]} bonus
 * @property {Map<number, {hidden: number[], count: number}>} stubs
 * @property {number} height
 * @property {typeof DENSITIES[number]} density
 */

/**
 * @param {Shape} shape
 * @param {import("./folding.js").Folded} folded
 * @param {typeof DENSITIES[number]} density
 * @returns {Rows}
 */
function placeRows({ parent, rank, ends }, { children, stubs }, density) {
  const high = rank.map((one) => (one === "root" ? density.tried : density[one]));
  /** @type {(number | null)[]} */
  const y = new Array(parent.length).fill(null);
  /** @type {Map<number, number>} where lines to the bonus tokens of others begin, below the children of a node */
  const lanes = new Map();
  /** @type {number[]} */
  const placed = [];
  const [driver, ...others] = ends, last = driver ? driver.node : -1;
  const passing = (/** @type {number} */ node) => others.filter((end) => end.node === node).length;
  let cursor = 0;

  /** @param {number} node */
  function place(node) {
    const kids = children[node], top = cursor, from = placed.length, half = high[node] / 2;
    if (!kids.length) {
      y[node] = cursor + half;
      cursor += high[node] + density.gap;
      placed.push(node);
      return;
    }
    kids.forEach((kid, i) => {
      place(kid);
      if (i < kids.length - 1 && children[kid].length) cursor += density.apart;
    });
    const spine = kids.find((kid) => rank[kid] === "path");
    let middle = (Number(y[kids[0]]) + Number(y[kids[kids.length - 1]])) / 2;
    if (spine !== undefined) middle = Number(y[spine]);
    else if (node === last) {
      middle = cursor + density.apart + density.path / 2;
      cursor += density.apart + density.path + density.gap;
    }
    // A card that is higher than its children reaches above them.
    const lack = Math.max(0, top - (middle - half));
    for (const below of lack ? placed.slice(from) : []) {
      y[below] = Number(y[below]) + lack;
      if (lanes.has(below)) lanes.set(below, Number(lanes.get(below)) + lack);
    }
    y[node] = middle + lack;
    cursor = Math.max(cursor + lack, middle + lack + half + density.gap);
    if (passing(node)) {
      lanes.set(node, cursor + LANE / 2);
      cursor += LANE * passing(node) + density.gap;
    }
    placed.push(node);
  }
  place(0);
  const bonus = placeBonus(ends, y, lanes, density, cursor);
  // Bonus cards that reach above the tree push all of it down.
  const above = Math.max(0, ...bonus.map((card) => card.high / 2 - card.y));
  const bottom = Math.max(cursor, ...bonus.map((card) => card.y + card.high / 2));
  return {
    y: y.map((at) => (at === null ? null : at + above)), high, stubs, density, height: bottom + above,
    bonus: bonus.map((card) => ({ ...card, y: card.y + above, lane: card.lane + above })),
  };
}

/**
 * The bonus cards, one below the other: that of the spine at its height, the others pushed away from it, below it or, where
 * they would reach below the tree and there is room above, as many as that takes above it.
 * @param {End[]} ends
 * @param {(number | null)[]} y
 * @param {Map<number, number>} lanes
 * @param {typeof DENSITIES[number]} density
 * @param {number} bottom of the tree
 * @returns {Raised[]}
 */
function placeBonus(ends, y, lanes, density, bottom) {
  const [low, gap] = ends.length - 1 > MANY ? [LOW_BONUS, LOW_GAP] : [BONUS, BONUS_GAP];
  /** @type {Map<number, number>} */
  const taken = new Map();
  const cards = ends.map((end, i) => {
    const place = taken.get(end.node) || 0, from = lanes.get(end.node);
    if (i) taken.set(end.node, place + 1);
    const own = Number(y[end.node]), lane = i === 0 ? own : from === undefined ? own + Math.min(6, 3 * place) : from + LANE * place;
    return { ...end, lane, y: lane, high: i ? low : density.path - 8, first: i === 0 };
  });
  cards.sort((a, b) => a.lane - b.lane || Number(b.first) - Number(a.first));
  const apart = (/** @type {number} */ i) => (cards[i].high + cards[i + 1].high) / 2 + gap;
  for (let at = cards.findIndex((card) => card.first); at >= 0; at++) {
    for (const card of cards) card.y = card.lane;
    for (let i = at + 1; i < cards.length; i++) cards[i].y = Math.max(cards[i].y, cards[i - 1].y + apart(i - 1));
    for (let i = at - 1; i >= 0; i--) cards[i].y = Math.min(cards[i].y, cards[i + 1].y - apart(i));
    const top = cards[0].y - cards[0].high / 2, last = cards[cards.length - 1];
    if (at === cards.length - 1 || last.y + last.high / 2 <= bottom || top < low + gap) break;
    [cards[at], cards[at + 1]] = [cards[at + 1], cards[at]];
  }
  return cards.map(({ first: _, ...card }) => card);
}

/* ----------------------------------------------------------------------------------------------------- columns */

/**
 * @param {Shape} shape
 * @param {Rows} rows
 * @param {Box} box
 * @param {number} wanted scale
 * @returns {Layout}
 */
function finish({ depth }, rows, box, wanted) {
  const deepest = Math.max(...depth.filter((_, node) => rows.y[node] !== null)), deep = deepest > DEEP;
  const isNarrow = box.width < NARROW, root = isNarrow ? 56 : deep ? 76 : 96, gap = isNarrow ? 18 : deep ? 26 : box.width < 850 ? 42 : 52;
  const bonusRoom = isNarrow ? 116 : deepest > 4 ? 134 : deep ? 146 : 160;
  const column = Math.min(WIDEST_COLUMN, Math.max(NARROWEST_COLUMN, (box.width - 2 * SIDE - root - bonusRoom) / Math.max(1, deepest)));
  const card = Math.min(WIDEST_CARD, column - gap + (deep ? 6 : 0)), first = SIDE + root + gap - (deep ? 6 : 0);
  const leftOf = (/** @type {number} */ at) => (at === 0 ? SIDE : first + (at - 1) * column);
  const bonusLeft = first + deepest * column, bonusWide = bonusRoom - gap, width = bonusLeft + bonusWide + SIDE;
  const height = rows.height + HEAD, scale = Math.max(isNarrow ? SMALLEST_NARROW : SMALLEST, wanted * Math.min(1, box.width / width, box.height / height));
  const tall = (box.height * wanted) / scale;
  const down = HEAD + Math.max(0, (tall - height - (rows.stubs.size ? SAYING : 0)) / 2);
  const names = ["last token", ...Array.from({ length: deepest }, (_, i) => `depth ${i + 1}`), "bonus"];
  return {
    down: false, left: depth.map(leftOf), wide: depth.map((at) => (at ? card : root)), high: rows.high,
    y: rows.y.map((at) => (at === null ? null : at + down)),
    bonus: rows.bonus.map((one) => ({ ...one, left: bonusLeft, wide: bonusWide, y: one.y + down, lane: one.lane + down })),
    stubs: [...rows.stubs].map(([node, stub]) => ({ node, ...stub })),
    end: leftOf(deepest) + (deepest ? card : root), width, height: Math.max(height, tall), scale,
    heads: names.map((text, i) => ({ left: i > deepest ? bonusLeft : leftOf(i), y: HEAD_BASE, text })),
    folded: rows.y.filter((at) => at === null).length,
  };
}
