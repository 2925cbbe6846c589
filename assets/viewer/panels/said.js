/* Sentences with recorded numbers in them. A number is a button that copies where it stands in the run (tools/copy.js). */

import { digits } from "../core/digits.js";
import { el, nodeButton, token } from "../core/dom.js";

/** @import { Act } from "../core/state.js" */
/** @import { Part } from "./decision.js" */

/**
 * A recorded value; the Tab key goes by, because "Copy numbers" has them all.
 * @param {number | string} value
 * @param {string} path in Python
 * @param {string} [said] how it is written
 */
export const recorded = (value, path, said = typeof value === "number" ? digits(value) : value) =>
  el("button", { type: "button", class: "sv-recorded", tabindex: -1, "data-path": path, "data-value": String(value), title: `${path}\n${value}\nClick to copy the path` }, said);

/**
 * @param {Part[]} parts
 * @param {Act} act
 */
export const said = (parts, act) => parts.map((part, i) => {
  if (typeof part === "string") return i && typeof parts[i - 1] !== "string" ? part.slice(stopOf(part).length) : part;
  const next = parts[i + 1], stop = typeof next === "string" ? stopOf(next) : "", made = saidOf(part, act);
  return stop ? el("span", { class: "sv-unbroken" }, made, stop) : made;
});

/** What ends a sentence or a part of it stays in the line of what it follows. @param {string} text */
const stopOf = (text) => /^[.,;:!?)]*/.exec(text)?.[0] ?? "";

/**
 * @param {Exclude<Part, string>} part
 * @param {Act} act
 */
function saidOf(part, act) {
  if ("token" in part) return token(part.token);
  if ("strong" in part) return el("b", {}, part.strong);
  return "node" in part ? nodeButton(part.node, part.text, act) : recorded(part.value, part.path, typeof part.value === "number" ? digits(part.value, part.count) : part.value);
}
