/* Faults: the headline of a step, the chain of causes, and the way from one to the next. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { decisionsOf } from "../../../assets/viewer/core/columns.js";
import { driving } from "../../../assets/viewer/core/words.js";
import { kindOf, story } from "../../../assets/viewer/panels/findings.js";
import { aftermath, faultHeadline, faultyNodes, hitsOf, nextHit, whyOf } from "../../../assets/viewer/panels/why.js";
import { BLOCKS, FIRST, framesOf } from "./frames.js";

const frames = framesOf(BLOCKS.faulty), tales = story(frames, frames.size);
const plain = (parts) => parts.map((part) => (typeof part === "string" ? part : part.strong ?? part.token ?? part.text ?? part.value)).join("");
const inCache = (step) => tales.get(step).found.find((one) => one.name === "target cache");
const first = [...frames.keys()].find((step) => inCache(step)?.kind === "first");
/** A frame in which only its caches can be wrong. */
const quiet = (frame, target) => ({ ...frame, verdicts: frame.verdicts.map((one) => ({ ...one, bonus: { ...one.bonus, fault: null } })), caches: { draft: { ...frame.caches.draft, faults: [], fresh: 0 }, target: { ...frame.caches.target, ...target } } });
const alone = (frame) => [new Map([[frame.step, frame]]), story(new Map([[frame.step, frame]]), frame.step + 1)];

test("a slot that holds another token is followed to the move, the decision and the row", () => {
  const frame = frames.get(first), { after, slot, text, node, prints } = frame.caches.target, k = after.good.indexOf(0), due = after.due[k];
  const links = whyOf(frames, tales, frame), [at, move, decision, row] = links;
  assert.deepEqual(links.slice(0, 4).map(({ title }) => title), ["Slot", "Move", "Decision", "Row"]);
  assert.ok(plain(at.said).startsWith(`Slot ${after.slot[k]} must hold node ${node[due]} ${text[due]}. It holds node ${node[after.held[k]]} ${text[after.held[k]]}.`));
  assert.deepEqual(at.lines.map(plain), [`due ${prints[due]}`, `found ${after.print[k]}`]);
  assert.ok(plain(move.said).includes(`was written to slot ${slot[due]}. The move ${slot[due]} → ${after.slot[k]} was recorded, but the slot does not hold it`));
  assert.deepEqual([move.tone, move.first, at.tone, decision.tone], ["cause", true, "cause", "plain"]);
  assert.deepEqual([decision.to, row.to], [{ node: node[due] }, { node: frame.tree.parent[node[due]] }]);
  const taken = decisionsOf(driving(frame)).find((one) => one.node === node[due] && one.outcome === "a");
  assert.ok(plain(decision.said).includes(`coin ${taken.uniform}, threshold ${taken.threshold}`));
  assert.match(faultHeadline(frame, tales).title, new RegExp(`^Slot ${after.slot[k]} holds the wrong token$`));
  assert.equal(faultyNodes(frame).get(node[due]), `target slot ${after.slot[k]} wrong`);
});

test("where the tokens are the same, the nodes are named", () => {
  const frame = frames.get(first), cache = frame.caches.target, { after, node, text } = cache, k = after.good.indexOf(0), due = after.due[k], held = after.held[k];
  assert.match(plain(faultHeadline(frame, tales).sub), new RegExp(`^${text[held]} where ${text[due]} was accepted · `));
  const same = quiet(frame, { text: text.with(held, text[due]) }), { title, sub } = faultHeadline(same, tales);
  assert.equal(title, `Slot ${after.slot[k]} holds the wrong node`);
  assert.ok(plain(sub).startsWith(`node ${node[held]} ${text[due]} where node ${node[due]} ${text[due]} was accepted · `), plain(sub));
});

test("a move that is missing is said to be missing", () => {
  const frame = quiet(frames.get(first), { moves: { slot: [], to: [] } }), [, move] = whyOf(...alone(frame), frame);
  assert.match(plain(move.said), /The move \d+ → \d+ is missing: this update moved nothing\./);
});

