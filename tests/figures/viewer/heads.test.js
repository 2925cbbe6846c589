/* Draft heads: what is said of their format, of the rows of a block and of their slots, and totals of the draft's numbers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { fitOf, intervalOf } from "../../../assets/viewer/panels/draft_totals.js";
import { blockRows, draftOf, saidOfHead, saidOfReads, statesSaid } from "../../../assets/viewer/panels/head.js";
import { maskRows } from "../../../assets/viewer/panels/mask_rows.js";
import { biasAt, ratioInterval, reachedNodes, wilson } from "../../../assets/viewer/panels/range_draft.js";
import { saidOfBias } from "../../../assets/viewer/panels/distributions.js";
import { slotsOf, sentenceOf, saidOfSlot } from "../../../assets/viewer/panels/slots.js";
import { BLOCKS } from "./frames.js";

const headOf = ({ run, frames: [frame] }) => draftOf(run, frame).head;

test("a head is told by its format, its forwards and what it can propose", () => {
  assert.equal(saidOfHead(headOf(BLOCKS.eagle3), 200), "EAGLE-3: one forward a level, 1 layer of its own, can propose 120 of 200 tokens");
  assert.equal(saidOfHead(headOf(BLOCKS.medusa), 200), "Medusa: one forward at the root drafts 4 levels, no keys and values of its own, can propose every token");
  assert.equal(saidOfReads({ reads: [2, 18, 36], before_norm: true }, 36), "the target after layers 2, 18, 36 of 36; 36 before the final norm");
  assert.equal(saidOfReads({ reads: [36], before_norm: false }, 36), "the target after layer 36 of 36; 36 after the final norm");
  assert.equal(saidOfReads({ reads: [0, 2], before_norm: true }, null), "the target after layers 0 (embeddings), 2", "of a target whose layers were not recorded nothing is said of the last");
});

test("a step that ran on another draft says so of that draft", () => {
  const { run, frames: [frame] } = BLOCKS.eagle3, other = { ...run.models.draft, head: null };
  assert.equal(draftOf(run, { ...frame, draftModel: other }).head, null);
});

test("the rows of a block are its root and its masked places, and which level each drafts is said where it is known", () => {
  const { frames } = BLOCKS.p_eagle, head = headOf(BLOCKS.p_eagle), rows = blockRows(head, frames[1]), first = frames[1].context - 2;
  assert.deepEqual(rows.map(({ position, masked, level }) => [position, masked, level]), [0, 1, 2, 3].map((i) => [first + i, i > 0, i + 1]));
  const dflash = headOf(BLOCKS.dflash), levels = (options) => blockRows({ ...dflash, options }, BLOCKS.dflash.frames[1]).map(({ level }) => level);
  assert.deepEqual(levels({}), [null, null, null, null]);
  assert.deepEqual(levels({ sample_from_anchor: false }), [0, 1, 2, 3]);
  assert.deepEqual(levels({ sample_from_anchor: true }), [1, 2, 3, 4]);
});

test("slots of a head say which state stands beside their token", () => {
  const eagle = BLOCKS.eagle3.frames[1].caches.draft, said = statesSaid(eagle), root = eagle.node.indexOf(0);
  assert.ok(said.slice(0, root + 1).every((one) => one.startsWith("the target's state at “")), "the text's pairs and the root's");
  assert.equal(said[eagle.node.indexOf(1)], "the head's own state at the root");
  assert.equal(statesSaid(BLOCKS.eagle3.frames[1].caches.target), null);
  const dspark = BLOCKS.dspark.frames[1].caches.draft, own = statesSaid(dspark);
  assert.deepEqual([...dspark.role].map((role, i) => role === "c" ? own[i].slice(0, 18) : own[i]), [...dspark.role].map((role) => role === "c" ? "the target's state" : "no state: a place of the block"));
  const masked = dspark.role.indexOf("m");
  assert.match(saidOfSlot(dspark, slotsOf(dspark), masked, true), /^masked place, holds no state.*dropped/);
  assert.match(sentenceOf(dspark, "tree"), /slots hold the block/);
  assert.match(sentenceOf(BLOCKS.medusa.frames[0].caches.draft, "after"), /has no cache/);
});

test("rows of a block see all of it, of one that is causal those before them", () => {
  const widths = (name) => {
    const { draft } = BLOCKS[name].frames[1].caches, rows = maskRows(draft);
    assert.ok(rows.every(({ wrong }) => !wrong), name);
    return rows.flatMap(({ must }, i) => (draft.role[i] === "c" ? [] : [must.size - draft.role.split("c").length + 1]));
  };
  assert.deepEqual(widths("dflash"), [4, 4, 4, 4]);
  assert.deepEqual(widths("p_eagle"), [1, 2, 3, 4]);
});

test("a bias says which of the likeliest tokens it lifts", () => {
  const [frame] = BLOCKS.dspark.frames, bias = biasAt(frame, 0), most = Math.max(...bias.map(({ by }) => by)), { id } = bias.find(({ by }) => by === most);
  assert.ok(saidOfBias(frame, bias, "x").includes(`lifts “${frame.tokens[id]}” most`));
  assert.match(saidOfBias(frame, [{ id, by: 0 }], "x"), /moves none of them/);
  assert.equal(biasAt(BLOCKS.eagle3.frames[0], 0), null);
});

test("of few steps no interval is given, and of many it says whether the draft is too sure", () => {
  assert.equal(ratioInterval(Array.from({ length: 9 }, () => [0.5, 1])), null);
  assert.equal(wilson(Array(9).fill(true)), null);
  assert.equal(intervalOf(null, null), "too few steps");
  // Ten steps of one node each are a plain mean, for which Student's interval is known: t(9) = 2.262.
  const values = [0.1, 0.4, 0.2, 0.3, 0.5, 0.2, 0.1, 0.4, 0.6, 0.2], mean = 0.3, deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 9);
  const [low, high] = ratioInterval(values.map((value) => [value, 1]));
  assert.ok(Math.abs(high - low - (2 * 2.262 * deviation) / Math.sqrt(10)) < 2e-4);
  // Wilson's interval of 10 of 10 ends at 1 and begins at 0.722.
  assert.deepEqual(wilson(Array(10).fill(true)).map((value) => value.toFixed(3)), ["0.722", "1.000"]);
  assert.deepEqual([fitOf(-0.2, -0.1), fitOf(0.1, 0.2), fitOf(-0.1, 0.2), fitOf(null, null)], ["too sure", "too unsure", "no difference seen", "too few steps"]);
});

test("nodes that the driver reached are those with children, to the last of its path", () => {
  for (const { frames } of Object.values(BLOCKS))
    for (const frame of frames) {
      const { path } = frame.verdicts.find(({ verifier }) => verifier === frame.driver), parents = new Set(frame.tree.parent);
      assert.deepEqual(reachedNodes(frame), [0, ...path].flatMap((node, depth) => (parents.has(node) ? [[node, depth < path.length]] : [])));
    }
});
