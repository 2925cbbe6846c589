/* The timeline and the story of what does not fit, which it marks. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { kindOf, saidOf, story } from "../../../assets/viewer/panels/findings.js";
import { totalsOf } from "../../../assets/viewer/panels/range_totals.js";
import { binsOf, extended, stepAt, timelineOf } from "../../../assets/viewer/panels/timeline.js";
import { BLOCKS, framesOf } from "./frames.js";

const whole = framesOf(BLOCKS["4,2,2"]);

test("a step has what became text, drafts and bonus apart, and says what every verifier accepted", () => {
  for (const { step, driver, drafts, bonus, said } of timelineOf(whole, whole.size)) {
    const frame = whole.get(step);
    assert.equal(driver, frame.driver);
    assert.equal(drafts + bonus, frame.commit.piece.length);
    assert.equal(drafts, frame.verdicts.find((v) => v.verifier === frame.driver).path.length);
    for (const { verifier, path } of frame.verdicts) assert.ok(said.includes(`${verifier} ${path.length}`));
  }
});

test("a step that has not come yet has no bar, and says so", () => {
  const steps = timelineOf(new Map([[0, whole.get(0)]]), 2), [first, second] = binsOf(steps, 100);
  assert.ok(first.most > 0);
  assert.deepEqual([second.driver, second.most, steps[1].said], [null, 0, "step 2: accepted not loaded"]);
});

test("as many bars as there is room for, each step in exactly one, at its place", () => {
  for (const [steps, width] of [[1, 780], [20, 780], [400, 780], [4000, 780], [400, 200]]) {
    const told = Array.from({ length: steps }, (_, step) => ({ step, driver: "d", drafts: step % 3, bonus: 1, kind: null, wrong: "", said: "" })), bins = binsOf(told, width);
    assert.deepEqual(bins.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i)), told.map(({ step }) => step));
    for (const { x, width: wide, first, last } of bins.slice(0, -1)) {
      assert.ok(wide >= 2.49);
      assert.deepEqual([stepAt(x + 0.01, width, steps), stepAt(x + wide - 0.01, width, steps)], [first, last]);
    }
  }
  assert.equal(binsOf(timelineOf(whole, whole.size), 780).length, whole.size);
  assert.deepEqual([stepAt(-5, 780, 20), stepAt(900, 780, 20)], [0, 19]);
});

test("of steps that share a bar the gravest fault is shown", () => {
  const told = ["after", "first", null, "again"].map((kind, step) => ({ step, driver: "d", drafts: 1, bonus: 1, kind, wrong: kind ? "x" : "", said: "" }));
  assert.deepEqual(binsOf(told, 5).map(({ kind }) => kind), ["first", "again"]);
});

test("totals of all steps are those of the run, and those of a part are of that part", () => {
  for (const [name, block] of Object.entries(BLOCKS)) {
    const frames = framesOf(block), { run } = block;
    assert.deepEqual(totalsOf(run, frames, [0, run.steps - 1]), run.totals, name);
    const last = totalsOf(run, frames, [run.steps - 1, run.steps - 1]);
    assert.equal(last.tokens, frames.get(run.steps - 1).commit.piece.length);
    const ended = ({ ends }) => ends.reduce((sum, n) => sum + n, 0);
    assert.equal(ended(last.ranks.rejections) + ended(last.ranks.leaves), frames.get(run.steps - 1).walkEnd ? 1 : 0);
    frames.delete(0);
    assert.equal(totalsOf(run, frames, [0, run.steps - 1]).steps, run.steps - 1, "a step that has not come is not counted");
  }
});

test("the first fault stands out, what follows from it is told as a consequence, what is new in it too", () => {
  const frames = framesOf(BLOCKS.faulty), told = story(frames, frames.size), steps = timelineOf(frames, frames.size);
  const first = [...told].find(([, tale]) => tale.found.some((one) => one.name === "target cache"))[0];
  assert.equal(kindOf(told.get(first)), "first");
  for (const [step, { found, before }] of told)
    for (const one of found) {
      const { faults, fresh } = frames.get(step).caches.target;
      if (one.name !== "target cache") continue;
      assert.deepEqual([one.count, one.first], [faults.length, first]);
      assert.equal(one.kind, step === first ? "first" : fresh ? "again" : "after");
      assert.equal(before["target cache"], step === first ? undefined : first);
      assert.equal(steps[step].kind, kindOf(told.get(step)));
      assert.ok(steps[step].wrong.includes(saidOf(one)));
    }
});

test("a cache that is rebuilt begins anew", () => {
  const frame = (step, faults, prefilled) => [step, { step, prefilled, verdicts: [], caches: { target: { faults, fresh: faults.length }, draft: { faults: [], fresh: 0 } } }];
  const told = story(new Map([frame(0, ["a"], 0), frame(1, [], 3), frame(2, ["b"], 0)]), 3);
  assert.deepEqual([0, 1, 2].map((step) => kindOf(told.get(step))), ["first", null, "first"]);
});

test("a range begins at the step in sight and reaches further by keys, back over it too", () => {
  let range = null;
  for (const [way, wanted] of [[1, [4, 5]], [1, [4, 6]], [-1, [4, 5]], [-1, [4, 4]], [-1, [3, 4]], [-Infinity, [0, 4]], [1, [1, 4]], [Infinity, [4, 9]]])
    assert.deepEqual((range = extended(range, 4, way, 10)), wanted);
  assert.deepEqual([extended([6, 7], 4, 1, 10), extended([6, 7], 4, -1, 10), extended(null, 9, 1, 10)], [[6, 8], [5, 7], [9, 9]]);
});
