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
    for (const verdict of frame.verdicts) {
      const decisions = decisionsOf(verdict);
      assert.equal(decisions, decisionsOf(verdict), "read once");
      assert.equal(decisions.length, verdict.decisions.node.length);
      for (const one of decisions) {
        assert.ok(verdict.rules.includes(one.rule) && COMPARISONS.includes(one.comparison) && one.outcome in OUTCOMES);
        assert.ok(Math.abs(one.threshold - verdict.thresholds[one.node]) <= 1e-4 * Math.abs(one.threshold));
        assert.equal(one.full, !frame.tree.folded.includes(one.node));
        assert.equal(one.reason !== "", one.full);
        if (one.residual) assert.equal(one.outcome, "r");
      }
    }
  });

test("a node has its distributions, one where raw and processed are equal, none where none was recorded", () => {
  const { target } = FIRST["4,2,2"].nodes, found = distributionAt(target, 0);
  assert.deepEqual(found.raw, { ids: target.raw.ids[0], probs: target.raw.probs[0] });
  assert.equal(found.processed === found.raw, target.processed.ids[0] === null);
  assert.equal(distributionAt({ entropy: [null], raw: { ids: [null], probs: [null] }, processed: { ids: [null], probs: [null] } }, 0), null);
});

test("runs of columns become cells", () => {
  assert.deepEqual(cellsOf({ row: [2, 2, 4], first: [0, 5, 1], last: [1, 5, 1] }), new Map([[2, new Set([0, 1, 5])], [4, new Set([1])]]));
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
