/* The laws of the layout, on trees of every shape, as they fit into a window, in a small one, and with all paths compared. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { allBelow } from "../../../assets/viewer/tree/folding.js";
import { DENSITIES, layOut } from "../../../assets/viewer/tree/layout.js";
import { phasesOf } from "../../../assets/viewer/tree/phases.js";
import { shapeOf } from "../../../assets/viewer/tree/ranks.js";
import { BLOCKS, FIRST, viewOf } from "./frames.js";

/** What the page leaves for the tree at 1280 x 800. */
const WINDOW = { width: 936, height: 425 }, SMALL = { width: 500, height: 240 }, PHONE = { width: 390, height: 300 };
const everything = (frame) => new Set(frame.tree.parent.keys());
const looks = [["in a window", WINDOW, {}], ["compared", WINDOW, { compare: true }], ["in a small window", SMALL, {}], ["on a telephone", PHONE, {}], ["compared on a telephone", PHONE, { compare: true }], ["all opened", WINDOW, { open: true }]];
const cases = Object.entries(FIRST).flatMap(([name, frame]) =>
  looks.flatMap(([said, box, { open, ...look }]) => ["rejection", "traversal"].filter((lens) => frame.tree.states[lens]).map((lens) => [`${name}, ${lens}, ${said}`, frame, box, viewOf(frame, { lens, ...look, open: open ? everything(frame) : new Set() })])));

const rectOf = (spot, node) => ({ left: spot.left[node], right: spot.left[node] + spot.wide[node], top: spot.y[node] - spot.high[node] / 2, bottom: spot.y[node] + spot.high[node] / 2 });
const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top + 1e-6 || b.bottom <= a.top + 1e-6;

for (const [name, frame, box, view] of cases) {
  const shape = shapeOf(frame, view), spot = layOut(shape, box), { parent, depth } = shape;
  const shown = spot.y.flatMap((y, node) => (y === null ? [] : [node])), path = shown.filter((node) => ["root", "path"].includes(shape.rank[node]));

  test(`${name}: the path that is watched is a straight line, with its bonus token`, () => {
    assert.deepEqual(path, [0, ...view.known.paths[view.lens]].sort((a, b) => a - b));
    const bonus = spot.bonus.find((card) => card.verifier === view.lens), across = spot.down ? spot.left : spot.y;
    assert.equal(spot.down, box === PHONE);
    assert.equal(new Set(path.map((node) => across[node].toFixed(6))).size, 1);
    assert.equal((spot.down ? bonus.left : bonus.y).toFixed(6), across[0].toFixed(6));
  });

  test(`${name}: no card overlaps another, and no line to a bonus token crosses one`, () => {
    const cards = [...shown.map((node) => rectOf(spot, node)), ...spot.bonus.map(({ left, wide, y, high }) => ({ left, right: left + wide, top: y - high / 2, bottom: y + high / 2 }))];
    cards.forEach((card, i) => cards.slice(i + 1).forEach((other) => assert.ok(apart(card, other), JSON.stringify([card, other]))));
    for (const { node, lane } of spot.down ? [] : spot.bonus)
      for (const other of shown) if (depth[other] > depth[node]) assert.ok(Math.abs(spot.y[other] - lane) > spot.high[other] / 2, `${node} ${other}`);
  });

  test(`${name}: edges do not cross`, () => {
    for (const at of new Set(depth)) {
      const across = spot.down ? spot.left : spot.y, edges = shown.filter((node) => node && depth[node] === at).map((node) => [across[parent[node]], across[node]]);
      const ends = edges.sort(([a, b], [c, d]) => a - c || b - d).map(([, end]) => end);
      assert.deepEqual(ends, [...ends].sort((a, b) => a - b));
    }
  });

  test(`${name}: everything lies inside the picture, and the picture in its box`, () => {
    const head = spot.down ? 0 : 22;
    for (const node of shown) {
      const { left, right, top, bottom } = rectOf(spot, node);
      assert.ok(left >= 0 && right <= spot.width && top >= head && bottom <= spot.height + 1e-6);
    }
    for (const { y, high } of spot.bonus) assert.ok(y - high / 2 >= head - 1e-6 && y + high / 2 <= spot.height + 1e-6);
    if (box === WINDOW && !view.open.size) {
      assert.ok(spot.height * spot.scale <= box.height + 1e-6 && spot.width * spot.scale <= box.width + 1e-6);
      assert.ok(spot.scale >= 0.75, String(spot.scale));
    }
  });

  test(`${name}: every node is drawn, or counted by one stub`, () => {
    const hidden = spot.stubs.map((stub) => allBelow(parent, stub.hidden));
    hidden.forEach((nodes, i) => assert.equal(nodes.size, spot.stubs[i].count));
    assert.deepEqual(hidden.flatMap((nodes) => [...nodes]).sort((a, b) => a - b), spot.y.flatMap((y, node) => (y === null ? [node] : [])));
    for (const { node } of spot.stubs) assert.notEqual(spot.y[node], null);
    for (const node of view.open) assert.notEqual(spot.y[node], null);
    for (const accepted of Object.values(view.known.paths)) for (const node of accepted) assert.notEqual(spot.y[node], null);
  });
}

