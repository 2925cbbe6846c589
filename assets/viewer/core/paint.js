/* Pictures of many like shapes (masks, audits): one SVG path for each kind of shape.
 *
 * How a kind looks is said by style sheets, by its name in `data-part` (panels/panels.css), so that a change of theme needs
 * no drawing. Units are CSS pixels, y downwards. No probability is computed here.
 */

import { svg } from "./dom.js";

/** @param {number} value */
const round = (value) => Math.round(value * 10) / 10;

/** The outlines of one kind of shape, as an SVG path has them. */
class Pen {
  constructor() {
    /** @type {string[]} */
    this.drawn = [];
  }

  /**
   * @param {number} left
   * @param {number} top
   * @param {number} width
   * @param {number} height
   */
  rect(left, top, width, height) {
    this.drawn.push(`M${round(left)} ${round(top)}h${round(width)}v${round(height)}h${round(-width)}z`);
  }

  /**
   * @param {number} x0
   * @param {number} y0
   * @param {number} x1
   * @param {number} y1
   */
  line(x0, y0, x1, y1) {
    this.drawn.push(`M${round(x0)} ${round(y0)}L${round(x1)} ${round(y1)}`);
  }
}

/** One picture: a pen for every kind of shape, by name. */
export class Picture {
  /** @param {string[]} parts the kinds, in the order in which they lie over each other */
  constructor(parts) {
    this.pens = new Map(parts.map((part) => [part, new Pen()]));
  }

  /** @param {string} part */
  pen(part) {
    return /** @type {Pen} */ (this.pens.get(part));
  }

  /**
   * Show what the pens have drawn; a kind without a shape is left out.
   * @param {HTMLElement} place
   * @param {number} width
   * @param {number} height
   */
  paint(place, width, height) {
    const picture = svg("svg", { class: "sv-shapes", width: Math.round(width), height: Math.round(height) });
    for (const [part, { drawn }] of this.pens) if (drawn.length) picture.append(svg("path", { "data-part": part, d: drawn.join("") }));
    place.replaceChildren(picture);
  }
}
