/* The coin that "Force this coin" begins with. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { turningCoin } from "../../../assets/viewer/tools/turning_coin.js";

test("the coin that just turns a decision is on the other side of its threshold, and in (0, 1)", () => {
  for (const threshold of [0.034, 0.0339912, 0.5, 0.1, 0.00707, 3.2e-9, 0.75, 1.3]) {
    const below = turningCoin(threshold, false);
    assert.ok(below > 0 && below < threshold && below < 1, `${below} < ${threshold}`);
    assert.ok(below >= Math.min(threshold, 1) * 0.98, `${below} is near ${threshold}`);
  }
  for (const threshold of [0.034, 0.5, 0.00707, 3.2e-9, 0.9]) {
    const above = turningCoin(threshold, true);
    assert.ok(above > threshold && above <= threshold * 1.02, `${above} > ${threshold}`);
  }
  assert.deepEqual([turningCoin(0, false), turningCoin(1, true), turningCoin(2.31, true), turningCoin(0.9995, true)], [null, null, null, null]);
});
