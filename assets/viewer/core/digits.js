/* How a number is written for people: the same rule as in specviz/digits.py, which a test holds it to. */

const CARRIED = 5, LEAST_EXPONENT = -3;
/** @type {Record<string, string>} */
const RAISED = { "-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((sign, i) => [String(i), sign])) };

/**
 * The first `count` digits and the power of ten of the first one.
 * @param {number} value
 * @param {number} count
 * @returns {[string, number]}
 */
function rounded(value, count) {
  const [written, exponent] = Number(value.toPrecision(Math.max(CARRIED, count))).toExponential(count - 1).split("e");
  return [written.replace(".", ""), Number(exponent)];
}

/**
 * @param {string} written
 * @param {number} place
 */
const point = (written, place) => (written.length <= place ? written : `${written.slice(0, place)}.${written.slice(place)}`);

/**
 * `value` with `count` (3) significant digits: 0.349, 0.00804, below 0.001 3.89·10⁻⁴; 0 for exact zero only, 1 for exact
 * one, >0.999 for what would round to it; zeros at the end are dropped from the fourth digit on; a dash for no number.
 * @param {number | null | undefined} value
 * @param {number} [count]
 * @returns {string}
 */
export function digits(value, count = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value < 0) return `−${digits(-value, count)}`;
  if (value === 0 || value === 1) return String(value);
  if (value === Infinity) return "∞";
  const [written, exponent] = rounded(value, count);
  if (value < 1 && exponent === 0) return `>0.${"9".repeat(count)}`;
  const shown = written.replace(/0+$/, "").padEnd(Math.min(count, Math.max(3, exponent + 1)), "0");
  if (exponent < LEAST_EXPONENT || exponent >= count) return `${point(shown, 1)}·10${[...String(exponent)].map((sign) => RAISED[sign]).join("")}`;
  return exponent < 0 ? `0.${"0".repeat(-exponent - 1)}${shown}` : point(shown, exponent + 1);
}

/**
 * A share as a whole per cent, or with one decimal below ten; what is less than all never reads 100 %.
 * @param {number} value
 */
export function percent(value) {
  if (value >= 0.995 && value < 1) return ">99 %";
  return value >= 0.0995 ? `${(100 * value).toFixed(0)} %` : value >= 0.001 ? `${(100 * value).toFixed(1)} %` : value > 0 ? "<0.1 %" : "0 %";
}

/** @param {number} n 1st, 2nd, 3rd, 4th ... */
export const ordinal = (n) => `${n}${n % 100 > 10 && n % 100 < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[n % 10] || "th"}`;

/**
 * What the listed probabilities leave of 1.
 * @param {number[]} probs
 */
export const restOf = (probs) => Math.max(0, 1 - probs.reduce((sum, p) => sum + p, 0));

/**
 * The rest in words, no finer than the five digits that the listed probabilities are sent with.
 * @param {number} rest
 */
export const saidOfRest = (rest) => (rest === 0 ? "0" : rest < 1e-5 ? "<10⁻⁵" : digits(rest, rest < 1e-4 ? 1 : rest < 1e-3 ? 2 : 3));
