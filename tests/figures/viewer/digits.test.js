/* How numbers are written; tests/test_digits.py holds `digits` to Python's rule. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { digits, ordinal, percent, restOf, saidOfRest } from "../../../assets/viewer/core/digits.js";

test("significant digits, with 0 and 1 for what is exactly that", () => {
  assert.deepEqual([0.349, 0.00804, 3.89e-4, 0, 1, 1 - 1e-9, -0.5, null, NaN, Infinity].map((value) => digits(value)),
    ["0.349", "0.00804", "3.89·10⁻⁴", "0", "1", ">0.999", "−0.500", "–", "–", "∞"]);
  assert.equal(digits(0.714285, 2), "0.71");
});

test("a share that is not all never reads as all, nor one that is something as nothing", () => {
  assert.deepEqual([0, 0.0004, 0.05, 0.5, 0.994, 0.9999, 1].map(percent), ["0 %", "<0.1 %", "5.0 %", "50 %", "99 %", ">99 %", "100 %"]);
});

test("ordinals", () => {
  assert.deepEqual([1, 2, 3, 4, 11, 12, 13, 21, 111, 122].map(ordinal), ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "111th", "122nd"]);
});

test("the rest of a distribution is no finer than its digits, and never less than nothing", () => {
  assert.equal(restOf([0.5, 0.25]), 0.25);
  assert.equal(restOf([0.7, 0.4]), 0);
  assert.deepEqual([0, 1e-6, 5e-5, 5e-4, 0.25].map(saidOfRest), ["0", "<10⁻⁵", "5·10⁻⁵", "5.0·10⁻⁴", "0.250"]);
});
