/* What is said and drawn of a decision, and where its numbers stand in the run. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { decisionsOf } from "../../../assets/viewer/core/columns.js";
import { verdictPath } from "../../../assets/viewer/core/python_path.js";
import { arithmetic, division, eldersOf, pictureKind, sentence, takenBy } from "../../../assets/viewer/panels/decision.js";
import { skippedFor } from "../../../assets/viewer/panels/inspector.js";
import { placesOf } from "../../../assets/viewer/panels/decision_pictures.js";
import { asPython } from "../../../assets/viewer/tools/copy.js";
import { FIRST } from "./frames.js";

const frame = FIRST["4,2,2"];
const plain = (parts) => parts.map((part) => (typeof part === "string" ? part : part.strong ?? part.token ?? part.text ?? `[${part.value}]`)).join("");
/** The first decision of a verifier of the sample, changed. */
const decision = (verifier, changes = {}) => ({ ...decisionsOf(frame.verdicts.find((one) => one.verifier === verifier))[0], ...changes });

test("rules with a coin get a coin, the others a picture of their own without one", () => {
  const kinds = Object.fromEntries(frame.verdicts.map((verdict) => [verdict.verifier, pictureKind(decisionsOf(verdict)[0])]));
  assert.deepEqual(kinds, { rejection: "coin", traversal: "coin", longest_path: "coin", eta: "level", naive: "tokens", greedy: "tokens" });
  assert.equal(pictureKind(decision("rejection", { uniform: null })), null);
  assert.equal(pictureKind(decision("eta", { p: null })), null);
});

