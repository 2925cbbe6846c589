/* Labels over a picture: elements with textContent, because Plotly needs half a millisecond a label, and escapes none. */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});

  class Labels {
    constructor() {
      this.list = [];
    }
    /** `kind` is a CSS class after sv-l-: number, token, fate, title, glyph, column, layer; `tint` one after sv-t-. */
    write(kind, x, y, text, tint) {
      this.list.push([`sv-l-${kind}${tint ? ` sv-t-${tint}` : ""}`, x, y, String(text)]);
    }
    /** Lay the labels over `picture`, whose parent holds both; elements are used again from step to step. */
    lay(picture) {
      let layer = picture.labels;
      if (!layer) {
        layer = picture.labels = ns.panels.el("div", { class: "sv-labels", "aria-hidden": "true" });
        picture.parentElement.classList.add("sv-linked");
        picture.after(layer);
      }
      while (layer.children.length > this.list.length) layer.lastChild.remove();
      this.list.forEach(([name, x, y, text], i) => {
        const made = layer.children[i] || layer.appendChild(document.createElement("span"));
        if (made.className !== name) made.className = name;
        if (made.textContent !== text) made.textContent = text;
        const style = `left:${x}px;top:${y}px`;
        if (made.getAttribute("style") !== style) made.setAttribute("style", style);
      });
    }
  }

  ns.Labels = Labels;
})(window);
