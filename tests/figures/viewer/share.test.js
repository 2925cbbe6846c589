/* Where an address says to stand. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { lookOf } from "../../../assets/viewer/tools/share.js";

test("an address names a step from 1 on, a node and a verifier; what is not there is left out", () => {
  assert.deepEqual(lookOf("?step=2&node=3&verifier=eta", 5), { step: 1, node: 3, verifier: "eta" });
  assert.deepEqual(lookOf("?trace=a&step=5", 5), { step: 4, node: null, verifier: null });
  for (const step of ["0", "6", "-1", "1.5", "x", "1e1", "", "99999999999999999999"]) assert.deepEqual(lookOf(`?step=${step}&node=1`, 5), { step: null, node: 1, verifier: null }, step);
  for (const search of ["", "?", "?theme=dark", "?step=9"]) assert.equal(lookOf(search, 5), null, search);
});
