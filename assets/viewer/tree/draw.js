/* The draft tree as a picture: cards, bars, edges and ribbons, expanded from a frame's columns.
 *
 * Two layers. Plotly draws the shapes, in a few traces. Labels and state marks are elements above it (one a card), because
 * they are what is focused, read aloud and lit by a pointer elsewhere, and because Plotly needs half a millisecond each.
 */

import { OUTCOMES } from "../core/constants.js";
import { Picture, round } from "../core/paint.js";
import { layCards } from "./cards.js";
import { BONUS, CARD, COLUMN, LEFT, STUB, hiddenBelow } from "./layout.js";

/** @import { Frame, Run } from "../core/frame.d.ts" */
/** @import { Hit, View } from "../core/state.js" */
/** @import { Card, CardLayer } from "./cards.js" */
/** @import { Layout } from "./layout.js" */
/** @import { Known } from "./phases.js" */

const BAR_TOP = 4.5, BAR_STEP = 6, PIP = 9, RIBBON_STEP = 4.4;
/** @type {Set<number>} */
const NO_PATH = new Set();

/**
 * Draw one step's tree.
 * @param {HTMLElement} place of the picture
 * @param {CardLayer} layer over it
 * @param {Run} run
 * @param {Frame} frame
 * @param {View} view
 * @param {Layout} spot
 * @returns {Hit[]} what can be hit
 */
export function drawTree(place, layer, run, frame, view, spot) {
  const { tree } = frame, { known } = view, picture = new Picture(run.figures.tree);
  const verifiers = run.verifiers.filter((v) => view.shown.has(v.name) && tree.states[v.name]);
  const halfWidth = CARD.width / 2, halfHeight = CARD.height / 2, barRoom = CARD.width - 20 - PIP * Math.max(3, verifiers.length);
  /** @type {Hit[]} */
  const hits = [];
  /** @type {Card[]} */
  const cards = [];
  const lens = known.states[view.lens] || "";
  const parts = known.parts && verifiers.length > 1 ? tree.parts : null;
  const stateOf = (/** @type {string} */ name, /** @type {number} */ node) => (known.states[name] || "")[node] || "";

  for (let node = 0; node < spot.y.length; node++) {
    const y = spot.y[node];
    if (y === null || frame.nodes.depth[node] > known.depth) continue;
    const left = spot.x[node] - halfWidth, top = y - halfHeight, state = lens[node] || ".";
    const taken = verifiers.some((v) => stateOf(v.name, node) === "a");
    const faint = state === "." && !taken && known.judged;
    const look = node && (faint || state !== ".") ? OUTCOMES[state].card : "passed";
    picture.pen(`card.${look}`).rect(left, top, CARD.width, CARD.height);
    const hit = { left, top, right: left + CARD.width, bottom: top + CARD.height, node };
    hits.push(hit);
    cards.push({
      ...hit, label: tree.label[node], digits: digitsOf(tree.digits[node], known), weak: faint, rejected: state === "r", acting: node === known.acting,
      parts: node === parts, pips: node && known.target ? verifiers.map((v) => [v.role, stateOf(v.name, node)]) : [],
    });
    if (!node) continue;
    bar("draft", tree.draft[node], left, y + BAR_TOP);
    if (known.target) bar("target", tree.target[node], left, y + BAR_TOP + BAR_STEP);
    edge(node, y, left);
  }

  /**
   * @param {string} role
   * @param {number | null} thousandths
   * @param {number} left
   * @param {number} y
   */
  function bar(role, thousandths, left, y) {
    picture.pen("bar.rail").to(left + 8, y).to(left + 8 + barRoom, y).lift();
    if (thousandths) picture.pen(`bar.${role}`).to(left + 8, y).to(round(left + 8 + (barRoom * thousandths) / 1000), y).lift();
  }

  /**
   * @param {number} node
   * @param {number} y
   * @param {number} left
   */
  function edge(node, y, left) {
    const parent = tree.parent[node], from = spot.x[parent] + halfWidth, height = Number(spot.y[parent]);
    picture.pen(`edge.${known.target ? tree.edge[node] : 0}`).curve(from, height, left, y, 0).lift();
    const users = verifiers.filter((v) => (known.paths[v.name] || NO_PATH).has(node));
    users.forEach((v, i) => picture.pen(`path.${v.name}`).curve(from, height, left, y, (i - (users.length - 1) / 2) * RIBBON_STEP).lift());
  }

  const bonusLeft = LEFT + COLUMN * spot.columns;
  for (const card of spot.bonus) {
    const v = verifiers.find((one) => one.name === card.verifier), height = spot.y[card.node];
    if (!v || !known.bonus.has(v.name) || height === null || card.y === undefined) continue;
    const ribbon = picture.pen(`path.${v.name}`), from = spot.x[card.node] + halfWidth, top = card.y - BONUS.height / 2;
    ribbon.curve(from, height, spot.x[card.node] + COLUMN - halfWidth, card.y, 0).to(bonusLeft, card.y).lift();
    ribbon.rect(bonusLeft, top, BONUS.width, BONUS.height);
    const hit = { left: bonusLeft, top, right: bonusLeft + BONUS.width, bottom: top + BONUS.height, bonus: v.name };
    hits.push(hit);
    cards.push({ ...hit, label: card.label, digits: card.note });
  }
  for (const { node, y } of known.whole ? spot.stubs : []) {
    const left = spot.x[node] + COLUMN - halfWidth, top = y - STUB.height / 2, count = hiddenBelow(tree, spot.y, node).size;
    picture.pen("edge.stub").curve(spot.x[node] + halfWidth, Number(spot.y[node]), left, y, 0).lift();
    picture.pen("card.stub").rect(left, top, STUB.width, STUB.height);
    const hit = { left, top, right: left + STUB.width, bottom: top + STUB.height, stub: node };
    hits.push(hit);
    cards.push({ ...hit, label: `+ ${count} folded`, digits: "", count });
  }
  picture.paint(place, spot.width, spot.height, view.scale);
  const titles = ["last token", ...Array.from({ length: spot.columns - 1 }, (_, i) => `depth ${i + 1}`), "bonus token"];
  layCards(layer, frame, cards, titles.map((text, i) => ({ left: LEFT + COLUMN * i, text })), view);
  return hits;
}

/**
 * @param {string} digits of both models
 * @param {Known} known
 */
const digitsOf = (digits, known) => (known.target || !digits ? digits : digits.split(" → ")[0]);