test("what follows from an earlier step says so and leads there", () => {
  const [begin] = [...alone(quiet(frames.get(first), {}))], later = quiet({ ...frames.get(first), step: first + 1, prefilled: 0 }, { fresh: 0, after: { slot: [], due: [], print: [], good: [], held: [] }, faults: ["Before the root the cache holds 3 tokens; the text has 4."] });
  const both = new Map([...begin, [later.step, later]]), told = story(both, later.step + 1);
  assert.equal(kindOf(told.get(later.step)), "after");
  const links = whyOf(both, told, later), cause = links.find((one) => one.first);
  assert.deepEqual(cause.to, { step: first, why: true });
  assert.equal(links[0].tone, "after");
  assert.equal(faultHeadline(later, told).title, `The target cache is still wrong since step ${first + 1}`);
  assert.deepEqual(aftermath(told, "target cache", first), { inherit: 1, repeat: 0 });
  const readers = (frame) => plain(whyOf(both, told, frame).find((one) => one.title === "Rows that read it").said);
  assert.match(readers(both.get(first)), /^1 later step reads this cache as it is\. No audit/);
  assert.match(readers(later), /^No later step of this run reads it\. No audit/);
});

test("a row that saw what is no ancestor leads to its ancestors and to what was judged by it", () => {
  const good = { slot: [], due: [], print: [], good: [], held: [] }, { mask } = FIRST["4,2,2"].caches.target;
  const frame = quiet(FIRST["4,2,2"], { after: good, faults: ["A slot that is no ancestor is seen"], fresh: 1, mask: { ...mask, wrong: 1, leaks: { row: [2], first: [[1]], last: [[1]] } } });
  const [row, ancestry] = whyOf(...alone(frame), frame), { text } = frame.caches.target;
  assert.equal(plain(row.said), `The row of node 2 ${text[2]} (slot ${frame.caches.target.slot[2]}) saw node 1 ${text[1]}, which is no ancestor of it.`);
  assert.deepEqual(row.to, { part: "mask" });
  assert.ok(plain(ancestry.said).includes(frame.nodes.text[0]));
  assert.match(faultHeadline(frame, alone(frame)[1]).title, /^Node 2 sees what is no ancestor/);
});

test("a bonus token leads to the last rejected sibling", () => {
  const [frame, verdict] = [...frames.values()].flatMap((one) => one.verdicts.filter((v) => v.bonus.fault && v.bonus.source === "residual").map((v) => [one, v]))[0];
  const clean = { ...frame, caches: { target: { ...frame.caches.target, faults: [], fresh: 0 }, draft: { ...frame.caches.draft, faults: [], fresh: 0 } } };
  const [bonus, decision] = whyOf(...alone(clean), clean), last = decisionsOf(verdict).filter((one) => one.residual && clean.tree.parent[one.node] === verdict.bonus.node).at(-1);
  assert.ok(plain(bonus.said).endsWith(verdict.bonus.fault));
  assert.equal(decision.to.node, last.node);
});

test("next and previous go to steps in which something went wrong, past those that only inherit it", () => {
  const found = (kind) => ({ found: kind ? [{ kind, name: "x" }] : [], before: {} });
  const hits = hitsOf(new Map([[0, found(null)], [1, found("first")], [2, found("after")], [3, found("again")], [4, found("after")]]));
  assert.deepEqual(hits, [1, 3]);
  assert.deepEqual([nextHit(hits, 0, 1), nextHit(hits, 1, 1), nextHit(hits, 3, 1), nextHit(hits, 2, -1), nextHit(hits, 1, -1)], [1, 3, undefined, 1, undefined]);
});

test("where everything fits there is no headline and no chain", () => {
  const frame = quiet(FIRST.chain, {});
  assert.deepEqual([faultHeadline(frame, alone(frame)[1]), whyOf(...alone(frame), frame)], [null, []]);
});

test("of a drafted slot that a head keeps it is said why it must not stay", () => {
  const { frames } = BLOCKS["eagle3, drafted slot kept"], tales = story(framesOf({ frames }), frames.length), wrong = frames.find((frame) => frame.caches.draft.faults.length);
  const chain = whyOf(framesOf({ frames }), tales, wrong), said = chain.map(({ title, said: parts }) => `${title}: ${parts.map((part) => (typeof part === "string" ? part : "")).join("")}`);
  assert.ok(said.some((one) => /^Length: The update left \d+ slots of this step: more than those of the target's own states/.test(one)), said.join("\n"));
  assert.ok(said.some((one) => one.startsWith("Draft head: What it drafted comes from its own states")));
});
