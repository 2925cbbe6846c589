/* Labels over a picture: elements with textContent, because Plotly needs half a millisecond a label, and escapes none. */

import { el } from "./dom.js";

/** @type {WeakMap<Element, HTMLElement>} */
const layers = new WeakMap();

export class Labels {
  constructor() {
    /** @type {[string, number, number, string][]} */
    this.list = [];
  }

  /**
   * @param {string} kind a CSS class after sv-l-: number, token, title, glyph, column, layer
   * @param {number} x
   * @param {number} y
   * @param {string | number} text
   * @param {string} [tint] a CSS class after sv-t-
   */
  write(kind, x, y, text, tint) {
    this.list.push([`sv-l-${kind}${tint ? ` sv-t-${tint}` : ""}`, x, y, String(text)]);
  }

  /**
   * Lay the labels over `picture`, whose parent holds both; elements are used again from step to step.
   * @param {HTMLElement} picture
   */
  lay(picture) {
    const layer = layers.get(picture) || layerFor(picture);
    while (layer.children.length > this.list.length) layer.lastChild?.remove();
    this.list.forEach(([name, x, y, text], i) => {
      const made = layer.children[i] || layer.appendChild(document.createElement("span"));
      if (made.className !== name) made.className = name;
      if (made.textContent !== text) made.textContent = text;
      const style = `left:${x}px;top:${y}px`;
      if (made.getAttribute("style") !== style) made.setAttribute("style", style);
    });
  }
}

/** @param {HTMLElement} picture */
function layerFor(picture) {
  const layer = el("div", { class: "sv-labels", "aria-hidden": "true" });
  layers.set(picture, layer);
  picture.parentElement?.classList.add("sv-linked");
  picture.after(layer);
  return layer;
}
