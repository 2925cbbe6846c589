/* A faulty run without its marks: nothing of it says what does not fit, and what was observed is still there. */

import assert from "node:assert/strict";
import test from "node:test";

import { timelineOf } from "../../../assets/viewer/panels/timeline.js";
import { layStrip } from "../../../assets/viewer/panels/slot_layout.js";
import { changeOf, saidOfLeft, slotsOf } from "../../../assets/viewer/panels/slots.js";
import { unmarkedFrame } from "../../../assets/viewer/panels/unmarked.js";
import { faultHeadline, faultyNodes } from "../../../assets/viewer/panels/why.js";
import { story } from "../../../assets/viewer/panels/findings.js";
import { BLOCKS, framesOf } from "./frames.js";

const marked = framesOf(BLOCKS.faulty);
const unmarked = new Map([...marked].map(([step, frame]) => [step, unmarkedFrame(frame)]));

test("the run is faulty before its marks are taken away", () => {
  assert.ok(timelineOf(marked, marked.size).some(({ kind }) => kind));
});

test("no step says that something does not fit", () => {
  const tales = story(unmarked, unmarked.size);
  assert.ok(timelineOf(unmarked, unmarked.size).every(({ kind, wrong }) => !kind && !wrong));
  for (const frame of unmarked.values()) {
    assert.equal(faultHeadline(frame, tales), null);
    assert.equal(faultyNodes(frame).size, 0);
    for (const cache of Object.values(frame.caches)) {
      const { stray, unknown } = changeOf(cache), slots = slotsOf(cache), strip = layStrip(cache, 900, true, null, 7);
      assert.deepEqual([stray, unknown, slots.misplaced.size], [0, 0, 0]);
      assert.ok(strip.arcs.every((arc) => !arc.wrong && !arc.missing));
      assert.ok(strip.cells.every((cell) => cell.kind !== "wrong"));
      assert.ok(slots.left.every((row) => !saidOfLeft(cache, slots, row).includes("✕")));
    }
    assert.ok(frame.phases.after.every(({ caption }) => !caption.includes("not due")));
  }
});

test("what the slots hold is what was observed", () => {
  for (const [step, frame] of unmarked) {
    const before = marked.get(step);
    for (const model of ["target", "draft"]) {
      const held = before.caches[model].after.held;
      frame.caches[model].after.due.forEach((due, i) => held[i] !== null && assert.equal(due, held[i]));
      assert.deepEqual(frame.caches[model].after.print, before.caches[model].after.print);
      assert.deepEqual(frame.caches[model].to, before.caches[model].to);
    }
  }
});
