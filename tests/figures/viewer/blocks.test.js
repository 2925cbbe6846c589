/* Taking blocks in, and what is known inside a step. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { blocksOf, isAside, isLate, takeMissing, takeRun } from "../../../assets/viewer/core/blocks.js";
import { emptyState } from "../../../assets/viewer/core/state.js";
import { knownIn, phasesOf } from "../../../assets/viewer/tree/phases.js";
import { BLOCKS, FIRST } from "./frames.js";

const whole = BLOCKS["4,2,2"];
const grown = (steps, more = {}) => ({ ...whole, run: { ...whole.run, steps }, frames: whole.frames.slice(0, steps), ...more });

test("a value is a block, a list of lists of them, or the text of either", () => {
  for (const value of [whole, [whole], [[whole, null]], JSON.stringify(whole)]) assert.equal(blocksOf(value)[0].run.id, whole.run.id);
  for (const value of [null, undefined, ""]) assert.deepEqual(blocksOf(value), []);
});

test("a reader at the end follows a run that goes on; one who went back stays", () => {
  const state = emptyState();
  assert.equal(takeRun(state, grown(1, { go: 0 })), true);
  assert.equal(takeRun(state, grown(2, { go: 1 })), false);
  assert.deepEqual([state.step, state.frames.size], [1, 2]);
  state.step = 0;
  state.selected = 4;
  takeRun(state, grown(3, { go: 2 }));
  assert.deepEqual([state.step, state.selected, state.frames.size], [0, 4, 3]);
});

test("whoever reads the newest step stays there, unless they have just asked for the next one", () => {
  for (const held of [{ phase: 2 }, { found: { nodes: new Set([3]), open: [] } }, { selected: 4 }, { touring: true }])
    for (const awaits of [false, true]) {
      const state = emptyState();
      takeRun(state, grown(1, { go: 0 }));
      Object.assign(state, held, { awaits });
      takeRun(state, grown(2, { go: 1, live: true }));
      assert.deepEqual([state.step, state.awaits], [awaits ? 1 : 0, false]);
    }
  const state = emptyState();
  takeRun(state, grown(1, { go: 0 }));
  Object.assign(state, { selected: 4, offered: true }); // by the page
  takeRun(state, grown(2, { go: 1 }));
  assert.equal(state.step, 1);
});

test("a step of another run stays out of sight of whoever turned to something else since it was asked for", () => {
  const state = emptyState(), other = { ...whole.run, id: "other" };
  takeRun(state, grown(1, { go: 0 }));
  const step = grown(2, { live: true, run: other });
  assert.deepEqual([isAside(state, step), isAside(state, grown(2, { live: true })), isAside(state, grown(2, { run: other }))], [true, false, false]);
  state.away = false; // Step or Run was pressed
  assert.equal(isAside(state, step), false);
  state.touring = true;
  assert.equal(isAside(state, step), true);
});

test("frames that were missing do not hide that a reader is at the end", () => {
  const state = emptyState();
  takeRun(state, grown(1, { go: 0 }));
  takeRun(state, grown(3, { fills: true })); // the run is ahead of what was shown
  assert.equal(state.step, 0);
  takeRun(state, grown(2, { go: 1 }));
  assert.equal(state.step, 1);
});

test("frames that were asked for before a step take no step back, and bring no other run into sight", () => {
  const state = emptyState();
  takeRun(state, grown(2, { go: 1 }));
  takeRun(state, grown(3, { go: 2 }));
  takeRun(state, grown(2, { fills: true })); // asked for after the second step, answered after the third
  assert.deepEqual([state.run.steps, state.step, [...state.frames.keys()]], [3, 2, [0, 1, 2]]);
  const other = grown(1, { fills: true, run: { ...whole.run, id: "other", steps: 1 } });
  assert.deepEqual([isLate(state.run, other), isLate(null, other), isLate(state.run, grown(1, { fills: true }))], [true, false, false]);
});

test("another run begins with nothing of the one before; a shorter one loses its frames", () => {
  const state = emptyState();
  takeRun(state, grown(3, { go: 2 }));
  Object.assign(state, { selected: 1, phase: 2, lens: "eta" });
  takeRun(state, grown(2));
  assert.deepEqual([...state.frames.keys()], [0, 1]);
  assert.equal(takeRun(state, grown(1, { run: { ...whole.run, id: "other", steps: 1 } })), true);
  assert.deepEqual([state.step, state.selected, state.phase, state.lens, state.frames.size], [0, null, null, null, 1]);
});

test("missing frames are asked for once, the nearest first; refused ones not at all", () => {
  const state = emptyState();
  takeRun(state, { ...whole, go: 1, run: { ...whole.run, steps: 6 }, frames: whole.frames.slice(0, 1), refused: [{ step: 2, text: "too large" }] });
  assert.deepEqual(takeMissing(state, 3), [1, 3, 4]);
  assert.deepEqual(takeMissing(state, 3), [5]);
  assert.equal(state.refused.get(2), "too large");
});

for (const [name, frame] of Object.entries(FIRST))
  test(`${name}: inside a step nothing is known before its phase`, () => {
    for (const { verifier, path } of frame.verdicts)
      phasesOf(frame, verifier).forEach((phase, i) => {
        const known = knownIn(frame, verifier, i), judges = Object.keys(known.states), drawn = [...known.bonus];
        if (phase.kind === "draft") assert.deepEqual([known.depth, known.target, judges, drawn], [phase.depth, false, [], []]);
        if (phase.kind === "target") assert.deepEqual([known.target, known.judged, judges, drawn], [true, false, [], []]);
        if (phase.kind === "decide") {
          assert.deepEqual([judges, drawn, known.taken], [[verifier], [], phase.upto]);
          for (const node of known.paths[verifier]) assert.ok(path.includes(node) || !frame.phases.verdicts[verifier].walk);
        }
        if (phase.kind === "verdict") assert.deepEqual([judges, drawn, [...known.paths[verifier]]], [[verifier], [verifier], path]);
        if (phase.kind === "commit" || phase.kind === "cache") assert.deepEqual(judges, frame.verdicts.map((one) => one.verifier));
      });
  });

test("new steps of a recording that is followed are for the run that was in sight when they were asked for", () => {
  const following = (asked) => ({ version: 2, asked, runs: [whole.run.id], head: "", rest: "", gate: "" });
  const news = (asked) => grown(3, { go: 2, following: following(asked) });
  assert.equal(isLate(null, news(null)), false);
  assert.equal(isLate(whole.run, news(whole.run.id)), false);
  assert.equal(isLate({ ...whole.run, id: "opened meanwhile" }, news(whole.run.id)), true);
  assert.equal(isLate(whole.run, { following: following("another") }), false); // words for the command bar are for everybody
});
