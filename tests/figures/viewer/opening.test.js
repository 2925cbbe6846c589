/* Which node is selected as long as nobody chose one, and what the tour says of a step, and where. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { decisionsOf } from "../../../assets/viewer/core/columns.js";
import { digits } from "../../../assets/viewer/core/digits.js";
import { verdictBy } from "../../../assets/viewer/core/words.js";
import { chanceOf, tellingNode } from "../../../assets/viewer/panels/telling.js";
import { beatsOf, besideOf, stopOf } from "../../../assets/viewer/tools/tour_beats.js";
import { phasesOf } from "../../../assets/viewer/tree/phases.js";
import { BLOCKS, FIRST } from "./frames.js";

const plain = (parts) => parts.map((part) => (typeof part === "string" ? part : part.strong ?? part.token ?? part.text ?? digits(part.value))).join("");
const frame = FIRST["4,2,2"];
/** The frame with other outcomes and thresholds of a verifier's decisions, and another path. */
function judged(verifier, path, decisions) {
  const verdicts = frame.verdicts.map((verdict) => {
    if (verdict.verifier !== verifier) return verdict;
    const first = decisionsOf(verdict)[0], column = (name, of) => decisions.map((one) => of?.(one) ?? verdict.decisions[name][0]);
    const details = { at: decisions.map((_, i) => i), threshold: decisions.map((one) => one.threshold), reason: decisions.map(() => first.reason), residual: decisions.map(() => null) };
    const columns = Object.fromEntries(Object.keys(verdict.decisions).filter((name) => name !== "details").map((name) => [name, column(name, (one) => one[name])]));
    return { ...verdict, path, decisions: { ...columns, details } };
  });
  return { ...frame, verdicts };
}

test("the telling node is the first rejected one beside the path, else the least likely one on it", () => {
  const { parent } = frame.tree, below = (node) => parent.findIndex((up) => up === node), second = below(1), other = below(2);
  const a = (node, threshold) => ({ node, threshold, outcome: "a" }), r = (node, threshold) => ({ node, threshold, outcome: "r" });
  assert.equal(tellingNode(judged("rejection", [1], [a(1, 2), r(second, 0.1), r(second + 1, 0.3)]), "rejection"), second);
  assert.equal(tellingNode(judged("rejection", [1], [r(other, 0.1), a(1, 0.5)]), "rejection"), 1, "of another branch it says less");
  assert.equal(tellingNode(judged("rejection", [1, second], [a(1, 0.4), a(second, 2)]), "rejection"), 1);
  assert.equal(tellingNode(judged("rejection", [1, second], [a(1, 3), a(second, 2)]), "rejection"), second, "of equals the last one");
  assert.equal(tellingNode(judged("rejection", [], []), "rejection"), null);
  assert.equal(tellingNode(frame, "nobody"), null);
});

test("every number of the tour is one of the step that it is told on", () => {
  for (const [name, { frames }] of Object.entries(BLOCKS)) {
    const stop = stopOf(frames, 0), { step, node } = stop ?? {};
    const at = frames.find((one) => one.step === step);
    if (!at) {
      assert.ok(frames.every((one) => tellingNode(one, one.driver) === null), name);
      continue;
    }
    const beats = beatsOf(at, node), phases = phasesOf(at, at.driver), kinds = beats.map(({ phase }) => phases[phase].kind);
    assert.deepEqual(kinds, ["draft", "target", "decide", "cache"], name);
    assert.ok(plain(beats[0].said).includes(`${at.nodes.text.length - 1} token`), name);
    if (at.nodes.q[node] !== null) assert.ok(plain(beats[0].said).includes(digits(at.nodes.q[node])), name);
    if (at.nodes.p[node] !== null) assert.ok(plain(beats[1].said).includes(digits(at.nodes.p[node])), name);
    const decision = decisionsOf(verdictBy(at, at.driver)).find((one) => one.node === node), said = plain(beats[2].said);
    assert.equal(beats[2].title === "A coin decides", decision.comparison === "uniform < threshold" && decision.uniform !== null, name);
    if (chanceOf(decision) < 1) assert.ok(said.includes(digits(decision.threshold)), name);
    assert.ok(plain(beats[3].said).includes(`Of the ${at.caches.target.slot.length} slot`), name);
  }
});

test("rules without a coin are told without one", () => {
  const [, , decided] = beatsOf({ ...frame, driver: "greedy" }, decisionsOf(verdictBy(frame, "greedy"))[0].node);
  assert.equal(decided.title, "The rule decides");
  assert.match(plain(decided.said), /No coin is flipped/);
});

test("a note stands beside what it speaks of, inside the window", () => {
  const view = { width: 1280, height: 800 }, note = { width: 320, height: 200 };
  assert.deepEqual(besideOf({ left: 100, top: 300, width: 160, height: 40 }, note, view), { left: 274, top: 220 });
  assert.deepEqual(besideOf({ left: 940, top: 60, width: 330, height: 300 }, note, view), { left: 606, top: 110 });
  assert.deepEqual(besideOf({ left: 0, top: 660, width: 1280, height: 140 }, note, view), { left: 480, top: 446 });
  assert.deepEqual(besideOf({ left: 0, top: 0, width: 1280, height: 800 }, note, view), { left: 480, top: 300 }, "over it where there is no room");
});
