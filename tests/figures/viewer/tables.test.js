/* Tables that leave as CSV, and the order of their cells. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { csv, matches, numberOf, sorted } from "../../../assets/viewer/core/csv.js";

test("a cell that a spreadsheet would run is text, and a number stays one", () => {
  const formulas = ["=HYPERLINK(1)", "+1+2", "-2+3", "@SUM(A1)", " =1", "\t=1", "\u0000=1", "＝1", "-", "="];
  for (const text of formulas) assert.match(csv([[text]]).replace(/^"/, ""), /^'/, JSON.stringify(text));
  for (const text of ["-2", "0.5", "-1.5e-7", "3", "a=b", "␣=1", ""]) assert.equal(csv([[text]]), `${text}\r\n`);
});

test("commas, quotes and lines stay inside their cell", () => {
  assert.equal(csv([["Node", "Token"], ["1", 'a,"b"\nc'], ["2", "d;e"]]), 'Node,Token\r\n1,"a,""b""\nc"\r\n2,"d;e"\r\n');
});

test("shown numbers are read", () => {
  const wanted = { "0.349": 0.349, "−2": -2, "3.89·10⁻⁴": 3.89e-4, ">0.999": 0.999, "71 %": 71, "<0.1 %": 0.1, 12: 12 };
  for (const [text, value] of Object.entries(wanted)) assert.equal(numberOf(text), value, text);
  for (const text of ["", "–", "rejection", "2 tokens", "0x10", "Infinity"]) assert.equal(numberOf(text), null, text);
});

test("rows are sorted by number, then by word, with nothing at the end in both ways", () => {
  const values = ["10", "–", "9", "3.0·10⁻⁴", "b", "a", ""];
  assert.deepEqual(sorted(values, false).map((i) => values[i]), ["3.0·10⁻⁴", "9", "10", "a", "b", "–", ""]);
  assert.deepEqual(sorted(values, true).map((i) => values[i]), ["b", "a", "10", "9", "3.0·10⁻⁴", "–", ""]);
  assert.deepEqual(sorted(["1", "1", "1"], true), [0, 1, 2]);
});

test("every word must be in a row", () => {
  assert.ok(matches("7 ␣Moon ✕ rejected", "moon REJ"));
  assert.ok(!matches("7 ␣moon ✕ rejected", "moon accepted"));
});
