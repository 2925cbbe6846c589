/* Acceptances at the nodes that walks reached, summed over a range of steps. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { totalsOf } from "../../../assets/viewer/panels/range_totals.js";

const verdict = (verifier, path, acceptance) => ({ verifier, path, acceptance, emitted: path.length + 1, decisions: { node: [], outcome: "", rule: [], comparison: [], uniform: [], p: [], q: [], expected: [], details: { at: [], threshold: [], reason: [], residual: [] } }, rules: [] });
const frame = (optimum, verdicts) => ({ driver: "a", commit: { piece: ["x"] }, sums: { drafted: [], q: [], p: [] }, nodes: { rank: [0, 0, 0], depth: [0, 1, 2], outside: null, confidence: null, optimum }, tree: { parent: [-1, 0, 1] }, verdicts });
const run = { verifiers: [{ name: "a" }, { name: "b" }], engine: null, totals: { formulas: {}, ranks: { names: [] }, advice: null } };

test("totals of a range sum acceptances over the nodes with children that a walk reached", () => {
  const frames = new Map([[0, frame([0.5, 0.75, null], [verdict("a", [1], [0.25, 0.5, null]), verdict("b", [1], null)])], [1, frame(null, [verdict("a", [], null), verdict("b", [], null)])]]);
  const [a, b] = totalsOf(run, frames, [0, 1]).verifiers;
  assert.deepEqual(a.atNodes, { nodes: 2, accepted: 1, expected: 0.75, optimum: 1.25 });
  assert.equal(b.atNodes, null, "a rule that does not decide node by node has none");
});