test("28 nodes are never folded in a window of 1280 x 800, whichever step, verifier or phase", () => {
  for (const frame of BLOCKS.recorded.frames)
    for (const lens of Object.keys(frame.tree.states))
      for (const phase of [null, ...phasesOf(frame, lens).keys()]) {
        const spot = layOut(shapeOf(frame, viewOf(frame, { lens, phase })), WINDOW);
        assert.deepEqual([spot.folded, spot.scale >= 0.9], [0, true], `step ${frame.step}, ${lens}, phase ${phase}: ${spot.folded} folded, scale ${spot.scale}`);
      }
});

test("what more was made of stands larger, and the layout gives nothing away that is not known yet", () => {
  const frame = FIRST["4,2,2"], { path, tried, idle } = DENSITIES[0];
  assert.ok(path > tried && tried > idle);
  const before = shapeOf(frame, viewOf(frame, { lens: "rejection", phase: phasesOf(frame, "rejection").findIndex((phase) => phase.kind === "target") }));
  assert.deepEqual(new Set(before.rank.slice(1)), new Set(["idle"]));
  assert.deepEqual(before.ends, []);
});

test("a large window shows the tree larger", () => {
  const frame = FIRST["4,2,2"], shape = shapeOf(frame, viewOf(frame, {}));
  assert.ok(layOut(shape, { width: 1480, height: 780 }).scale > 1.3);
});

test("opening what a stub hides shows it, and a root alone is a tree", () => {
  const frame = FIRST.large, before = layOut(shapeOf(frame, viewOf(frame, {})), WINDOW), [stub] = before.stubs;
  const after = layOut(shapeOf(frame, viewOf(frame, { open: new Set(stub.hidden) })), WINDOW);
  for (const node of stub.hidden) assert.notEqual(after.y[node], null);
  const alone = FIRST["root only"];
  assert.deepEqual(layOut(shapeOf(alone, viewOf(alone, {})), WINDOW).heads.map((head) => head.text), ["last token", "bonus"]);
});

test("on a telephone siblings stand beside the path in their order, and every row is one depth", () => {
  for (const frame of BLOCKS.recorded.frames) {
    const shape = shapeOf(frame, viewOf(frame, {})), spot = layOut(shape, PHONE), { parent, depth, rank } = shape;
    assert.equal(spot.folded, 0);
    for (const at of new Set(depth)) {
      const row = [...parent.keys()].filter((node) => depth[node] === at), siblings = row.filter((node) => rank[node] !== "path" && ["root", "path"].includes(rank[parent[node]]));
      assert.equal(new Set(row.map((node) => spot.y[node])).size, 1);
      assert.ok(row.every((node) => depth.every((other, one) => other <= at || spot.y[one] > spot.y[node])));
      const order = siblings.toSorted((a, b) => shape.order.indexOf(a) - shape.order.indexOf(b));
      assert.deepEqual(siblings.toSorted((a, b) => spot.left[a] - spot.left[b]), order);
      if (siblings.length) assert.ok(spot.left[order[0]] < PHONE.width - 100, "the first of them is in sight");
    }
    const high = Math.min(...parent.keys().filter((node) => node).map((node) => spot.high[node] * spot.scale));
    assert.ok(high >= 44, `a finger meets ${high} pixels`);
  }
});

test("nine bonus tokens at a root whose children were all refused fold nothing: as many as that takes stand above the spine", () => {
  const parent = [-1, 0, 0, 0, 0, ...[1, 2, 3, 4].flatMap((up) => [up, up]), ...Array.from({ length: 8 }, (_, i) => [5 + i, 5 + i]).flat()];
  const depth = parent.map((_, node) => (node === 0 ? 0 : node < 5 ? 1 : node < 13 ? 2 : 3)), rank = depth.map((at) => ["root", "tried", "idle", "idle"][at]);
  const order = [], visit = (node) => (parent.forEach((up, kid) => up === node && visit(kid)), order.push(node));
  visit(0);
  const ends = Array.from({ length: 9 }, (_, i) => ({ verifier: `v${i}`, node: 0 })), spot = layOut({ parent, order, depth, rank, open: new Set(), ends }, WINDOW);
  assert.equal(spot.folded, 0);
  const [own, ...others] = ["v0", ...ends.slice(1).map(({ verifier }) => verifier)].map((name) => spot.bonus.find((card) => card.verifier === name));
  assert.equal(own.y, spot.y[0]);
  assert.ok(others.some(({ y }) => y < own.y));
  for (const card of [own, ...others]) assert.ok(card.y + card.high / 2 <= spot.height);
});
