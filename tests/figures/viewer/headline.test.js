/* The headline and the dots: what is said of a step and of every moment inside it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { aboutRun, otherwise } from "../../../assets/viewer/core/words.js";
import { headlineOf } from "../../../assets/viewer/panels/headline.js";
import { dotsOf } from "../../../assets/viewer/panels/phase_dots.js";
import { phasesOf } from "../../../assets/viewer/tree/phases.js";
import { BLOCKS, FIRST } from "./frames.js";

for (const [name, frame] of Object.entries(FIRST)) {
  const { commit, driver, verdicts } = frame, all = phasesOf(frame, driver);

  test(`${name}: the headline of a step counts what became text, and shows it`, () => {
    const { head, tokens, said } = headlineOf(frame, driver, null), count = commit.piece.length;
    assert.equal(head, `${count} token${count === 1 ? "" : "s"} from one target forward`);
    assert.deepEqual(tokens.map(({ label }) => label), commit.label);
    assert.equal(tokens.filter(({ origin }) => origin === "accepted").length, verdicts.find((v) => v.verifier === driver).path.length);
    assert.ok(said.includes(driver));
  });

  test(`${name}: no moment shows what became text before the commit`, () => {
    all.forEach(({ kind, caption }, phase) => {
      const { head, tokens, said } = headlineOf(frame, driver, phase);
      assert.ok(head);
      assert.equal(said, caption);
      assert.equal(tokens.length > 0, kind === "commit", head);
    });
  });

  test(`${name}: every phase has a dot or shares a group that counts it, and one dot is where one stands`, () => {
    const groups = dotsOf(frame, driver, null), dots = groups.flatMap((group) => group.dots);
    assert.ok(dots.every(({ look }) => look === "done"));
    const counted = groups.map((group) => Number(/^\d+ /.exec(group.name)?.[0] ?? group.dots.length)).reduce((a, b) => a + b, 0);
    assert.equal(counted, all.length);
    all.forEach((_, phase) => {
      const inside = dotsOf(frame, driver, phase), shown = inside.flatMap((group) => group.dots);
      assert.deepEqual(shown.filter(({ look }) => look === "now").map((dot) => dot.phase), [phase]);
      for (const dot of shown) assert.equal(dot.look, dot.phase < phase ? "done" : dot.phase > phase ? "later" : "now");
      assert.equal(inside.filter(({ now }) => now).length, 1);
      assert.ok(inside.every((group) => group.dots.length > 0 && group.dots.length <= 9));
    });
  });
}

test("a decision with a coin is called one, and one without is not", () => {
  const frame = FIRST["4,2,2"], heads = (lens) => phasesOf(frame, lens).flatMap(({ kind }, phase) => (kind === "decide" ? [headlineOf(frame, lens, phase).head] : []));
  assert.ok(heads("rejection").every((head) => /^Coin \d+ of \d+: node \d+ is (accepted|rejected)$/.test(head)));
  assert.ok(heads("eta").every((head) => head.startsWith("Decision ")));
  assert.ok(heads("longest_path").every((head) => !head.includes("is accepted")), "it chooses at its end");
});

test("where the text ended inside a path that is said, not that a token was added", () => {
  const frame = structuredClone(FIRST.chain), verdict = frame.verdicts.find((v) => v.verifier === frame.driver);
  verdict.path = [1, 2, 3];
  frame.endReason = "max_new_tokens";
  for (const [written, said] of [[4, "the target added 1"], [3, "the text ends with them (max_new_tokens)"], [2, "the text ends after 2 of them (max_new_tokens)"]]) {
    frame.commit = { piece: Array(written).fill("a"), label: Array(written).fill("a"), origin: Array(written).fill("accepted") };
    assert.ok(headlineOf(frame, frame.driver, null).said.endsWith(said), said);
  }
});

test("what the driver would do with processors in the other mode stands at the end of the line", () => {
  const frame = structuredClone(FIRST.chain), verdict = frame.verdicts.find((v) => v.verifier === frame.driver), said = () => headlineOf(frame, frame.driver, null).said;
  assert.ok(!said().includes("≠"));
  verdict.otherMode = { mode: "exact", path: [], bonus: "sea", nodes: [1] };
  assert.ok(said().endsWith("; ≠ processors in exact mode: none kept, then “sea”"), said());
  verdict.otherMode.bonus = null;
  assert.ok(said().endsWith("; ≠ processors in exact mode: none kept"), "another engine's draw is not recorded");
  assert.strictEqual(otherwise(verdict).said, "keeps no draft; which token it adds is not recorded");
});

test("the line about a run names its processors, and says nothing where there are none", () => {
  const run = structuredClone(BLOCKS.chain.run);
  assert.ok(run.settings);
  assert.doesNotMatch(aboutRun(run), /processors/);
  run.settings.processors = { chosen: [{ name: "min_p", options: { min_p: 0.1 } }, { name: "ignore_eos", options: {} }], mode: "frozen", draft: true };
  assert.match(aboutRun(run), / · processors \(frozen, the draft's rows, too\): min_p min_p=0\.1; ignore_eos · seed /);
});