test("the sentence says what the numbers give, whatever the outcome", () => {
  const said = (verifier, changes, state) => plain(sentence(frame, verifier, decision(verifier, changes), state));
  assert.equal(said("rejection", { uniform: 0.25, threshold: 0.5, outcome: "a" }, "a"), "Accepted by rejection: the coin [0.25] fell inside the accept zone, 0 to [0.5].");
  assert.equal(said("rejection", { uniform: 0.75, threshold: 0.5, outcome: "r" }, "r"), "Rejected by rejection: the coin [0.75] missed the accept zone, 0 to [0.5].");
  assert.equal(said("rejection", { uniform: 0.75, threshold: 0.5, outcome: "a" }, "a"), "Accepted by rejection: the coin [0.75] missed the accept zone, 0 to [0.5].");
  assert.match(said("rejection", { uniform: 0.75, threshold: 2.5, outcome: "a" }, "a"), /the accept zone is everything, so the coin \[0.75\] could not miss it/);
  assert.match(said("longest_path", { uniform: 0.25, threshold: 0.5, outcome: "p" }, "p"), /^Passed, not chosen by longest_path: the coin/);
  assert.match(said("eta", { p: 0.25, threshold: 0.09, outcome: "a" }, "a"), /gives it \[0.25\], more than the \[0.09\] that it takes\. No coin/);
  assert.match(said("eta", { p: 0.05, threshold: 0.09, outcome: "r" }, "r"), /gives it \[0.05\], no more than the \[0.09\]/);
  const own = frame.nodes.token[decision("greedy").node], other = Object.keys(frame.tokens).map(Number).find((id) => id !== own);
  assert.match(said("greedy", { expected: own, outcome: "a" }, "a"), /it is the target's likeliest token\. No coin/);
  assert.ok(said("greedy", { expected: other, outcome: "r" }, "r").endsWith(`the target's likeliest token is ${frame.tokens[other]}. No coin is flipped.`));
  assert.ok(said("naive", { expected: other, outcome: "r" }, "r").endsWith(`the target drew ${frame.tokens[other]} instead.`));
  assert.ok(said("naive", { expected: own, outcome: "a" }, "a").endsWith("the target drew this token itself."));
});

test("a comparison of two numbers that read the same is told by its outcome", () => {
  const same = { uniform: 0.4, threshold: 0.4 };
  assert.deepEqual(["a", "r"].map((outcome) => plain(arithmetic(frame, "rejection", decision("rejection", { ...same, outcome })).said)), ["u [0.4] < [0.4] threshold", "u [0.4] ≥ [0.4] threshold"]);
  assert.equal(arithmetic(frame, "rejection", decision("rejection", { uniform: 0.1, threshold: 0.6, outcome: "r" })).holds, true);
  assert.equal(arithmetic(frame, "greedy", decision("greedy", { expected: null })).holds, null);
});

test("a division is shown only where it comes out", () => {
  const parts = (changes) => division(frame, "rejection", decision("rejection", { rule: "u < p/q", ...changes }));
  assert.equal(plain(parts({ p: 0.32, q: 0.448, threshold: 0.32 / 0.448 })), `[0.32] ÷ [0.448] = [${0.32 / 0.448}]`);
  assert.equal(parts({ p: 0.32, q: 0.448, threshold: 0.72 }), null);
  assert.equal(parts({ p: 0.32, q: 0, threshold: 1 }), null);
  assert.equal(parts({ rule: "u < worth of the path", p: 0.32, q: 0.448, threshold: 0.32 / 0.448 }), null);
});

test("every number has its place in the run, and a verifier's name is written as Python reads it", () => {
  const at = decisionsOf(frame.verdicts[0]).length - 1, last = decisionsOf(frame.verdicts[0])[at], { verifier } = frame.verdicts[0];
  const paths = arithmetic(frame, verifier, last).said.filter((part) => typeof part === "object").map(({ path }) => path);
  assert.deepEqual(paths, ["uniform", "threshold"].map((field) => `trace.steps[${frame.step}].verdicts["${verifier}"].decisions[${at}].${field}`));
  assert.equal(verdictPath(6, 'a"\\\n'), 'trace.steps[6].verdicts["a\\"\\\\\\n"]');
  assert.equal(asPython([{ path: "trace.a", value: "0.5" }, { path: "trace.b", value: "1" }, { path: "trace.a", value: "0.5" }]), "trace.a  # 0.5\ntrace.b  # 1\n");
});

test("what a rejection took is min(p, q), what it left max(p − q, 0) scaled to 1", () => {
  const ids = [11, 12, 13, 14], p = [0.4, 0.3, 0.2, 0.1], q = [0.1, 0.1, 0.7, 0.1], kept = p.map((one, i) => Math.max(one - q[i], 0)), mass = kept.reduce((a, b) => a + b);
  const verdict = { ...frame.verdicts.find((one) => one.verifier === "rejection") }, [first] = decisionsOf(verdict), nodes = { ...frame.nodes, token: frame.nodes.token.with(first.node, 13) };
  const rejected = { ...first, p: 0.2, q: 0.7, residual: { mass, ids, probs: kept.map((one) => one / mass) } };
  const { rows, least } = takenBy({ ...frame, nodes }, verdict, rejected, { ids, probs: p }, first.node);
  assert.deepEqual([rows.map(({ token }) => token), least], [ids, 0]);
  rows.forEach(({ before, left, after }, i) => {
    assert.equal(before, p[i]);
    assert.ok(Math.abs(left - kept[i]) < 1e-12 && Math.abs(before - left - Math.min(p[i], q[i])) < 1e-12);
    assert.ok(Math.abs(after - kept[i] / mass) < 1e-12);
  });
  // A list that is cut says of what it does not name only that it is no more than its last entry.
  const cut = { ...rejected, residual: { mass, ids: [11, 12], probs: [0.6, 0.3] } };
  assert.deepEqual(takenBy({ ...frame, nodes }, verdict, cut, { ids, probs: p }, first.node).rows.map(({ after }) => after), [0.6, 0.3, null, null]);
  assert.equal(takenBy(frame, verdict, { ...first, residual: null }, { ids, probs: p }, first.node), null);
});

test("elders are earlier decisions about children of the same parent", () => {
  for (const verdict of frame.verdicts)
    for (const one of decisionsOf(verdict)) {
      const elders = eldersOf(frame, verdict, one);
      assert.ok(elders.every((elder) => elder.at < one.at && frame.tree.parent[elder.node] === frame.tree.parent[one.node]));
    }
});

test("nothing of a picture leaves it", () => {
  for (const mark of [0, 0.001, 0.3, 0.5, 0.81, 1, 40])
    for (const found of [0.0001, 0.5, 0.9999]) {
      const places = placesOf(mark, found, 1);
      for (const x of [places.mark, places.found, places.above, places.below]) assert.ok(x >= 8 && x <= 302, `${mark} ${found} ${x}`);
      assert.ok(places.above >= 46 && places.above <= 264);
    }
  assert.equal(placesOf(0.5, 0.25, 0.5).mark, 302);
});

test("a node that was not examined says what above it was rejected, or where the path went", () => {
  const tree = { parent: [-1, 0, 0, 1, 3, 2], states: { chain: ".ar...", both: ".aa...", none: ".rr..." } };
  const why = (verifier, path, node) => skippedFor({ tree }, { verifier, path }, node);
  assert.equal(why("none", [], 3), "node 1, which it follows, was rejected");
  assert.equal(why("none", [], 4), "node 1, which it follows, was rejected", "however far above");
  assert.equal(why("chain", [1], 3), "its path ends at node 1");
  assert.equal(skippedFor({ tree: { ...tree, states: {} } }, { verifier: "other", path: [] }, 1), "its path ends at the root");
  assert.equal(why("both", [1, 3], 5), "it took another way through the tree");
});
