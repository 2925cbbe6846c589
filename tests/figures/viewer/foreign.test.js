/* What the viewer makes of another engine's run: nothing that was not recorded becomes a number, and nothing is averaged over
 * other steps than those it is compared on.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { decisionsOf, distributionAt } from "../../../assets/viewer/core/columns.js";
import { askable, lacksOf, rowsIn } from "../../../assets/viewer/core/recorded.js";
import { aboutRun, cutOff, driving } from "../../../assets/viewer/core/words.js";
import { saidOfChecks } from "../../../assets/viewer/panels/checks.js";
import { headlineOf } from "../../../assets/viewer/panels/headline.js";
import { dotsOf } from "../../../assets/viewer/panels/phase_dots.js";
import { totalsOf } from "../../../assets/viewer/panels/range_totals.js";
import { sentenceOf, slotsOf, wholeOf } from "../../../assets/viewer/panels/slots.js";
import { compared } from "../../../assets/viewer/tree/chance.js";
import { FOREIGN, framesOf } from "./frames.js";

const LEVELS = Object.entries(FOREIGN).map(([level, block]) => ({ level: Number(level), block, frame: block.frames[0] }));

for (const { level, block, frame } of LEVELS) {
  test(`level ${level}: totals of all steps are those of the run, shared ones over the same steps`, () => {
    const { run, frames } = block, last = frames.length - 1;
    assert.deepEqual(totalsOf(run, framesOf(block), [0, last]), run.totals);
    assert.equal(run.totals.shared !== null, level > 2);
    const without = structuredClone(frames), [first] = without;
    first.verdicts = first.verdicts.filter(({ verifier }) => verifier === frame.driver);
    const { shared } = totalsOf(run, new Map(without.map((one) => [one.step, one])), [0, last]);
    assert.deepEqual(shared?.verifiers.map(({ steps }) => steps), level > 2 ? [last, last] : undefined);
  });

  test(`level ${level}: what the engine did not say is listed with its call, and what it said is not`, () => {
    const lacks = lacksOf(block.run, frame).map(({ what }) => what);
    assert.equal(lacks.includes("the draft's probabilities"), level < 2);
    assert.equal(lacks.includes("coins"), level < 3);
    assert.equal(lacks.includes("the KV cache"), level < 4);
    assert.equal(rowsIn(frame), level > 1 ? "q p" : "");
    assert.equal(askable(block.run, frame), level > 2);
    assert.deepEqual(lacksOf({ ...block.run, engine: null }, frame), []);
  });

  test(`level ${level}: words and pictures have no number that there is not`, () => {
    const dots = dotsOf(frame, frame.driver, null).map(({ name }) => name);
    assert.deepEqual([dots.includes("score"), dots.includes("coins"), dots.includes("cache")], [level > 1, level > 2, level > 3]);
    for (const at of [null, ...Array(dots.length).keys()]) assert.doesNotMatch(JSON.stringify(Object.values(headlineOf(frame, frame.driver, at)).join()), /null|undefined|NaN/);
    assert.doesNotMatch(aboutRun(block.run), /null|undefined|seed/);
    assert.match(aboutRun(block.run), /^Recorded from my-loop/);
    assert.equal(cutOff(frame, driving(frame)), 0);
    for (const verdict of frame.verdicts) for (const one of decisionsOf(verdict)) assert.match(compared(frame, one).said, /./);
    assert.equal(distributionAt(frame.nodes.target, 0) !== null, level > 1);
    const cache = frame.caches.target, said = sentenceOf(cache, "after");
    assert.equal(wholeOf(cache) !== null, level > 3);
    assert.match(said, level > 3 ? /^keeps \d+ of/ : /^not recorded: step\.cache/);
    assert.equal(slotsOf(cache).left.length > 0, level > 3);
  });
}

test("a decision of which neither rule nor threshold was recorded says nothing on its card", () => {
  const [, , { frame }] = LEVELS, [one] = decisionsOf(driving(frame));
  assert.deepEqual(compared(frame, { ...one, comparison: "" }), { said: "", line: null });
  assert.deepEqual(compared(frame, { ...one, threshold: null }), { said: "", line: null });
});

test("findings are counted in words, never as a tick", () => {
  const none = { check: [], weight: [], step: [], node: [], sentence: [], meaning: [], place: [] }, lists = { fits: { check: [], said: [] }, notRun: { check: ["mask"], said: ["the mask"] } };
  assert.equal(saidOfChecks({ ran: 3, found: none, more: 0, ...lists }), "0 findings of 3 checks that ran; 1 check could not run.");
  assert.equal(saidOfChecks({ ran: 0, found: none, more: 0, ...lists }), "No check ran; 1 check could not run.");
});
