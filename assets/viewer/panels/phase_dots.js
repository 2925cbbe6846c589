/* The phases of a step as dots in groups: where one stands inside it, and a way to any of its moments. */

import { decisionsOf, hasCoin } from "../core/columns.js";
import { el } from "../core/dom.js";
import { verdictBy } from "../core/words.js";
import { phasesOf } from "../tree/phases.js";

/** @import { Frame, Phase } from "../core/frame.d.ts" */

/** Dots that a group shows at once; of more, those around the phase in sight. */
const MOST = 9;

/** @type {Record<Phase["kind"], string>} */
const NAMES = { draft: "draft", target: "score", decide: "decisions", verdict: "path", commit: "commit", cache: "cache" };

/**
 * @typedef {object} DotGroup neighbouring phases of one kind
 * @property {string} name
 * @property {{phase: number, look: "done" | "now" | "later"}[]} dots those that are shown
 * @property {boolean} now whether the phase in sight is among them
 */

/**
 * @param {Frame} frame
 * @param {string} lens the verifier that is watched
 * @param {number | null} at the phase in sight; null for the whole step, in which all is done
 * @returns {DotGroup[]}
 */
export function dotsOf(frame, lens, at) {
  const phases = phasesOf(frame, lens), verdict = verdictBy(frame, lens) || verdictBy(frame, frame.driver);
  const coins = Boolean(verdict && decisionsOf(verdict).some(hasCoin));
  /** @type {{kind: Phase["kind"], phases: number[]}[]} */
  const groups = [];
  phases.forEach(({ kind }, i) => {
    if (groups.at(-1)?.kind === kind) groups[groups.length - 1].phases.push(i);
    else groups.push({ kind, phases: [i] });
  });
  return groups.map(({ kind, phases: own }) => {
    const place = at === null ? 0 : Math.max(0, Math.min(own.length - 1, at - own[0])), from = Math.max(0, Math.min(own.length - MOST, place - Math.floor(MOST / 2)));
    const many = own.length > MOST ? `${own.length} ` : "", name = kind === "decide" && coins ? "coins" : NAMES[kind];
    return {
      name: many + name, now: at !== null && own.includes(at),
      dots: own.slice(from, from + MOST).map((phase) => ({ phase, look: phase === at ? "now" : at === null || phase < at ? "done" : "later" })),
    };
  });
}

/**
 * @param {{dots: HTMLElement}} ui
 * @param {Frame} frame
 * @param {string} lens
 * @param {number | null} at
 * @param {(phase: number) => void} go
 */
export function drawDots(ui, frame, lens, at, go) {
  const captions = phasesOf(frame, lens).map(({ caption }) => caption);
  ui.dots.replaceChildren(...dotsOf(frame, lens, at).map(({ name, dots, now }) =>
    el("div", { class: now ? "sv-dotgroup sv-now" : "sv-dotgroup" },
      el("div", {}, dots.map(({ phase, look }) =>
        // What a later phase will say is not known yet. The keys , and . go from one to the next.
        el("button", { type: "button", tabindex: -1, class: `sv-dot sv-dot-${look}`, "data-dot": phase, "aria-current": look === "now" ? "step" : null,
          "aria-label": `Phase ${phase + 1}, ${name}`, title: look === "later" ? `phase ${phase + 1}` : captions[phase], onclick: () => go(phase) }))),
      el("span", {}, name))));
}
