/* Reading what Python sends by the names of its columns. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { cellsOf, decisionsOf, distributionAt, rowsOf } from "../../../assets/viewer/core/columns.js";
import { COMPARISONS, OUTCOMES } from "../../../assets/viewer/core/constants.js";
import { maskRows } from "../../../assets/viewer/panels/mask_rows.js";
import { FIRST } from "./frames.js";

test("a row has what stands at one place in all columns, letters of a text too", () => {
  assert.deepEqual(rowsOf({ node: [3, 5], state: "ar" }), [{ node: 3, state: "a" }, { node: 5, state: "r" }]);
  assert.deepEqual(rowsOf({ node: [], state: "" }), []);
});

for (const [name, frame] of Object.entries(FIRST))
  test(`${name}: decisions have their rule, their comparison and a threshold, detailed or not`, () => {
    const size = frame.tree.parent.length, onPath = new Set([0, ...frame.verdicts.flatMap((verdict) => verdict.path)]);
    for (const verdict of frame.verdicts) {
      const decisions = decisionsOf(verdict);
      const detailed = (node) => size <= 64 || onPath.has(node) || onPath.has(frame.tree.parent[node]);
      assert.equal(decisions, decisionsOf(verdict), "read once");
      assert.equal(decisions.length, verdict.decisions.node.length);
      for (const one of decisions) {
        assert.ok(verdict.rules.includes(one.rule) && COMPARISONS.includes(one.comparison) && one.outcome in OUTCOMES);
        assert.ok(Number.isFinite(one.threshold) && (one.full || one.threshold === verdict.thresholds[one.node]));
        assert.equal(one.full, detailed(one.node));
        assert.equal(one.reason !== "", one.full);
        if (one.residual) assert.equal(one.outcome, "r");
      }
    }
  });

test("a node has its distributions, one where raw and processed are equal, none where none was recorded", () => {
  const raw = { node: [3, 4], ids: [[1, 2], [5]], probs: [[0.5, 0.25], [1]] }, processed = { node: [3], ids: [[1]], probs: [[1]] };
  const [third, fourth, fifth] = [3, 4, 5].map((node) => distributionAt({ node: [3, 4], entropy: [0.7, 0], unprocessed: [], raw, processed }, node));
  assert.deepEqual(third, { entropy: 0.7, raw: { ids: [1, 2], probs: [0.5, 0.25] }, processed: { ids: [1], probs: [1] } });
  assert.deepEqual([fourth.entropy, fourth.raw, fifth], [0, { ids: [5], probs: [1] }, null]);
  assert.equal(fourth.processed, fourth.raw);
  const { nodes } = FIRST["4,2,2"];
  for (const node of nodes.depth.keys()) assert.ok(distributionAt(nodes.target, node).raw.ids.length > 0);
});

test("runs of columns become cells", () => {
  assert.deepEqual(cellsOf({ row: [2, 4], first: [[0, 5], [1]], last: [[1, 5], [1]] }), new Map([[2, new Set([0, 1, 5])], [4, new Set([1])]]));
});

test("a sound mask sees a node's ancestors and itself, and nothing is wrong", () => {
  const frame = FIRST["4,2,2"], cache = frame.caches.target, rows = maskRows(cache);
  for (const [i, row] of rows.entries()) {
    assert.equal(row.wrong, false);
    const line = [];
    for (let node = cache.node[i]; node !== null && node >= 0; node = frame.tree.parent[node]) line.push(cache.node.indexOf(node));
    for (const at of line) assert.ok(row.must.has(at));
    assert.equal(row.must.size, line.length + cache.role.split("c").length - 1);
  }
});
