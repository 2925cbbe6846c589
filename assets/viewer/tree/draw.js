/* The draft tree as one SVG picture: edges, the paths of the verifiers, cards. The page, exported files and the pictures they
 * save all draw with this; colours are the page's CSS variables.
 *
 * The path of the verifier that is watched is drawn with its cards; those of the others are quiet marks on the cards they
 * accepted, until all paths are compared.
 */

import { decisionsOf } from "../core/columns.js";
import { svg } from "../core/dom.js";
import { thrownAway, unwritten, verdictBy } from "../core/words.js";
import { fill, said } from "./cards.js";
import { compared } from "./chance.js";
import { INSET } from "./ladder.js";

/** @import { Frame, Run, Verdict } from "../core/frame.d.ts" */
/** @import { Hit, View } from "../core/state.js" */
/** @import { Card } from "./cards.js" */
/** @import { Layout, Shape } from "./layout.js" */

/**
 * @typedef {object} Scene the elements that a tree is drawn into
 * @property {SVGSVGElement} picture
 * @property {SVGElement} world is moved and scaled as a whole
 * @property {SVGElement} heads of the columns
 * @property {SVGElement} edges
 * @property {SVGElement} nodes
 * @property {SVGElement} others bonus tokens and stubs
 * @property {Map<string, SVGElement>} known the cards there are
 */

const STUB_WIDE = 60, PATH_WIDE = 5, FIRST_RIBBON = 4.5, RIBBON_STEP = 4;
/** @type {Set<number>} */
const NO_PATH = new Set();

/** @returns {Scene} */
export function makeScene() {
  const picture = /** @type {SVGSVGElement} */ (svg("svg", { class: "sv-tree", "data-picture": "tree" }));
  const heads = svg("g", { "aria-hidden": "true" }), edges = svg("g", { "aria-hidden": "true" }), others = svg("g", {});
  const nodes = svg("g", { role: "tree", "aria-label": "Nodes of the draft tree" }), world = svg("g", { class: "sv-world" });
  world.append(heads, edges, nodes, others);
  picture.append(world);
  return { picture, world, heads, edges, nodes, others, known: new Map() };
}

/**
 * @param {number} x0
 * @param {number} y0
 * @param {number} x1
 * @param {number} y1
 */
function curve(x0, y0, x1, y1) {
  const by = x1 - x0, at = (/** @type {number} */ value) => value.toFixed(1);
  return y0 === y1 ? `M${at(x0)} ${at(y0)}H${at(x1)}` : `M${at(x0)} ${at(y0)}C${at(x0 + 0.55 * by)} ${at(y0)} ${at(x0 + 0.45 * by)} ${at(y1)} ${at(x1)} ${at(y1)}`;
}

/**
 * From the lower edge of a card to the upper edge of another.
 * @param {number} x0
 * @param {number} y0
 * @param {number} x1
 * @param {number} y1
 */
function downwards(x0, y0, x1, y1) {
  const by = y1 - y0, at = (/** @type {number} */ value) => value.toFixed(1);
  return x0 === x1 ? `M${at(x0)} ${at(y0)}V${at(y1)}` : `M${at(x0)} ${at(y0)}C${at(x0)} ${at(y0 + 0.8 * by)} ${at(x1)} ${at(y0 + 0.2 * by)} ${at(x1)} ${at(y1)}`;
}

/**
 * Draw one step's tree.
 * @param {Scene} scene
 * @param {Run} run
 * @param {Frame} frame
 * @param {View} view
 * @param {Shape} shape
 * @param {Layout} spot
 * @returns {Hit[]} what can be hit, in pixels at scale 1
 */
export function drawTree(scene, run, frame, view, shape, spot) {
  const { known, lens, compare } = view, { tree } = frame, watched = run.verifiers.find((v) => v.name === lens);
  const cards = [...nodeCards(run, frame, view, shape, spot), ...stubCards(view, shape, spot), ...bonusCards(run, frame, view, spot)];
  lay(scene, frame, cards, view);

  let thin = "", tried = "";
  for (const card of cards) {
    const node = card.hit.node;
    if (!node || card.rank === "path" || card.rank === "stub" || card.hit.bonus !== undefined) continue;
    const up = tree.parent[node], gap = card.rank === "tried" && card.state === "r" ? 12 : 0;
    const drawn = spot.down ? downwards(spot.left[up] + INSET, Number(spot.y[up]) + spot.high[up] / 2, card.hit.left + INSET, card.hit.top)
      : curve(spot.left[up] + spot.wide[up], Number(spot.y[up]), card.hit.left - gap, Number(spot.y[node]));
    if (card.rank === "tried") tried += drawn;
    else thin += drawn;
  }
  const edges = [svg("path", { class: "sv-edge", d: thin }), svg("path", { class: "sv-edge sv-edge-tried", d: tried })];
  const others = compare ? run.verifiers.filter((v) => v.name !== lens && view.shown.has(v.name) && known.paths[v.name]) : [];
  for (const [i, v] of others.entries()) edges.push(ribbon(frame, view, spot, v, (i % 2 ? 1 : -1) * (FIRST_RIBBON + RIBBON_STEP * Math.floor(i / 2)), 3));
  if (watched && known.paths[lens]) edges.push(ribbon(frame, view, spot, watched, 0, PATH_WIDE));
  scene.edges.replaceChildren(...edges);

  const titles = spot.heads.map(({ left, y, text }) => `${left},${y},${text}`).join("|");
  if (scene.heads.dataset.titles !== titles) {
    scene.heads.dataset.titles = titles;
    scene.heads.replaceChildren(...spot.heads.map(({ left, y, text }) => svg("text", { class: "sv-columnhead", x: left.toFixed(1), y }, text)));
  }
  return cards.map((card) => card.hit);
}

