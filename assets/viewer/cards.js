/* The labels of the draft tree: one element a card, above the picture, written with textContent only.
 *
 * The nodes form a tree for assistive technology, with one card in the tab order. Elements are kept from step to step,
 * so that the focus stays on the card it was on.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});

  function makeLayer() {
    const { el } = ns.panels;
    const layer = el("div", { class: "sv-cards" });
    layer.parts = { heads: el("div", { "aria-hidden": "true" }), nodes: el("div", { role: "tree", "aria-label": "Nodes of the draft tree" }), others: el("div", {}) };
    layer.append(...Object.values(layer.parts));
    layer.known = new Map();
    return layer;
  }

  /** Lay these cards; `cards` are what scene.js placed, `titles` are [left, text] of the columns. */
  function lay(layer, run, frame, cards, titles, view) {
    layer.style.transform = `scale(${view.scale})`;
    const seen = new Set();
    for (const card of cards) {
      const key = card.node !== undefined ? `n${card.node}` : card.bonus ? `b${card.bonus}` : `s${card.stub}`;
      let made = layer.known.get(key);
      if (!made) layer.known.set(key, (made = makeCard(layer, card)));
      seen.add(key);
      const [label, digits, pips] = made.children;
      if (pips) mark(pips, card.pips);
      write(label, card.label);
      write(digits, card.digits || "");
      const style = `left:${card.left}px;top:${card.top}px;width:${card.right - card.left}px;height:${card.bottom - card.top}px`;
      if (made.dataset.at !== style) made.style.cssText = made.dataset.at = style;
      made.classList.toggle("sv-weak", Boolean(card.weak));
      made.classList.toggle("sv-rejected", Boolean(card.rejected));
      made.classList.toggle("sv-parting", Boolean(card.parts));
      made.classList.toggle("sv-acting", Boolean(card.acting));
      if (card.node !== undefined) {
        made.setAttribute("aria-label", describe(run, frame, card.node, view));
        made.setAttribute("aria-level", String(frame.nodes.depth[card.node] + 1));
      } else if (card.stub !== undefined) made.setAttribute("aria-label", `Open ${card.count} folded nodes below node ${card.stub}`);
      else made.setAttribute("aria-label", `Bonus token of ${card.bonus}: ${card.label}, ${card.digits}`);
    }
    for (const [key, made] of layer.known)
      if (!seen.has(key)) {
        made.remove();
        layer.known.delete(key);
      }
    const heads = layer.parts.heads, wanted = titles.map((title) => title.join()).join("|");
    if (heads.dataset.titles !== wanted) {
      heads.dataset.titles = wanted;
      heads.replaceChildren(...titles.map(([left, text]) => {
        const head = ns.panels.el("span", { class: "sv-columnhead" }, text);
        head.style.left = `${left}px`;
        return head;
      }));
    }
  }

  function makeCard(layer, card) {
    const { el } = ns.panels, children = [el("span", { class: "sv-cardtoken", dir: "auto" }), el("span", { class: "sv-carddigits" })];
    if (card.node) children.push(el("span", { class: "sv-pips" }));
    const kind = card.node !== undefined ? "node" : card.bonus ? "bonus" : "stub";
    const attributes = {
      node: { role: "treeitem", tabindex: -1, "data-node": card.node, "aria-selected": "false" },
      bonus: { type: "button", tabindex: -1, "data-bonus": card.bonus },
      stub: { type: "button", "data-stub": card.stub },
    }[kind];
    const made = el(kind === "node" ? "div" : "button", { class: `sv-card sv-card-${kind}${card.node === 0 ? " sv-card-root" : ""}`, ...attributes }, children);
    layer.parts[kind === "node" ? "nodes" : "others"].append(made);
    return made;
  }

  /** One mark a verifier, each in its own place, so that the place tells whose it is where the colour does not. */
  function mark(place, pips) {
    while (place.children.length > pips.length) place.lastChild.remove();
    pips.forEach(([role, state], i) => {
      const made = place.children[i] || place.appendChild(document.createElement("i")), key = `${role}${state}`;
      if (made.dataset.pip === key) return;
      made.dataset.pip = key;
      made.textContent = state && ns.outcomes[state].mark;
      made.style.color = `var(--sv-${state === "." ? "muted" : role})`;
    });
  }

  const write = (place, text) => place.textContent !== text && (place.textContent = text);

  /** What a card says to somebody who cannot see it. */
  function describe(run, frame, node, view) {
    const text = frame.nodes.text[node], known = view.known, said = [`node ${node}, token ${text}`];
    if (node) said.push(`draft ${ns.digits(frame.nodes.q[node])}`);
    if (node && known.target) said.push(`target ${ns.digits(frame.nodes.p[node])}`);
    const state = (known.states[view.lens] || "")[node];
    if (node && state) said.push(`${view.lens}: ${ns.outcomes[state].words}`);
    return said.join(", ");
  }

  ns.cards = { makeLayer, lay };
})(window);
