/* Labels of cards: how wide a text is and where it is cut, counted in columns of the monospaced font, as specviz/figures/text.py
 * counts them. Nothing is measured, so a move costs no layout.
 */

const COMBINING = /\p{M}/u;
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
/** Width of a column of the monospaced font, as a share of the size of the type. */
export const MONO = 0.61;
/** Width of a digit of the page's font. */
export const DIGIT = 0.62;

/** @param {string} char */
const columnsOf = (char) => (char < "\u0300" ? 1 : COMBINING.test(char) ? 0 : WIDE.test(char) ? 2 : 1);

/** @param {string} text */
export const columns = (text) => [...text].reduce((sum, char) => sum + columnsOf(char), 0);

/**
 * `text` in at most so many columns, cut with … where it is longer.
 * @param {string} text
 * @param {number} width
 */
export function shorten(text, width) {
  if (columns(text) <= width) return text;
  let kept = "", room = width - 1;
  for (const char of text) {
    room -= columnsOf(char);
    if (room < 0) break;
    kept += char;
  }
  return `${kept}…`;
}

/**
 * What of a text has room in so many pixels.
 * @param {string} text
 * @param {number} room
 * @param {number} size of the type
 */
export const fitting = (text, room, size) => shorten(text, Math.max(1, Math.floor(room / (size * MONO))));
