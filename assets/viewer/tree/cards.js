/* The cards of the draft tree, as SVG: what stands on each of them. Text of a run is data: textContent only.
 *
 * The nodes form a tree for assistive technology, with one card in the tab order. Elements are kept from step to step, so
 * that the focus stays on the card it was on.
 */

import { OUTCOMES } from "../core/constants.js";
import { digits } from "../core/digits.js";
import { svg } from "../core/dom.js";
import { NOT_RECORDED } from "../core/recorded.js";
import { DIGIT, fitting } from "./labels.js";
import { INSET } from "./ladder.js";

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { Hit, View } from "../core/state.js" */
/** @import { Compared, Line } from "./chance.js" */
/** @import { Rank } from "./ranks.js" */

/** @typedef {{place: number, role: string, state: string}} Pip what a verifier made of a node, at its fixed place */

/**
 * @typedef {object} Card a card where it stands
 * @property {Hit} hit
 * @property {Rank | "bonus" | "stub"} rank
 * @property {string} text token, uncut
 * @property {string} [note] second line of a bonus card
 * @property {number | null} [q]
 * @property {number | null} [p] undefined as long as the target has not scored
 * @property {Compared | null} [compared] by the verifier that is watched
 * @property {string} [state] its outcome
 * @property {Pip[]} [pips]
 * @property {boolean} [thrown] accepted, and not in the text, which ends before it
 * @property {number} [places] of pips there are
 * @property {boolean} [down] whether its children stand below it: then its left neighbour is a sibling
 * @property {number} [count] of folded nodes
 * @property {string} [role] colour of a bonus card
 * @property {string} [dash]
 * @property {string[]} [classes]
 */

/** Widths below which a card has no room for its mark, its bars, its pips. */
const THROWN = "thrown away", WORDY = 150;
const NARROW = 128, TWO_LINES = 44, PIPPED = 100;
/** Room of a verifier's place on a card; closer together where more than the first number judged, so that tokens keep theirs. */
const MANY = 6, PIP = 8, CLOSE_PIP = 6;
const MARKS = { a: "m0 0 3.5 4 7-8", r: "m1 -4 8 8m0-8-8 8", p: "M9 0a4 4 0 1 1-8 0a4 4 0 1 1 8 0" };

/** @param {number} places */
const pitch = (places) => (places > MANY ? CLOSE_PIP : PIP);

/**
 * @param {SVGElement} made
 * @param {Card} card
 */
export function fill(made, card) {
  const { left, top, right, bottom } = card.hit, wide = right - left, high = bottom - top, own = card.rank;
  made.setAttribute("transform", `translate(${left.toFixed(1)} ${top.toFixed(1)})`);
  made.setAttribute("class", ["sv-card", `sv-rank-${own}`, ...(card.classes || [])].join(" "));
  const shapes = [svg("rect", { class: "sv-halo", x: -4, y: -4, width: wide + 8, height: high + 8, rx: 11 }), svg("rect", { class: "sv-bg", width: wide, height: high, rx: own === "idle" || own === "other" ? 6 : 8 })];
  if (own === "root") shapes.push(token(fitting(card.text, wide - 18, 15), 10, high / 2 + 5, 15));
  else if (own === "bonus") bonus(shapes, card, wide, high);
  else if (own === "stub") shapes.push(label(`+${card.count} more`, wide - 6, high / 2 + 4, 12, "end"));
  else if (own === "path" || own === "tried") examined(shapes, card, wide, high);
  else quiet(shapes, card, wide, high);
  if (card.classes?.includes("sv-parting")) shapes.push(svg("path", { class: "sv-part", d: card.down ? `M${INSET} ${high - 7}l7 7-7 7-7-7z` : `M${wide} ${high / 2 - 7}l7 7-7 7-7-7z` }));
  if (card.classes?.includes("sv-otherwise")) shapes.push(svg("rect", { class: "sv-unlike-ground", x: wide - 12, y: -11, width: 16, height: 16, rx: 4 }), svg("path", { class: "sv-unlike", d: `M${wide - 9} -5h10m-10 4h10m-7 4l4-12` }));
  made.replaceChildren(...shapes);
}

/**
 * A card of the path, or of a sibling that was refused: number, token, chance and mark; both bars; the coin line.
 * @param {Element[]} shapes
 * @param {Card} card
 * @param {number} wide
 * @param {number} high
 */
