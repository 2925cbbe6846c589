/* The timeline and the story of what does not fit, which it marks. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { kindOf, saidOf, story } from "../../../assets/viewer/panels/findings.js";
import { timelineOf } from "../../../assets/viewer/panels/timeline.js";
import { BLOCKS, framesOf } from "./frames.js";

const whole = framesOf(BLOCKS["4,2,2"]);

test("a step has a bar for every verifier that is shown, as long as its path among all", () => {
  const steps = timelineOf(whole, whole.size, new Set(["eta"])), longest = Math.max(1, ...[...whole.values()].flatMap((frame) => frame.verdicts.map((v) => v.path.length)));
  for (const { step, bars } of steps) {
    const frame = whole.get(step);
    assert.deepEqual(bars.map(({ verifier }) => verifier), frame.verdicts.map((v) => v.verifier).filter((name) => name !== "eta"));
    for (const { verifier, accepted, share, drives } of bars) {
      assert.equal(accepted, frame.verdicts.find((v) => v.verifier === verifier).path.length);
      assert.equal(share, accepted / longest);
      assert.equal(drives, verifier === frame.driver);
    }
  }
});

test("a step that has not come yet has no bars, and says so", () => {
  const [first, second] = timelineOf(new Map([[0, whole.get(0)]]), 2, new Set());
  assert.ok(first.bars.length);
  assert.deepEqual([second.bars, second.said], [[], "step 2: accepted not loaded"]);
});

test("the first fault stands out, what follows from it is told as a consequence, what is new in it too", () => {
  const frames = framesOf(BLOCKS.faulty), told = story(frames, frames.size), steps = timelineOf(frames, frames.size, new Set());
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
