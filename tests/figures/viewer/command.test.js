/* How far a run is, for the bar. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { partOf } from "../../../assets/viewer/tools/command.js";

const run = (steps, tokens, most) => ({ steps, totals: { tokens }, settings: most ? { max_new_tokens: most } : null });

test("the bar has the part of the tokens that a run may write, and never more than all of them", () => {
  assert.deepEqual([partOf(run(4, 8, 16), 0), partOf(run(4, 8, 16), 0.5), partOf(run(4, 15, 16), 1)], [0.5, 0.5625, 1]);
});

test("before the first step, and of a run that does not say how long it may get, nothing is known", () => {
  assert.deepEqual([partOf(null, 0.5), partOf(run(0, 0, 16), 0.5), partOf(run(4, 8, 0), 0.5)], [0, 0, 0]);
});