function examined(shapes, card, wide, high) {
  const big = card.rank === "path", base = big ? 18 : 16, size = big ? 15 : 13.5, number = String(card.hit.node), start = 12 + 7 * number.length;
  let end = wide - 8;
  if (card.state && card.state in MARKS && wide >= NARROW) {
    shapes.push(mark(card.state, end - 10, base - 4));
    end -= 16;
  }
  const isThrown = card.thrown && wide >= WORDY, beside = isThrown ? 12 : big ? 14 : 13, said = isThrown ? THROWN : card.compared ? fitting(card.compared.said, wide * 0.46, 13) : "";
  if (said) {
    shapes.push(label(said, end, base, beside, "end", "sv-chance"));
    end -= beside * DIGIT * said.length + 4;
  }
  shapes.push(label(number, 8, base, 12, "start", "sv-cardnumber"), token(fitting(card.text, end - start, size), start, base, size));
  const pips = card.places && card.places > 1 && wide >= PIPPED ? pitch(card.places) * card.places + 6 : 0, high2 = big ? 4.5 : 2.5;
  bars(shapes, card, 8, base + (big ? 6 : 4), wide - 16 - pips, high2);
  if (pips) addPips(shapes, card, wide - 8, big ? base + 12 : base + 6.5);
  line(shapes, card.compared?.line, 10, high - (big ? 8 : 5), wide - 20, big ? 4 : 3.2);
  if (card.state === "r" && !card.down) shapes.push(svg("path", { class: "sv-refused", d: `M-12 ${high / 2 - 4}l8 8m0-8l-8 8` }));
}

/**
 * A card of one line: what was not examined, or elsewhere than along the path.
 * @param {Element[]} shapes
 * @param {Card} card
 * @param {number} wide
 * @param {number} high
 */
function quiet(shapes, card, wide, high) {
  const seen = card.state && card.state in MARKS, middle = seen ? high / 2 - 2 : high / 2, size = Math.min(13, high * 0.68), number = String(card.hit.node);
  const start = 10 + 7 * number.length, base = middle + size * 0.36;
  let end = wide - 6;
  if (high >= TWO_LINES) return spacious(shapes, card, wide, high);
  if (card.count) end -= 62;
  else {
    if (seen) {
      shapes.push(mark(/** @type {string} */ (card.state), end - 9, base - 4));
      end -= 14;
    }
    const room = wide < NARROW ? 0 : Math.max(28, Math.min(Number(card.places) > MANY ? 28 : 40, wide * 0.22));
    if (room) {
      bars(shapes, card, end - room, middle - 4.5, room, 3.5);
      end -= room + 8;
    }
    if (card.pips?.length && wide >= PIPPED) {
      addPips(shapes, card, end, middle);
      end -= pitch(card.places || 0) * (card.places || 0) + 2;
    }
    if (seen) line(shapes, card.compared?.line, 6, high - 3.5, wide - 12, 2.6);
  }
  shapes.push(label(number, 6, base, Math.min(12, size), "start", "sv-cardnumber"), token(fitting(card.text, end - start, size), start, base, size));
}

/**
 * The same where there is room for a second line: the bars below the token.
 * @param {Element[]} shapes
 * @param {Card} card
 * @param {number} wide
 * @param {number} high
 */
function spacious(shapes, card, wide, high) {
  const number = String(card.hit.node), start = 12 + 7 * number.length, base = high / 2 - 3, room = wide - 16 - (card.count ? 60 : 0), seen = card.state && card.state in MARKS;
  shapes.push(label(number, 8, base, 12, "start", "sv-cardnumber"), token(fitting(card.text, room + 8 - start - (seen ? 16 : 0), 13), start, base, 13));
  if (seen) shapes.push(mark(/** @type {string} */ (card.state), room - 4, base - 4));
  bars(shapes, card, 8, base + 6, Math.min(room, wide - 16 - (card.pips?.length ? pitch(card.places || 0) * (card.places || 0) + 4 : 0)), 4);
  if (!card.count) addPips(shapes, card, wide - 8, base + 11);
  if (seen) line(shapes, card.compared?.line, 8, high - 6, wide - 16, 2.6);
}

/**
 * @param {Element[]} shapes
 * @param {Card} card
 * @param {number} wide
 * @param {number} high
 */
function bonus(shapes, card, wide, high) {
  const frame = /** @type {SVGElement} */ (shapes[1]);
  frame.style.stroke = `var(--sv-${card.role})`;
  if (card.note === undefined) {
    frame.style.strokeDasharray = String(card.dash);
    shapes.push(token(fitting(card.text, wide - 14, 12.5), 8, high / 2 + 4, 12.5));
  } else shapes.push(token(`+ ${fitting(card.text, wide - 34, 15)}`, 9, high / 2 - 3, 15), label(card.note, 9, high / 2 + 14, 12, "start", "sv-cardnumber"));
}

/* ------------------------------------------------------------------------------------------------------- parts */

/**
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {number} size
 */
const token = (text, x, y, size) => svg("text", { class: "sv-cardtoken", x, y: y.toFixed(1), "font-size": size.toFixed(1) }, text);

/**
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {number} size
 * @param {"start" | "end"} anchor
 * @param {string} [name]
 */
const label = (text, x, y, size, anchor, name = "") => svg("text", { class: `sv-cardlabel ${name}`, x, y: y.toFixed(1), "font-size": size.toFixed(1), "text-anchor": anchor }, text);

/**
 * @param {string} state
 * @param {number} x
 * @param {number} y
 */
