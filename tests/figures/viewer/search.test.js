/* What a query finds in a tree, and what it is told where it finds nothing. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { search } from "../../../assets/viewer/tree/search.js";
import { FIRST } from "./frames.js";

const frame = FIRST["4,2,2"], { nodes, tree } = frame;
const where = (holds) => nodes.text.flatMap((_, node) => (node && holds(node) ? [node] : []));

test("a token by a part of its text, however it is written", () => {
  const node = nodes.text.findIndex((text, i) => i && /[a-z]/.test(text)), part = nodes.text[node].replaceAll("␣", " ").trim();
  for (const query of [part, part.toUpperCase(), `  ${part} `]) assert.ok(search(frame, query).nodes.includes(node), query);
  assert.deepEqual(search(frame, "no such token").nodes, []);
  assert.match(search(frame, "no such token").said, /No token/);
  assert.deepEqual(search(frame, "   "), { nodes: [], said: "" });
});

test("a node by its number", () => {
  for (const query of ["7", "node 7", "#7"]) assert.equal(search(frame, query).nodes[0], 7);
  assert.match(search(frame, "node 999").said, /its last one is 28/);
});

test("numbers compared", () => {
  assert.deepEqual(search(frame, "p < 0.01").nodes, where((node) => nodes.p[node] < 0.01));
  assert.deepEqual(search(frame, "q>=.2").nodes, where((node) => nodes.q[node] >= 0.2));
  assert.deepEqual(search(frame, "depth = 2").nodes, where((node) => nodes.depth[node] === 2));
  assert.match(search(frame, "p > 1").said, /No drafted token has p > 1/);
});

test("outcomes, of one verifier or of any", () => {
  assert.deepEqual(search(frame, "rejected by eta").nodes, where((node) => tree.states.eta[node] === "r"));
  assert.deepEqual(search(frame, "Accepted by REJECTION").nodes, where((node) => tree.states.rejection[node] === "a"));
  assert.deepEqual(search(frame, "accepted").nodes, where((node) => Object.values(tree.states).some((states) => states[node] === "a")));
  assert.deepEqual(search(frame, "not examined by greedy").nodes, where((node) => tree.states.greedy[node] === "."));
  assert.match(search(frame, "rejected by nobody").said, /No verifier of this step is called “nobody”; there are rejection/);
});

test("inside the step nothing is found that is not known yet", () => {
  const before = { depth: 1, target: false, states: {} };
  assert.match(search(frame, "p < 0.01", before).said, /has not scored/);
  assert.match(search(frame, "rejected by eta", before).said, /eta has not judged/);
  assert.deepEqual(search(frame, "depth = 2", before).nodes, []);
  assert.deepEqual(search(frame, "rejected by eta", { depth: Infinity, target: true, states: { eta: tree.states.eta } }).nodes, where((node) => tree.states.eta[node] === "r"));
});
