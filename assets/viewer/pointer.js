/* Pointing at the two pictures: what is under the pointer, what it says, what a click on it does. */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});

  ns.pointer = function (ui, state, act) {
    const { el, swatch, token, digits } = ns.panels;
    const frameNow = () => state.frames.get(state.step);

    function hit(event, div, hits, scale) {
      const box = div.getBoundingClientRect();
      const x = (event.clientX - box.left) / scale, y = (event.clientY - box.top) / scale;
      return hits.find((h) => x >= h.left && x <= h.right && y >= h.top && y <= h.bottom) || null;
    }

    const inTree = (event) => hit(event, ui.tree, state.hits, state.scale);
    const inCache = (event) => hit(event, ui.cache, state.cacheHits, 1);

    ui.stage.addEventListener("click", (event) => {
      // Enter and Space on a fold come without a place of their own.
      const stub = event.target.closest("[data-stub]"), found = stub ? { stub: Number(stub.dataset.stub) } : inTree(event);
      if (!found) return;
      if (found.stub !== undefined) act.unfold(found.stub);
      else act.select(found.bonus ? bonusOf(found.bonus).node : found.node);
    });
    ui.cache.addEventListener("click", (event) => {
      const found = inCache(event);
      if (found && found.node !== null && found.node !== undefined) act.select(found.node);
    });
    for (const [div, find] of [[ui.stage, inTree], [ui.cache, inCache]]) {
      div.addEventListener("pointermove", (event) => {
        const found = find(event);
        div.style.cursor = found ? "pointer" : "";
        tip(event, found);
        if (div === ui.cache) state.links.light(found && typeof found.node === "number" ? { node: found.node } : null);
      });
      div.addEventListener("pointerleave", () => {
        ui.tip.hidden = true;
        state.links.light(null);
      });
    }

    const bonusOf = (name) => frameNow().verdicts.find((v) => v.verifier === name).bonus;

    function tip(event, found) {
      const frame = frameNow();
      ui.tip.hidden = !found || !frame;
      if (ui.tip.hidden) return;
      ui.tip.replaceChildren(...tipLines(frame, found));
      const box = ui.root.getBoundingClientRect(), right = event.clientX - box.left > box.width / 2;
      ui.tip.style.left = `${event.clientX - box.left + (right ? -12 : 14)}px`;
      ui.tip.style.top = `${event.clientY - box.top + 16}px`;
      ui.tip.style.transform = right ? "translateX(-100%)" : "";
    }

    function tipLines(frame, found) {
      if (found.stub !== undefined) return [el("div", {}, `Nodes below node ${found.stub} that nobody accepted. Click to open.`)];
      if (found.bonus) return [el("div", {}, `${found.bonus}: bonus `, token(bonusOf(found.bonus).text)), el("div", {}, `drawn from the ${bonusOf(found.bonus).source} at node ${bonusOf(found.bonus).node}`)];
      if (found.slot) return slotLines(frame.caches[found.slot[0]], found.slot);
      const n = found.node, known = state.known || { target: true, states: frame.tree.states };
      const lines = [el("div", {}, token(frame.nodes.text[n]), ` node ${n}, token id ${frame.nodes.token[n]}`)];
      if (n) lines.push(el("div", {}, `draft ${digits(frame.nodes.q[n])}${known.target ? ` → target ${digits(frame.nodes.p[n])}` : ""}`));
      for (const v of n ? state.run.verifiers.filter((one) => known.states[one.name]) : [])
        lines.push(el("div", {}, swatch(v), ` ${v.name}: ${ns.panels.outcome(known.states[v.name][n])}`));
      return lines;
    }

    function slotLines(cache, [model, i]) {
      if (i === null) return [el("div", {}, "Nothing was kept for this slot.")];
      const fate = { k: "kept", m: `moved to ${cache.to[i]}`, d: "dropped", l: "cut off" }[cache.state[i]];
      return [el("div", {}, `${model} slot ${cache.slot[i]} `, token(cache.text[i])),
        el("div", {}, `position ${cache.position[i]}${cache.node[i] === null ? "" : `, node ${cache.node[i]}`}, ${fate}`), el("div", {}, `fingerprint ${cache.prints[i]}`)];
    }
  };
})(window);
