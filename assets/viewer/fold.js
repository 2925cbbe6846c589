/* Where cards stand after the reader opened folds: the same rule as specviz/figures/layout.py, for another set of nodes. */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});

  /** Positions with the nodes in `open` shown, and the stubs of those that stay folded. */
  function place(tree, geometry, open) {
    const size = tree.parent.length;
    const children = Array.from({ length: size }, () => []);
    const visible = tree.y.map((y, node) => y !== null || open.has(node));
    let all = 0;
    for (let node = 1; node < size; node++) {
      visible[node] = visible[node] && visible[tree.parent[node]];
      children[tree.parent[node]].push(node);
      all += visible[node] ? 1 : 0;
    }
    const extras = new Map();
    for (const card of tree.bonus) extras.set(card.node, [...(extras.get(card.node) || []), card.verifier]);
    const y = new Array(size).fill(null), bonus = {}, stubs = [];
    let cursor = geometry.top, columns = 1;
    const stack = [[0, 0]];
    while (stack.length) {
      const frame = stack[stack.length - 1];
      const node = frame[0], shown = children[node].filter((child) => visible[child]);
      if (frame[1] < shown.length) {
        stack.push([shown[frame[1]++], 0]);
        continue;
      }
      stack.pop();
      const depth = Math.round((tree.x[node] - tree.x[0]) / geometry.column);
      const stub = shown.length < children[node].length, names = extras.get(node) || [];
      const height = geometry.extraRow * (names.length + (stub ? 1 : 0));
      columns = Math.max(columns, depth + 1 + (stub ? 1 : 0));
      let top = cursor;
      if (shown.length) {
        y[node] = (y[shown[0]] + y[shown[shown.length - 1]]) / 2;
        cursor += height;
      } else {
        const own = Math.max(geometry.row, height);
        y[node] = cursor + own / 2;
        top = cursor + (own - height) / 2;
        cursor += own;
      }
      if (stub) {
        stubs.push([node, top + geometry.extraRow / 2]);
        top += geometry.extraRow;
      }
      names.forEach((name, i) => (bonus[name] = top + geometry.extraRow * (i + 0.5)));
    }
    return {
      y, stubs, columns, folded: size - 1 - all, bonus: tree.bonus.map((c) => Object.assign({}, c, { y: bonus[c.verifier] })),
      width: 2 * geometry.left + geometry.column * columns + geometry.bonusWidth, height: Math.floor(cursor) + 6,
    };
  }

  /** How many nodes hide behind the stub of `parent`. */
  function hiddenBelow(tree, y, parent) {
    let count = 0;
    const below = new Set();
    for (let node = 1; node < tree.parent.length; node++) {
      const up = tree.parent[node];
      if (y[node] === null && (up === parent || below.has(up))) {
        below.add(node);
        count++;
      }
    }
    return [count, below];
  }

  Object.assign(ns.scene, { place, hiddenBelow });
})(window);