const mark = (state, x, y) => svg("path", { class: `sv-mark sv-mark-${state}`, transform: `translate(${x} ${y.toFixed(1)})`, d: MARKS[/** @type {"a" | "r" | "p"} */ (state)] });

/**
 * Draft above target: hollow and solid.
 * @param {Element[]} shapes
 * @param {Card} card
 * @param {number} x
 * @param {number} y
 * @param {number} wide
 * @param {number} high
 */
function bars(shapes, { q, p }, x, y, wide, high) {
  const long = (/** @type {number} */ value) => Math.max(1.5, wide * value).toFixed(1);
  if (q !== null && q !== undefined) shapes.push(svg("rect", { class: "sv-bar-q", x: x + 0.5, y: y + 0.5, width: long(q), height: high - 1 }));
  if (p !== null && p !== undefined) shapes.push(svg("rect", { class: "sv-bar-p", x, y: y + high + 1.5, width: long(p), height: high }));
}

/**
 * The line from 0 to 1: the zone that accepts, and the coin as a ring, or the value that was compared as a square.
 * @param {Element[]} shapes
 * @param {Line | null | undefined} drawn
 * @param {number} x
 * @param {number} y
 * @param {number} wide
 * @param {number} radius
 */
function line(shapes, drawn, x, y, wide, radius) {
  if (!drawn) return;
  const from = x + wide * drawn.from, at = x + wide * drawn.at, zone = Math.max(1.5, wide * (drawn.to - drawn.from));
  shapes.push(svg("path", { class: "sv-scale", d: `M${x} ${y}h${wide}` }), svg("path", { class: "sv-zone", d: `M${from.toFixed(1)} ${y}h${zone.toFixed(1)}` }));
  shapes.push(drawn.kind === "coin" ? svg("circle", { class: "sv-coin", cx: at.toFixed(1), cy: y, r: radius, style: `--sv-way: ${(x - at).toFixed(1)}px` })
    : svg("rect", { class: "sv-value", x: (at - radius).toFixed(1), y: y - radius, width: 2 * radius, height: 2 * radius }));
}

/**
 * Every verifier has its place, so that a dot says whose it is without its colour: faint points mark those without one.
 * @param {Element[]} shapes
 * @param {Card} card
 * @param {number} right
 * @param {number} y
 */
function addPips(shapes, { pips = [], places = 0 }, right, y) {
  const room = pitch(places), small = room < PIP ? 0.85 : 1;
  for (const { place, role, state } of pips) {
    const x = right - room * (places - place) + room / 2, about = { class: `sv-pip sv-pip-${state === "." ? "none" : state}`, "data-state": state };
    const made = state === "a" ? svg("circle", { ...about, cx: x, cy: y, r: 2.8 * small }) : state === "p" ? svg("circle", { ...about, cx: x, cy: y, r: 2.3 * small })
      : state === "r" ? svg("path", { ...about, d: `M${x - 2.2} ${y - 2.2}l4.4 4.4m0-4.4l-4.4 4.4` }) : svg("circle", { ...about, cx: x, cy: y, r: 0.9 });
    made.setAttribute("style", `--sv-own: var(--sv-${role})`);
    shapes.push(made);
  }
  if (!pips.length) return;
  const taken = new Set(pips.map(({ place }) => place));
  for (let place = 0; place < places; place++)
    if (!taken.has(place)) shapes.push(svg("circle", { class: "sv-pip-free", cx: right - room * (places - place) + room / 2, cy: y, r: 0.9 }));
}

/* ------------------------------------------------------------------------------------------------------- words */

/**
 * What a card says to somebody who cannot see it.
 * @param {Frame} frame
 * @param {Card} card
 * @param {View} view
 */
export function said(frame, card, view) {
  const { node, bonus: name } = card.hit;
  if (card.rank === "stub") return `Open ${card.count} folded nodes at node ${card.hit.stub}`;
  const unlike = card.classes?.includes("sv-otherwise") ? ", otherwise with processors in the other mode" : "";
  if (name !== undefined) return `Bonus token of ${name}: ${card.text}, ${card.note || "drawn at the end of its path"}${unlike}`;
  const { known } = view, parts = [`node ${node}, token ${card.text}`];
  const chance = (/** @type {number | null} */ value) => (value === null ? NOT_RECORDED : digits(value));
  if (node) parts.push(`draft ${chance(frame.nodes.q[node])}`);
  if (node && known.target) parts.push(`target ${chance(frame.nodes.p[node])}`);
  if (card.compared?.said) parts.push(card.compared.line?.kind === "coin" ? `accept chance ${card.compared.said}` : card.compared.said);
  const state = node ? (known.states[view.lens] || "")[node] : "";
  if (state) parts.push(`${view.lens}: ${OUTCOMES[state].words}${card.thrown ? " and thrown away: the text ends before it" : ""}`);
  return `${parts.join(", ")}${unlike}`;
}
