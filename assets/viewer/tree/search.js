/* Searching a tree: which nodes a query means. A pure function of a frame; who shows what was found is another file.
 *
 * `12` or `node 12` is a node's number; `p < 0.01`, `q >= 0.5`, `depth = 2` and `rank = 0` compare a number; `rejected by eta`,
 * `accepted`, `passed by traversal` and `not examined by eta` ask for an outcome; anything else is text of a token.
 */

import { OUTCOMES } from "../core/constants.js";

/** @import { Frame } from "../core/frame.d.ts" */

/** @typedef {{nodes: number[], said: string}} SearchResult nodes in their order; `said` is why there can be none, or "" */

/** @type {Record<string, (value: number, limit: number) => boolean>} */
const SIGNS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
const NUMBER = /^(p|q|depth|rank)\s*(<=|>=|<|>|=)\s*(\d*\.?\d+(?:e-?\d+)?)$/i;
const NODE = /^(?:node\s+|#)?(\d+)$/i;
const OUTCOME = /^(accepted|rejected|passed(?:, not chosen)?|not examined)(?:\s+by\s+(.+))?$/i;

/**
 * @param {Frame} frame
 * @param {string} query
 * @returns {SearchResult}
 */
export function search(frame, query) {
  const asked = query.trim();
  if (!asked) return { nodes: [], said: "" };
  const number = NUMBER.exec(asked), node = NODE.exec(asked), outcome = OUTCOME.exec(asked);
  if (number) return compared(frame, /** @type {"p" | "q" | "depth" | "rank"} */ (number[1].toLowerCase()), number[2], Number(number[3]));
  if (outcome) return judged(frame, outcome[1].toLowerCase(), outcome[2]);
  if (node) {
    const found = new Set([...(Number(node[1]) < frame.nodes.text.length ? [Number(node[1])] : []), ...withText(frame, asked)]);
    return { nodes: [...found], said: found.size ? "" : `This tree has no node ${node[1]}; its last one is ${frame.nodes.text.length - 1}.` };
  }
  const nodes = withText(frame, asked);
  return { nodes, said: nodes.length ? "" : `No token of this tree has “${asked}” in it.` };
}

/** Token text as a person types it. @param {string} text */
const typed = (text) => text.replaceAll("␣", " ").replaceAll("⏎", "\n").toLowerCase();

/**
 * @param {Frame} frame
 * @param {string} text
 */
function withText(frame, text) {
  const wanted = typed(text);
  return frame.nodes.text.flatMap((one, node) => (typed(one).includes(wanted) ? [node] : []));
}

/**
 * Drafted nodes whose number compares so; the root was drafted by nobody.
 * @param {Frame} frame
 * @param {"p" | "q" | "depth" | "rank"} name
 * @param {string} sign
 * @param {number} limit
 * @returns {SearchResult}
 */
function compared(frame, name, sign, limit) {
  const nodes = frame.nodes[name].flatMap((value, node) => (node && value !== null && SIGNS[sign](value, limit) ? [node] : []));
  return { nodes, said: nodes.length ? "" : `No drafted token has ${name} ${sign} ${limit}.` };
}

/**
 * @param {Frame} frame
 * @param {string} words
 * @param {string | undefined} name of a verifier, or of all
 * @returns {SearchResult}
 */
function judged(frame, words, name) {
  const { states } = frame.tree, names = Object.keys(states);
  const by = name === undefined ? names : names.filter((one) => one.toLowerCase() === name.trim().toLowerCase());
  if (!by.length) return { nodes: [], said: `No verifier of this step is called “${name}”; there are ${names.join(", ")}.` };
  const letter = Object.keys(OUTCOMES).find((one) => OUTCOMES[one].words.startsWith(words)) || "";
  const nodes = frame.nodes.text.flatMap((_, node) => (node && by.some((one) => states[one][node] === letter) ? [node] : []));
  return { nodes, said: nodes.length ? "" : `No node was ${words} by ${name ?? "any verifier"}.` };
}
