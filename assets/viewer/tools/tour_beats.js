/* What a tour of one step says, and where: four beats, the draft's guesses, the target's scores, one decision, the cache. Pure
 * functions of the frames; every number is one that the run recorded.
 */

import { decisionsOf } from "../core/columns.js";
import { digits } from "../core/digits.js";
import { driving } from "../core/words.js";
import { division, pictureKind, sentence } from "../panels/decision.js";
import { changeOf, wholeOf } from "../panels/slots.js";
import { chanceOf, tellingNode } from "../panels/telling.js";
import { phasesOf } from "../tree/phases.js";

/** @import { Frame, Verdict } from "../core/frame.d.ts" */
/** @import { Part } from "../panels/decision.js" */

/**
 * @typedef {object} Beat
 * @property {string} title
 * @property {Part[]} said
 * @property {number} phase of the step
 * @property {number | null} node that is selected
 * @property {"card" | "node" | "dock"} place what it speaks of
 */

/**
 * @typedef {object} Stop a step that a tour can be told on
 * @property {number} step
 * @property {number} node that all of it is about
 */

/** Chances between which a coin is worth to be looked at. */
const LEAST = 0.02, MOST = 0.98;

/**
 * The step in sight, or else the first one, of those in which a slot of the cache had to move and a coin might have fallen either
 * way; else of those with a move, else of those in which the driver decided anything. Only steps whose target cache was recorded:
 * the last beat tells of it.
 * @param {Iterable<Frame>} frames
 * @param {number} step in sight
 * @returns {Stop | null}
 */
export function stopOf(frames, step) {
  const stops = [...frames].sort((a, b) => Number(b.step === step) - Number(a.step === step) || a.step - b.step).flatMap((frame) => {
    const node = tellingNode(frame, frame.driver), decision = decisionsOf(driving(frame)).find((one) => one.node === node);
    const cache = wholeOf(frame.caches.target);
    return node === null || !decision || !cache ? [] : [{ step: frame.step, node, chance: chanceOf(decision), moved: changeOf(cache).moved > 0 }];
  });
  const found = stops.find(({ chance, moved }) => moved && chance > LEAST && chance < MOST) ?? stops.find(({ moved }) => moved) ?? stops[0];
  return found ? { step: found.step, node: found.node } : null;
}

/**
 * @param {number} n
 * @param {string} word
 */
const counted = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/**
 * @param {Frame} frame of the step
 * @param {number} node of its stop
 * @returns {Beat[]}
 */
export function beatsOf(frame, node) {
  const { nodes, driver, caches } = frame, phases = phasesOf(frame, driver), verdict = /** @type {Verdict} */ (driving(frame));
  const decision = /** @type {import("../core/columns.js").Decision} */ (decisionsOf(verdict).find((one) => one.node === node));
  const last = (/** @type {string} */ kind) => phases.findLastIndex((phase) => phase.kind === kind);
  const name = { token: nodes.text[node] }, drafted = nodes.text.length - 1, levels = Math.max(...nodes.depth);
  const strong = (/** @type {number | null} */ value) => ({ strong: digits(value) });
  const cache = /** @type {import("../panels/slots.js").WholeCache} */ (wholeOf(caches.target)), { kept, written, moved, cut } = changeOf(cache);
  const who = !caches.draft ? "The draft" : caches.draft.slot.length ? "A small draft model" : frame.builder ?? "The draft";
  /** @type {Part[]} */
  const guesses = [`${who} guesses `, { strong: counted(drafted, "token") }, ` ahead, on ${counted(levels, "level")}.`];
  if (nodes.q[node] !== null) guesses.push(" Hollow bars are its probabilities: it gives ", name, " ", strong(nodes.q[node]), ".");
  /** @type {Part[]} */
  const scores = ["The large target model reads the last token and all guesses in one forward. "];
  if (nodes.p[node] !== null) scores.push("Solid bars are its probabilities: ", name, " gets ", strong(nodes.p[node]), ".");
  const coin = pictureKind(decision) === "coin", walk = frame.phases.verdicts[driver].walk;
  const decided = sentence(frame, driver, decision, decision.outcome === "a" && !walk ? "p" : decision.outcome);
  const zone = division(frame, driver, decision) ? [" The zone is p ÷ q: the more the target likes a guess, the wider."] : [];
  return [
    { title: "The draft guesses", said: guesses, phase: last("draft"), node: null, place: "card" },
    { title: "The target scores", said: scores, phase: last("target"), node: null, place: "card" },
    { title: coin ? "A coin decides" : "The rule decides", said: [...decided, ...zone], phase: phases.findIndex((phase) => phase.kind === "decide" && phase.upto > decision.at), node, place: "node" },
    {
      title: "The cache follows", phase: phases.length - 1, node: null, place: "dock",
      said: ["Of the ", { strong: counted(written, "slot") }, " that the target wrote, its cache keeps ", { strong: String(kept) }, ", moves ", { strong: String(moved) }, " of them and cuts ", { strong: String(cut) }, ". A wrong slot would not show in the text; here it is red."],
    },
  ];
}

/** @typedef {{left: number, top: number, width: number, height: number}} Rect in pixels of the window */

const GAP = 14, EDGE = 8;

/**
 * Where a note of a size stands beside what it speaks of: right of it, left, below or above, where there is room first; inside
 * the window in any case.
 * @param {Rect} at
 * @param {{width: number, height: number}} note
 * @param {{width: number, height: number}} view the window
 * @returns {{left: number, top: number}}
 */
export function besideOf(at, note, view) {
  const clamp = (/** @type {number} */ value, /** @type {number} */ size, /** @type {number} */ room) => Math.max(EDGE, Math.min(value, room - size - EDGE));
  const x = clamp(at.left + at.width / 2 - note.width / 2, note.width, view.width), y = clamp(at.top + at.height / 2 - note.height / 2, note.height, view.height);
  const places = [{ left: at.left + at.width + GAP, top: y }, { left: at.left - GAP - note.width, top: y }, { left: x, top: at.top + at.height + GAP }, { left: x, top: at.top - GAP - note.height }];
  const fits = (/** @type {{left: number, top: number}} */ { left, top }) => left >= EDGE && top >= EDGE && left + note.width <= view.width - EDGE && top + note.height <= view.height - EDGE;
  return places.find(fits) ?? { left: x, top: y };
}
