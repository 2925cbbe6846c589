/* Searching a tree: which nodes a query means, as far as that is known inside the step. A pure function; find.js shows it.
 *
 * `12` or `node 12` is a node's number; `p < 0.01`, `q >= 0.5`, `depth = 2` and `rank = 0` compare a number; `rejected by eta`,
 * `accepted`, `passed by traversal` and `not examined by eta` ask for an outcome; anything else is text of a token.
 */

import { OUTCOMES } from "../core/constants.js";

/** @import { Frame } from "../core/frame.d.ts" */
/** @import { Known } from "./phases.js" */

/** @typedef {{nodes: number[], said: string}} SearchResult nodes in their order; `said` is why there can be none, or "" */
/** @typedef {Pick<Known, "depth" | "target" | "states">} Searchable */

/** @type {Record<string, (value: number, limit: number) => boolean>} */
const SIGNS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
const NUMBER = /^(p|q|depth|rank)\s*(<=|>=|<|>|=)\s*(\d*\.?\d+(?:e-?\d+)?)$/i;
const NODE = /^(?:node\s+|#)?(\d+)$/i;
const OUTCOME = /^(accepted|rejected|passed(?:, not chosen)?|not examined)(?:\s+by\s+(.+))?$/i;

/**
 * @param {Frame} frame
 * @param {string} query
 * @param {Searchable} [known] by default everything
 * @returns {SearchResult}
 */
export function search(frame, query, known = { depth: Infinity, target: true, states: frame.tree.states }) {
  const asked = query.trim();
  if (!asked) return { nodes: [], said: "" };
  const number = NUMBER.exec(asked), node = NODE.exec(asked), outcome = OUTCOME.exec(asked);
  const grown = (/** @type {SearchResult} */ { nodes, said }) => ({ nodes: nodes.filter((one) => frame.nodes.depth[one] <= known.depth), said });
  if (number) {
    const name = /** @type {"p" | "q" | "depth" | "rank"} */ (number[1].toLowerCase());
    return name === "p" && !known.target ? { nodes: [], said: "The target has not scored this tree yet." } : grown(compared(frame, name, number[2], Number(number[3])));
  }
  if (outcome) return judged(frame, outcome[1].toLowerCase(), outcome[2], known.states);
  if (node) {
    const found = new Set([...(Number(node[1]) < frame.nodes.text.length ? [Number(node[1])] : []), ...withText(frame, asked)]);
    return grown({ nodes: [...found], said: found.size ? "" : `This tree has no node ${node[1]}; its last one is ${frame.nodes.text.length - 1}.` });
  }
  const nodes = withText(frame, asked);
  return grown({ nodes, said: nodes.length ? "" : `No token of this tree has “${asked}” in it.` });
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
 * @param {Record<string, string>} states as far as they are known
 * @returns {SearchResult}
 */
function judged(frame, words, name, states) {
  const names = Object.keys(frame.tree.states), by = name === undefined ? names : names.filter((one) => one.toLowerCase() === name.trim().toLowerCase());
  if (!by.length) return { nodes: [], said: `No verifier of this step is called “${name}”; there are ${names.join(", ")}.` };
  const known = by.filter((one) => states[one]);
  if (!known.length) return { nodes: [], said: `${name ?? "No verifier"} has not judged this tree yet.` };
  const letter = Object.keys(OUTCOMES).find((one) => OUTCOMES[one].words.startsWith(words)) || "";
  const nodes = frame.nodes.text.flatMap((_, node) => (node && known.some((one) => states[one][node] === letter) ? [node] : []));
  return { nodes, said: nodes.length ? "" : `No node was ${words} by ${name ?? "any verifier"}.` };
}
