/* The strip of a cache: where its slots stand, and that each is told what became of it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { layStrip } from "../../../assets/viewer/panels/slot_layout.js";
import { sentenceOf, slotsOf } from "../../../assets/viewer/panels/slots.js";
import { BLOCKS } from "./frames.js";

const caches = Object.entries(BLOCKS).flatMap(([name, { frames }]) => frames.flatMap(({ step, caches: both }) => Object.entries(both).map(([model, cache]) => [`${name}, step ${step + 1}, ${model}`, cache])));

/** The same cache after a long text. */
function later(cache, by) {
  const up = (slots) => slots.map((slot) => slot === null ? null : slot + by);
  return { ...cache, before: cache.before + by, length: cache.length + by, slot: up(cache.slot), to: up(cache.to), after: { ...cache.after, slot: up(cache.after.slot) } };
}

for (const [name, short] of caches)
  test(`${name}: slots stand beside each other and none is left out, wide, narrow and after a long text`, () => {
    for (const cache of [short, later(short, 1650), later(short, 123456)])
      for (const room of [1248, 900, 358])
        for (const [known, digit] of [[true, 7], [false, 7], [true, 8]]) {
          const { settled, cells, arcs, width } = layStrip(cache, room, known, null, digit);
          let at = settled;
          for (const cell of cells) {
            assert.ok(cell.x >= at, "no cell on another");
            at = cell.x + cell.width;
            const digits = String(cell.last).length, written = cell.kind === "fold" ? 2 * digits + 1 : digits;
            if (cell.kind !== "wrong") assert.ok(cell.width >= digit * written, "its numbers have room");
          }
          assert.ok(at <= width);
          assert.ok(settled >= digit * `#0–#${cache.before - 1}`.length);
          const covered = cells.filter(({ kind }) => kind !== "wrong").flatMap(({ first, last }) => cache.slot.filter((slot) => slot >= first && slot <= last));
          assert.deepEqual(covered.sort((a, b) => a - b), [...cache.slot].sort((a, b) => a - b));
          if (!known) assert.deepEqual([arcs, cells.filter(({ left }) => left)], [[], []], "nothing before it has happened");
          for (const { from, to } of arcs) for (const x of [from, to]) assert.ok(cells.some((cell) => cell.kind === "slot" && x > cell.x && x < cell.x + cell.width));
        }
  });

for (const [name, cache] of caches)
  test(`${name}: every move has an arc, and every slot that is left a cell`, () => {
    const { cells, arcs } = layStrip(cache, 1248, true, null, 7), moves = cache.state.split("m").length - 1, missing = [...slotsOf(cache).misplaced].filter(([i, slot]) => cache.slot[i] !== slot);
    assert.equal(arcs.filter((arc) => !arc.missing).length, moves);
    assert.equal(arcs.filter((arc) => arc.missing).length, missing.length);
    assert.deepEqual(cells.flatMap(({ left }) => (left ? [left.slot] : [])), cache.after.slot);
    const said = sentenceOf(cache, "after");
    if (cache.kind === "none") assert.match(said, /it has no cache/);
    else if (cache.slot.length) assert.match(said, new RegExp(`keeps \\d+ of ${cache.slot.length} slots.*, moves ${moves}, cuts \\d+ · length ${cache.before} → ${cache.length}`));
    else assert.match(said, /ran nothing/);
  });

test("a node that is selected comes out of its fold", () => {
  const cache = BLOCKS.large.frames[0].caches.target, node = cache.node.findLast((one, i) => one !== null && cache.to[i] === null);
  const alone = (selected) => layStrip(cache, 1248, true, selected, 7).cells.some(({ kind, written }) => kind === "slot" && written !== null && cache.node[written] === node);
  assert.ok(!alone(null) && alone(node));
});

test("before the update nothing is said of it", () => {
  const cache = BLOCKS["4,2,2"].frames[0].caches.target;
  assert.match(sentenceOf(cache, "tree"), /29 slots hold the tree; nothing is kept or moved yet/);
  assert.match(sentenceOf(cache, "before"), /nothing of this step is written yet/);
});