/**
 * The path of a verifier and the line to its bonus token, beside the middle of the cards by `shift`.
 * @param {Frame} frame
 * @param {View} view
 * @param {Layout} spot
 * @param {Run["verifiers"][number]} verifier
 * @param {number} shift
 * @param {number} wide
 */
function ribbon(frame, { known, lens }, spot, { name, role, dash }, shift, wide) {
  const nodes = [0, ...(known.paths[name] || NO_PATH)], made = svg("g", { class: "sv-ribbon", "data-verifier": name });
  const beside = (/** @type {number} */ node) => Number(spot.y[node]) + Math.max(2 - spot.high[node] / 2, Math.min(spot.high[node] / 2 - 2, shift));
  const right = (/** @type {number} */ node) => spot.left[node] + spot.wide[node];
  const x = (/** @type {number} */ left) => left + INSET + shift, edge = (/** @type {number} */ node, /** @type {-1 | 1} */ way) => Number(spot.y[node]) + (way * spot.high[node]) / 2;
  let drawn = "";
  for (let i = 1; i < nodes.length; i++) {
    const [up, node] = [nodes[i - 1], nodes[i]];
    drawn += spot.down ? downwards(x(spot.left[up]), edge(up, 1), x(spot.left[node]), edge(node, -1)) : curve(right(up), beside(up), spot.left[node], beside(node));
  }
  const look = `stroke: var(--sv-${role}); stroke-width: ${wide}`, dashes = dash === "solid" ? "none" : dash.replace(/px/g, "");
  made.append(svg("path", { class: "sv-path", d: drawn, style: look, "stroke-dasharray": dashes }));
  const card = spot.bonus.find((one) => one.verifier === name);
  if (card) {
    const line = spot.down ? downwards(x(spot.left[card.node]), edge(card.node, 1), x(card.left), card.y - card.high / 2) : toBonus(frame, spot, card, right(card.node), beside(card.node));
    made.append(svg("path", { class: name === lens ? "sv-path sv-path-bonus" : "sv-path", d: line, style: look, "stroke-dasharray": name === lens ? "2 7" : dashes }));
  }
  return made;
}

/**
 * From the right edge of a card to its bonus token, below the children of the node where it has some.
 * @param {Frame} frame
 * @param {Layout} spot
 * @param {Layout["bonus"][number]} card
 * @param {number} x
 * @param {number} y
 */
function toBonus(frame, spot, { node, left, lane, y: to }, x, y) {
  if (x >= spot.end - 1) return curve(x, y, left, to);
  const next = spot.heads[frame.nodes.depth[node] + 1].left;
  return `${curve(x, y, next, lane)}H${spot.end.toFixed(1)}${curve(spot.end, lane, left, to).replace("M", "L")}`;
}

/* ------------------------------------------------------------------------------------------------------- cards */

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {View} view
 * @param {Shape} shape
 * @param {Layout} spot
 * @returns {Card[]}
 */
function nodeCards(run, frame, view, shape, spot) {
  const { known, lens, compare, found } = view, { nodes } = frame, verdict = verdictBy(frame, lens), states = known.states[lens] || "";
  const decided = new Map((verdict ? decisionsOf(verdict).slice(0, known.taken) : []).map((one) => [one.node, one]));
  const folded = new Map(spot.stubs.map((stub) => [stub.node, stub.count]));
  const voices = run.verifiers.map((v, place) => ({ name: v.name, role: v.role, place })).filter(({ name }) => view.shown.has(name) && known.states[name]);
  const thrown = new Set(known.written && lens === frame.driver ? thrownAway(frame) : []);
  const other = new Set(verdict?.otherMode?.nodes);
  const parts = compare && known.parts && voices.length > 1 ? frame.tree.parts : null;
  /** @type {Card[]} */
  const cards = [];
  for (const [node, y] of spot.y.entries()) {
    if (y === null || nodes.depth[node] > known.depth) continue;
    const hit = { node, left: spot.left[node], right: spot.left[node] + spot.wide[node], top: y - spot.high[node] / 2, bottom: y + spot.high[node] / 2 };
    const classes = ["sv-card-node"], decision = node && states[node] !== "." ? decided.get(node) : undefined;
    if (node === known.acting) classes.push("sv-acting");
    if (thrown.has(node)) classes.push("sv-thrown");
    if (node === parts) classes.push("sv-parting");
    if (other.has(node) && states[node] !== "t" && known.judged) classes.push("sv-otherwise");
    if (found && node && !found.has(node)) classes.push("sv-dim");
    else if (found && node) classes.push("sv-found");
    const pips = !node || !known.target ? [] : voices.filter(({ name }) => compare || (name !== lens && known.states[name][node] === "a"))
      .map(({ name, role, place }) => ({ role, place, state: known.states[name][node] }));
    cards.push({
      hit, rank: shape.rank[node], text: nodes.text[node], q: node ? nodes.q[node] : null, p: node && known.target ? nodes.p[node] : undefined, classes, pips,
      thrown: thrown.has(node), places: run.verifiers.length, state: states[node], compared: decision ? compared(frame, decision) : null, count: folded.get(node), down: spot.down,
    });
  }
  return cards;
}

