/* The laws of the layout, on trees of every shape, as they are folded at first and with everything open. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { CARD, foldsAbove, hiddenBelow, isFolded, layOut } from "../../../assets/viewer/tree/layout.js";
import { FIRST } from "./frames.js";

const everything = (frame) => new Set(frame.tree.parent.keys());
const cases = Object.entries(FIRST).flatMap(([name, frame]) => [[`${name}, folded`, frame, new Set()], [`${name}, open`, frame, everything(frame)]]);

for (const [name, frame, open] of cases) {
  const { tree, nodes } = frame, place = layOut(tree, nodes.depth, open), children = tree.parent.map(() => []);
  tree.parent.forEach((up, node) => up >= 0 && place.y[node] !== null && children[up].push(node));

  test(`${name}: parents stand midway between their first and last child`, () => {
    for (const [node, own] of children.entries()) if (own.length) assert.equal(place.y[node], (place.y[own[0]] + place.y[own.at(-1)]) / 2);
  });

  test(`${name}: no card overlaps another, and no edge to a bonus token crosses one`, () => {
    const columns = grouped(place);
    for (const own of columns.values()) {
      const heights = own.map((node) => place.y[node]).filter((y) => y !== null).sort((a, b) => a - b);
      heights.slice(1).forEach((y, i) => assert.ok(y - heights[i] >= CARD.height));
    }
    for (const { node, y } of place.bonus) {
      if (y === undefined) continue;
      for (const [other, at] of place.y.entries()) if (at !== null && place.x[other] > place.x[node]) assert.ok(Math.abs(at - y) > CARD.height / 2);
    }
    const drawn = place.bonus.filter(({ y }) => y !== undefined).map(({ y }) => y);
    assert.equal(new Set(drawn).size, drawn.length);
  });

  test(`${name}: edges do not cross`, () => {
    for (const depth of new Set(nodes.depth)) {
      const edges = [...nodes.depth.keys()].filter((node) => node && nodes.depth[node] === depth && place.y[node] !== null).map((node) => [place.y[tree.parent[node]], place.y[node]]);
      const ends = edges.sort(([a, b], [c, d]) => a - c || b - d).map(([, end]) => end);
      assert.deepEqual(ends, [...ends].sort((a, b) => a - b));
    }
  });

  test(`${name}: everything lies inside the picture`, () => {
    for (const [node, y] of place.y.entries()) {
      if (y === null) continue;
      assert.ok(y > CARD.height / 2 && y + CARD.height / 2 < place.height);
      assert.ok(place.x[node] + CARD.width / 2 < place.width);
    }
  });

  test(`${name}: every node is drawn, or hides behind a stub that counts it`, () => {
    const hidden = place.stubs.reduce((sum, { node }) => sum + hiddenBelow(tree, place.y, node).size, 0);
    assert.equal(hidden, place.folded);
    assert.equal(place.y.filter((y) => y === null).length, place.folded);
    if (open.size) assert.equal(place.folded, 0);
  });
}

function grouped(place) {
  const found = new Map();
  for (const [node, x] of place.x.entries()) found.set(x, [...(found.get(x) || []), node]);
  return found;
}

test("opening what is above a node brings it in sight, and little else", () => {
  const { tree, nodes } = FIRST.large, node = tree.folded.at(-1), above = foldsAbove(tree, node);
  assert.ok(isFolded(tree, node) && above.includes(node));
  const before = layOut(tree, nodes.depth, new Set()), after = layOut(tree, nodes.depth, new Set(above));
  assert.notEqual(after.y[node], null);
  assert.equal(before.folded - after.folded, above.length);
});

test("a small tree is never folded, and a root alone is a tree", () => {
  assert.deepEqual(FIRST["4,2,2"].tree.folded, []);
  const { tree, nodes } = FIRST["root only"];
  assert.equal(layOut(tree, nodes.depth, new Set()).columns, 1);
});
