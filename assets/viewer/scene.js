/* The draft tree as a picture: cards, bars, edges and ribbons, expanded from a frame's columns.
 *
 * Two layers. Plotly draws the shapes, in a few traces. Labels and state marks are elements above it (one a card), because
 * they are what is focused, read aloud and lit by a pointer elsewhere, and because Plotly needs half a millisecond each.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { palette, Pen, traces, paint, round } = ns.scene;
  const BAR_TOP = 4.5, BAR_STEP = 6, PIP = 9, STUB_WIDTH = 96, RIBBON_STEP = 4.4, NO_PATH = new Set();

  /**
   * Draw one step's tree.
   * view: {lens, shown: Set of verifier names, open: Set of unfolded nodes, scale, known: see phases.js}
   * Returns what can be hit: [{left, top, right, bottom, node | stub | bonus}], in units of scale 1.
   */
  function drawTree(div, layer, run, frame, view) {
    const g = run.geometry, tree = frame.tree, colours = palette(div), known = view.known;
    const spot = layoutOf(run, frame, view.open);
    const byName = traces(run.figures.tree, colours, view.scale);
    const verifiers = run.verifiers.filter((v) => view.shown.has(v.name) && tree.states[v.name]);
    const halfWidth = g.cardWidth / 2, halfHeight = g.cardHeight / 2;
    const hits = [], cards = [], pens = new Map();
    const pen = (name) => pens.get(name) || pens.set(name, new Pen()).get(name);
    const lens = known.states[view.lens] || "", depthOf = frame.nodes.depth;
    const barRoom = g.cardWidth - 20 - PIP * Math.max(3, verifiers.length);

    const parts = known.parts && verifiers.length > 1 ? tree.parts : null;
    const pipsOf = (node) => verifiers.map((v) => [v.role, (known.states[v.name] || "")[node] || ""]);

    for (let node = 0; node < spot.y.length; node++) {
      const y = spot.y[node];
      if (y === null || depthOf[node] > known.depth) continue;
      const x = tree.x[node], left = x - halfWidth, state = lens[node] || ".";
      const taken = verifiers.some((v) => known.states[v.name] && known.states[v.name][node] === "a");
      const faint = state === "." && !taken && known.judged;
      const look = node && (faint || state !== ".") ? ns.outcomes[state].card : "passed";
      pen(`card.${look}`).rect(left, y - halfHeight, g.cardWidth, g.cardHeight);
      const spotHit = { left, top: y - halfHeight, right: left + g.cardWidth, bottom: y + halfHeight, node };
      hits.push(spotHit);
      cards.push({ ...spotHit, label: tree.label[node], digits: digitsOf(tree.digits[node], known), weak: faint, rejected: state === "r", acting: node === known.acting, parts: node === parts, pips: node && known.target ? pipsOf(node) : [] });
      if (!node) continue;
      bar("draft", tree.draft[node], left, y + BAR_TOP);
      if (known.target) bar("target", tree.target[node], left, y + BAR_TOP + BAR_STEP);
      edge(node, y, left);
    }

    function bar(role, thousandths, left, y) {
      pen("bar.rail").to(left + 8, y).to(left + 8 + barRoom, y).lift();
      if (thousandths) pen(`bar.${role}`).to(left + 8, y).to(round(left + 8 + (barRoom * thousandths) / 1000), y).lift();
    }

    function edge(node, y, left) {
      const parent = tree.parent[node], from = tree.x[parent] + halfWidth, height = spot.y[parent];
      pen(`edge.${known.target ? tree.edge[node] : 0}`).curve(from, height, left, y, 0).lift();
      const users = verifiers.filter((v) => (known.paths[v.name] || NO_PATH).has(node));
      users.forEach((v, i) => pen(`path.${v.name}`).curve(from, height, left, y, (i - (users.length - 1) / 2) * RIBBON_STEP).lift());
    }

    const bonusLeft = g.left + g.column * spot.columns;
    for (const card of spot.bonus) {
      const v = verifiers.find((one) => one.name === card.verifier);
      if (!v || !known.bonus.has(v.name) || spot.y[card.node] === null || card.y === undefined) continue;
      const from = tree.x[card.node] + halfWidth;
      pen(`path.${v.name}`).curve(from, spot.y[card.node], tree.x[card.node] + g.column - halfWidth, card.y, 0).to(bonusLeft, card.y).lift();
      const top = card.y - g.bonusHeight / 2;
      pen(`path.${v.name}`).rect(bonusLeft, top, g.bonusWidth, g.bonusHeight);
      const spotHit = { left: bonusLeft, top, right: bonusLeft + g.bonusWidth, bottom: top + g.bonusHeight, bonus: v.name };
      hits.push(spotHit);
      cards.push({ ...spotHit, label: card.label, digits: card.note });
    }
    for (const [parent, y] of known.whole ? spot.stubs : []) {
      const left = tree.x[parent] + g.column - halfWidth, [count] = ns.scene.hiddenBelow(tree, spot.y, parent);
      pen("edge.stub").curve(tree.x[parent] + halfWidth, spot.y[parent], left, y, 0).lift();
      pen("card.stub").rect(left, y - 8.5, STUB_WIDTH, 17);
      const spotHit = { left, top: y - 8.5, right: left + STUB_WIDTH, bottom: y + 8.5, stub: parent };
      hits.push(spotHit);
      cards.push({ ...spotHit, label: `+ ${count} folded`, count });
    }
    for (const [name, drawn] of pens) Object.assign(byName.get(name), { x: drawn.x, y: drawn.y });
    paint(div, run.figures.tree, byName, spot.width, spot.height, view.scale);
    colours.done();
    const titles = ["last token", ...Array.from({ length: spot.columns - 1 }, (_, i) => `depth ${i + 1}`)].map((text, i) => [g.left + g.column * i, text]);
    ns.cards.lay(layer, run, frame, cards, [...titles, [bonusLeft, "bonus token"]], view);
    return { hits, width: spot.width, height: spot.height, folded: spot.folded };
  }

  /** Positions of a step's cards with these folds open. */
  const layoutOf = (run, frame, open) => (open.size ? ns.scene.place(frame.tree, run.geometry, open) : frame.tree);

  const digitsOf = (digits, known) => (known.target || !digits ? digits : digits.split(" → ")[0]);

  Object.assign(ns.scene, { drawTree, layoutOf });
})(window);
