/* Tables as text that a spreadsheet reads (RFC 4180), and the order of their cells. Nothing here touches a page.
 *
 * A spreadsheet runs a cell that begins like a formula, and tokens can be written by strangers: such text gets an apostrophe
 * in front, which spreadsheets take for the mark of text. Numbers stay numbers.
 */

/** What the signs of a shown number are for a program. @type {Record<string, string>} */
const PLAIN = { "−": "-", "⁻": "-", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((sign, i) => [sign, String(i)])) };
const NUMBER = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/;
/** Also in their wide forms, and behind white space. */
const FORMULA = /^[\s\u0000-\u001f]*[=+\-@\uff1d\uff0b\uff0d\uff20]/;

/**
 * The number that a cell shows, such as 0.349, −2, 3.89·10⁻⁴, >0.999 or 71 %; null where it shows none.
 * @param {string} text
 * @returns {number | null}
 */
export function numberOf(text) {
  const bare = text.trim().replace(/^[<>]/, "").replace(/ ?%$/, "").replace(/·10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)$/, "e$1").replace(/[−⁻⁰¹²³⁴⁵⁶⁷⁸⁹]/g, (sign) => PLAIN[sign]);
  return NUMBER.test(bare) ? Number(bare) : null;
}

/**
 * The places of values in order: numbers before words, and a dash or nothing at the end, whichever way it goes.
 * @param {string[]} values
 * @param {boolean} down from the largest
 * @returns {number[]}
 */
export function sorted(values, down) {
  const keys = values.map((text) => ({ number: numberOf(text), text, kind: text === "" || text === "–" ? 2 : numberOf(text) === null ? 1 : 0 }));
  const way = down ? -1 : 1;
  return keys.map((_, i) => i).sort((i, j) => {
    const a = keys[i], b = keys[j];
    if (a.kind === 2 || b.kind === 2) return a.kind - b.kind;
    if (a.kind !== b.kind) return way * (a.kind - b.kind);
    return way * (a.kind === 0 ? Number(a.number) - Number(b.number) : a.text.localeCompare(b.text, undefined, { numeric: true }));
  });
}

/**
 * Whether a row has every word that is looked for, in any case.
 * @param {string} text
 * @param {string} wanted
 */
export const matches = (text, wanted) => wanted.toLowerCase().split(/\s+/).every((word) => text.toLowerCase().includes(word));

/** @param {string} text */
function cell(text) {
  const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return /[",;\t\r\n]|^\s|\s$/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

/**
 * @param {string[][]} rows the first one are the titles
 */
export const csv = (rows) => rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
