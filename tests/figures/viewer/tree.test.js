/* What stands on cards, where the view of the tree goes, and the whole tree small. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { decisionsOf } from "../../../assets/viewer/core/columns.js";
import { fitted, held, LARGEST_ZOOM, showing, SMALLEST_ZOOM, zoomed } from "../../../assets/viewer/tree/camera.js";
import { chance, compared } from "../../../assets/viewer/tree/chance.js";
import { shortNames } from "../../../assets/viewer/tree/legend.js";
import { columns, fitting, shorten } from "../../../assets/viewer/tree/labels.js";
import { layOut } from "../../../assets/viewer/tree/layout.js";
import { inSight, miniature } from "../../../assets/viewer/tree/minimap.js";
import { shapeOf } from "../../../assets/viewer/tree/ranks.js";
import { placeTip } from "../../../assets/viewer/tree/tip.js";
import { BLOCKS, FIRST, viewOf } from "./frames.js";

test("a chance has two digits, and is certain only where it is", () => {
  const wanted = { 0.714: "71%", 0.0412: "4.1%", 0.0995: "10%", 0.00714: "0.71%", 0.000098: "<.01%", 0: "0%", 1: "100%", 2.31: "100%", 0.9971: ">99%", 0.9949: "99%" };
  for (const [value, said] of Object.entries(wanted)) assert.equal(chance(Number(value)), said);
});

test("what was decided is what is drawn: a coin only where one was flipped", () => {
  const kinds = new Map();
  for (const frame of BLOCKS.recorded.frames)
    for (const verdict of frame.verdicts)
      for (const decision of decisionsOf(verdict)) {
        const { said, line } = compared(frame, decision), name = verdict.verifier, passed = decision.outcome !== "r";
        kinds.set(name, (kinds.get(name) || new Set()).add(line?.kind || "none"));
        if (line) assert.equal(line.at >= line.from && line.at <= line.to, passed || line.at === line.to || line.at === line.from, `${name}: ${JSON.stringify(line)}`);
        if (name === "eta") assert.match(said, passed ? /^p > / : /^p ≤ /);
        if (name === "naive" || name === "greedy") assert.match(said, passed ? /^= (drawn|argmax)$/ : /^≠ .+/);
      }
  const one = (/** @type {string} */ kind) => new Set([kind]);
  assert.deepEqual(Object.fromEntries(kinds), { rejection: one("coin"), eta: one("value"), longest_path: one("coin"), traversal: one("coin"), naive: one("none"), greedy: one("none") });
});

test("labels are cut by columns, as in Python", () => {
  assert.equal(columns("日本"), 4);
  assert.equal(columns("é"), 1);
  assert.equal(shorten("日本語", 5), "日本…");
  assert.equal(shorten("abc", 3), "abc");
  assert.equal(fitting("a long token", 40, 13), "a lo…");
});

/* -------------------------------------------------------------------------------------------------------- view */

const BOX = { width: 936, height: 425 }, frame = FIRST["4,2,2"], spot = layOut(shapeOf(frame, viewOf(frame, {})), BOX);

test("a fitted tree stays where it is, and an enlarged one cannot leave its box", () => {
  assert.deepEqual(fitted(spot, BOX), { zoom: 1, x: 0, y: 0 });
  assert.deepEqual(held({ zoom: 1, x: 300, y: -90 }, spot, BOX), { zoom: 1, x: 0, y: 0 });
  const far = held({ zoom: 2, x: -9999, y: 9999 }, spot, BOX);
  assert.equal(far.y, 0);
  assert.equal(far.x, BOX.width - 2 * spot.scale * spot.width);
});

test("zooming keeps the place under the pointer, within its bounds", () => {
  const before = { zoom: 1, x: 0, y: 0 }, after = zoomed(before, 2, 300, 200);
  assert.equal((300 - after.x) / after.zoom, (300 - before.x) / before.zoom);
  assert.equal((200 - after.y) / after.zoom, (200 - before.y) / before.zoom);
  assert.equal(zoomed(before, 99, 0, 0).zoom, LARGEST_ZOOM);
  assert.equal(zoomed(before, 0.01, 0, 0).zoom, SMALLEST_ZOOM);
});

test("showing a card moves as little as brings it into sight", () => {
  const camera = { zoom: 3, x: 0, y: 0 }, hit = { left: spot.left[28], right: spot.left[28] + spot.wide[28], top: spot.y[28] - 10, bottom: spot.y[28] + 10 };
  assert.ok(!inSight(spot, camera, BOX).includes(28));
  const moved = showing(camera, hit, spot, BOX);
  assert.ok(inSight(spot, moved, BOX).includes(28));
  assert.deepEqual(showing(moved, hit, spot, BOX), moved);
});

test("the small picture has every node in its column, each at its height, the spine straight", () => {
  const large = FIRST.large, shape = shapeOf(large, viewOf(large, {})), { x, y, height } = miniature(shape);
  assert.equal(x.length, large.tree.parent.length);
  for (const [node, at] of y.entries()) assert.ok(at >= 0 && at <= height && x[node] >= 0 && x[node] <= 132);
  for (const node of [...shape.rank.keys()].filter((one) => shape.rank[one] === "path")) assert.equal(y[node].toFixed(6), y[0].toFixed(6));
});

test("names are cut where that still tells them apart", () => {
  assert.deepEqual([...shortNames(["rejection", "longest_path", "eta"]).values()], ["rejection", "longest", "eta"]);
  assert.deepEqual([...shortNames(["longest_path", "longest_path_2", "_private_name"]).values()], ["longest_path", "longest_path_2", "_private_name"]);
});

test("a tip stands beside the pointer, inside the window, and over nothing that is being read", () => {
  const window = { left: 0, top: 0, right: 1000, bottom: 700 }, size = { width: 240, height: 150 }, inspector = { left: 0, top: 420, right: 1000, bottom: 640 };
  assert.deepEqual(placeTip({ x: 100, y: 100 }, size, window, [inspector]), { x: 114, y: 116 });
  for (let x = 5; x < 1000; x += 35)
    for (let y = 5; y < 420; y += 23) {
      const card = { left: 330, top: 200, right: 500, bottom: 250 }, at = placeTip({ x, y }, size, window, [inspector, card]);
      const covers = (one) => at.x < one.right && at.x + size.width > one.left && at.y < one.bottom && at.y + size.height > one.top;
      assert.ok(at.x >= 0 && at.x + size.width <= 1000 && at.y >= 0 && at.y + size.height <= 700);
      assert.ok(!covers(inspector) && !covers(card) && !covers({ left: x, top: y, right: x, bottom: y }), `${x} ${y}`);
    }
});