/**
 * @param {View} view
 * @param {Shape} shape
 * @param {Layout} spot
 * @returns {Card[]}
 */
function stubCards({ known }, shape, spot) {
  return (known.whole ? spot.stubs : []).map(({ node, count }) => {
    const right = spot.left[node] + spot.wide[node], y = Number(spot.y[node]), high = Math.min(20, spot.high[node]);
    // A card that says what was compared has no room for it, but the row beside it is free.
    const left = shape.rank[node] === "tried" ? right + 2 : right - STUB_WIDE;
    return { hit: { stub: node, left, right: left + STUB_WIDE, top: y - high / 2, bottom: y + high / 2 }, rank: /** @type {const} */ ("stub"), text: "", count, classes: ["sv-card-stub"] };
  });
}

/**
 * @param {Run} run
 * @param {Frame} frame
 * @param {View} view
 * @param {Layout} spot
 * @returns {Card[]}
 */
function bonusCards(run, frame, { lens }, spot) {
  return spot.bonus.map(({ verifier, left, wide, y, high }) => {
    const verdict = /** @type {Verdict} */ (verdictBy(frame, verifier)), drawn = verdict.bonus, looks = run.verifiers.find((v) => v.name === verifier);
    const late = unwritten(frame, verdict, verdict.path.length);
    return {
      hit: { bonus: verifier, left, right: left + wide, top: y - high / 2, bottom: y + high / 2 }, rank: /** @type {const} */ ("bonus"), text: drawn?.text ?? "",
      note: late ? "not written" : verifier === lens ? (drawn?.source ? `from ${drawn.source}` : "bonus") : undefined, role: looks?.role, dash: looks?.dash.replace("solid", "none").replace(/px/g, ""), classes: ["sv-card-bonus", ...(verifier === lens && verdict.otherMode && verdict.otherMode.bonus !== null && verdict.otherMode.bonus !== drawn?.text ? ["sv-otherwise"] : [])],
    };
  });
}

/**
 * Lay these cards; those of before are used again.
 * @param {Scene} scene
 * @param {Frame} frame
 * @param {Card[]} cards
 * @param {View} view
 */
function lay(scene, frame, cards, view) {
  const seen = new Set();
  for (const card of cards) {
    const { node, bonus, stub } = card.hit, key = bonus !== undefined ? `b${bonus}` : stub !== undefined ? `s${stub}` : `n${node}`;
    let made = scene.known.get(key);
    if (!made) scene.known.set(key, (made = make(scene, card)));
    seen.add(key);
    fill(made, card);
    made.setAttribute("aria-label", said(frame, card, view));
    if (typeof node === "number") made.setAttribute("aria-level", String(frame.nodes.depth[node] + 1));
  }
  for (const [key, made] of scene.known)
    if (!seen.has(key)) {
      made.remove();
      scene.known.delete(key);
    }
}

/**
 * @param {Scene} scene
 * @param {Card} card
 */
function make(scene, { hit: { node, bonus, stub } }) {
  const [place, about] = bonus !== undefined ? [scene.others, { role: "button", tabindex: -1, "data-bonus": bonus }]
    : stub !== undefined ? [scene.others, { role: "button", tabindex: 0, "data-stub": stub }]
      : [scene.nodes, { role: "treeitem", tabindex: -1, "data-node": Number(node), "aria-selected": "false" }];
  const made = svg("g", /** @type {Record<string, string | number>} */ (about));
  place.append(made);
  return made;
}

/**
 * Mark the cards of nodes with which something is wrong.
 * @param {Scene} scene
 * @param {Map<number, string>} faults by node: a few words
 */
export function markFaults(scene, faults) {
  for (const old of scene.nodes.querySelectorAll(".sv-fault")) old.remove();
  for (const card of scene.nodes.querySelectorAll(".sv-faulty")) card.classList.remove("sv-faulty");
  for (const [node, words] of faults) {
    const card = scene.known.get(`n${node}`);
    card?.classList.add("sv-faulty");
    // A mark on the corner, as words have no room of their own beside heads and coins; the headline has them, too.
    const mark = svg("text", { class: "sv-fault", x: -4, y: 5, "font-size": 12 }, "✕");
    mark.append(svg("title", {}, words));
    card?.append(mark);
  }
}
