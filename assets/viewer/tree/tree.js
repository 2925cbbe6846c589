/* The panel of the draft tree at work: lays out what is known, draws what changed, keeps view, minimap and search with it. */

import { COMPARISONS } from "../core/constants.js";
import { looksOf, verdictBy } from "../core/words.js";
import { makeCamera, fitted } from "./camera.js";
import { drawTree } from "./draw.js";
import { makeFind } from "./find.js";
import { layOut } from "./layout.js";
import { makeLegend } from "./legend.js";
import { makeMinimap } from "./minimap.js";
import { shapeOf } from "./ranks.js";

/** @import { Frame, Run } from "../core/frame.d.ts" */
/** @import { Act, State, View } from "../core/state.js" */
/** @import { TreePanel } from "./panel.js" */

/** Which line stands on the cards of a rule. @type {Record<string, string>} */
const LINES = { "uniform < threshold": "coin", "p > threshold": "value" };
/** Below these sizes of its place nothing lies over the tree. */
const NARROW = 620, LOW = 260;
const ROOM_FOR_KEY = 120, BESIDE_KEY = 140;

/**
 * @param {TreePanel} ui
 * @param {State} state
 * @param {Act} act
 * @param {() => void} redraw
 */
export function makeTree(ui, state, act, redraw) {
  const minimap = makeMinimap(ui, (node) => act.select(node, true));
  const camera = makeCamera(ui, state, () => state.spot && minimap.follow(state.spot, state.camera, state.box));
  const find = makeFind(ui, state, act, redraw), legend = makeLegend(ui, state, act);
  let drawn = "";
  /** @type {Frame | null} */
  let of = null;

  /**
   * @param {Run} run
   * @param {Frame} frame
   * @param {View} view
   */
  function draw(run, frame, view) {
    if (!state.box.width) state.box = camera.box();
    const { box } = state, found = view.found ? `found ${[...view.found]}` : "";
    const key = [run.id, run.verifiers.length, frame.step, state.phase, view.lens, view.compare, [...view.shown], [...view.open], found, box.width, box.height].join("|");
    if (key === drawn && frame === of) return;
    drawn = key;
    of = frame;
    const shape = shapeOf(frame, view), spot = (state.spot = layOut(shape, box));
    const looks = looksOf(run, view.lens), first = verdictBy(frame, view.lens)?.decisions.comparison[0];
    ui.treeBox.style.setProperty("--sv-driver", `var(--sv-${looks.role})`);
    ui.treeBox.dataset.line = LINES[COMPARISONS[first ?? (run.engine ? -1 : 0)]] || "";
    ui.treeBox.classList.toggle("sv-small", box.width < NARROW || box.height < LOW);
    ui.key.hidden = spot.scale < 1 || spot.heads[1].left < BESIDE_KEY;
    ui.key.classList.toggle("sv-key-up", Number(spot.y[0]) * spot.scale > box.height - ROOM_FOR_KEY);
    state.hits = drawTree(ui.scene, run, frame, view, shape, spot);
    ui.scene.nodes.setAttribute("aria-label", state.phase === null ? `Nodes of the draft tree. ${frame.summary}` : "Nodes of the draft tree");
    ui.folded.textContent = spot.folded ? `${spot.folded} of ${shape.parent.length} nodes are folded. Click “+ n more” to open.` : "";
    minimap.draw(shape, spot);
    camera.set(state.camera.zoom === 1 ? fitted(spot, box) : state.camera);
  }

  const sizes = new ResizeObserver(() => {
    const now = camera.box();
    if (Math.abs(now.width - state.box.width) < 2 && Math.abs(now.height - state.box.height) < 2) return;
    state.box = now;
    redraw();
  });
  sizes.observe(ui.treeBox);

  return { draw, legend, camera, find, dispose: () => sizes.disconnect() };
}
