/* One hover and one selection for everything: a node lights its card, its word, its cache slots and its table rows, and
 * each of them lights the node. Inside the tree the arrow keys walk from card to card.
 *
 * An element that stands for a node says so with data-node (or data-bonus, for a verifier's bonus token); a picture
 * that Plotly draws gives the rectangles of its nodes, and gets outlines laid over it.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});

  /** pictures: [{box, hits: () => [{left, top, right, bottom, node}]}] besides the tree; act: {select}. */
  function make(ui, state, pictures, act) {
    const { el } = ns.panels;
    let hover = null, home = 0;
    for (const picture of pictures) {
      picture.layer = el("div", { class: "sv-outlines", "aria-hidden": "true" });
      picture.box.parentElement.classList.add("sv-linked");
      picture.box.parentElement.append(picture.layer);
    }

    /** Light everything that stands for `target`: {node} or {bonus} or null. */
    function light(target) {
      const same = (a, b) => (a && b ? a.node === b.node && a.bonus === b.bonus : a === b);
      if (same(hover, target)) return;
      hover = target;
      refresh();
    }

    function refresh() {
      for (const marked of ui.root.querySelectorAll(".sv-lit, .sv-picked")) marked.classList.remove("sv-lit", "sv-picked");
      for (const card of ui.layer.querySelectorAll("[aria-selected=true]")) card.setAttribute("aria-selected", "false");
      mark(state.selected === null ? null : { node: state.selected }, "sv-picked");
      mark(hover, "sv-lit");
      for (const picture of pictures) outline(picture);
      const card = cardOf(state.selected);
      if (card) card.setAttribute("aria-selected", "true");
      rove();
    }

    function mark(target, name) {
      if (!target) return;
      const key = target.node === undefined ? `[data-bonus="${CSS.escape(target.bonus)}"]` : `[data-node="${target.node}"]`;
      for (const found of ui.root.querySelectorAll(key)) {
        found.classList.add(name);
        const row = found.closest(".sv-body details tr");
        if (row) row.classList.add(name);
      }
    }

    function outline(picture) {
      const wanted = [[state.selected, "sv-picked"], [hover ? hover.node : null, "sv-lit"]];
      const boxes = wanted.flatMap(([node, name]) => (node === null || node === undefined ? [] : picture.hits().filter((hit) => hit.node === node).map((hit) => {
        const box = el("div", { class: `sv-outline ${name}` });
        box.style.cssText = `left:${picture.box.offsetLeft + hit.left - 3}px;top:${picture.box.offsetTop + hit.top - 3}px;width:${hit.right - hit.left + 6}px;height:${hit.bottom - hit.top + 6}px`;
        return box;
      })));
      picture.layer.replaceChildren(...boxes);
    }

    /** What an element stands for, if it stands for something. */
    function standsFor(at) {
      if (!at.closest) return null;
      const row = at.closest(".sv-body details tr");
      const found = at.closest("[data-node], [data-bonus]") || (row && row.querySelector("[data-node]"));
      if (!found) return null;
      return found.dataset.node === undefined ? { bonus: found.dataset.bonus } : { node: Number(found.dataset.node) };
    }

    ui.root.addEventListener("pointerover", (event) => {
      if (!event.target.closest("[data-picture]")) light(standsFor(event.target));
    });
    ui.root.addEventListener("pointerleave", () => light(null));
    ui.root.addEventListener("focusin", (event) => light(event.target.matches(":focus-visible") ? standsFor(event.target) : hover));

    /* ------------------------------------------------------------------------------------------- tree keys */

    const cardOf = (node) => (node === null ? null : ui.layer.querySelector(`[role=treeitem][data-node="${node}"]`));

    /** One card is in the tab order: the one that was left, else the selected one, else the root. */
    function rove() {
      const chosen = cardOf(home) || cardOf(state.selected) || cardOf(0);
      for (const card of ui.layer.querySelectorAll("[role=treeitem]")) card.tabIndex = card === chosen ? 0 : -1;
    }

    function focus(node) {
      const card = cardOf(node);
      if (!card) return;
      home = node;
      rove();
      card.focus({ preventScroll: true });
      show(node);
      // A selection must not move the page; the keys of somebody who cannot see what they walk on must.
      const spot = card.getBoundingClientRect();
      if (spot.top < 0 || spot.bottom > root.innerHeight) card.scrollIntoView({ block: "center", inline: "nearest" });
    }

    /** Scroll the tree, never the page, so that a card is in sight. */
    function show(node) {
      const card = cardOf(node), box = ui.treeBox;
      if (!card) return;
      const spot = card.getBoundingClientRect(), room = box.getBoundingClientRect(), margin = 12;
      if (spot.left < room.left) box.scrollLeft += spot.left - room.left - margin;
      if (spot.right > room.right) box.scrollLeft += spot.right - room.right + margin;
      if (spot.top < room.top) box.scrollTop += spot.top - room.top - margin;
      if (spot.bottom > room.bottom) box.scrollTop += spot.bottom - room.bottom + margin;
    }

    function neighbour(node, way) {
      const frame = state.frames.get(state.step), at = state.hits.find((hit) => hit.node === node);
      const column = state.hits.filter((hit) => hit.node !== undefined && hit.left === at.left).sort((a, b) => a.top - b.top);
      return column[column.findIndex((hit) => hit.node === node) + way] && column[column.findIndex((hit) => hit.node === node) + way].node;
    }

    const STEPS = {
      ArrowLeft: (node, tree) => (node ? tree.parent[node] : 0),
      ArrowRight: (node, tree) => state.hits.filter((hit) => hit.node && tree.parent[hit.node] === node).map((hit) => hit.node)[0],
      ArrowUp: (node) => neighbour(node, -1),
      ArrowDown: (node) => neighbour(node, 1),
    };

    ui.layer.addEventListener("keydown", (event) => {
      const card = event.target.closest("[role=treeitem]");
      if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
      const node = Number(card.dataset.node);
      if (STEPS[event.key]) {
        const next = STEPS[event.key](node, state.frames.get(state.step).tree);
        const stub = event.key === "ArrowRight" && ui.layer.querySelector(`[data-stub="${node}"]`);
        if (next !== undefined) focus(next);
        else if (stub) stub.focus();
      } else if (event.key === "Enter" || event.key === " ") act.select(node);
      else if (event.key === "Escape") card.blur();
      else return;
      event.preventDefault(); // the page's own keys look at this
    });
    ui.layer.addEventListener("focusin", (event) => {
      const card = event.target.closest("[role=treeitem]");
      if (card) home = Number(card.dataset.node);
    });
    // A click selects and leaves the keys with the steps: only the Tab key (or t) goes into the tree.
    ui.layer.addEventListener("mousedown", (event) => {
      event.preventDefault();
      if (document.activeElement) document.activeElement.blur();
    });

    return { light, refresh, focusTree: (start) => focus(start ?? (cardOf(home) ? home : 0)), show };
  }

  ns.links = { make };
})(window);
