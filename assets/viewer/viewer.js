/* mount(element, handlers) -> {update, show, select, dispose, state}: the viewer of one run.
 *
 * Keeps the frames it was sent and walks them: keys, buttons, scrubbing, node clicks and verifier switches never ask a
 * server. `update` takes what blocksOf() reads. A tool (what if, lessons, compare ...) is a file of tools/ whose function
 * stands in TOOLS.
 */

import { blocksOf, isAside, isLate, takeMissing, takeRun } from "./core/blocks.js";
import { showNotice } from "./core/dom.js";
import { listenForKeys } from "./core/keys.js";
import { makeMotion } from "./core/motion.js";
import { emptyState, frameDrawn, frameNow, runDrawn } from "./core/state.js";
import { aboutRun, driving, verdictBy } from "./core/words.js";
import { LOW, NARROW, NODE } from "./panels/dock.js";
import { drawEmpty } from "./panels/empty_step.js";
import { drawFailed } from "./panels/failed.js";
import { offerNode } from "./panels/telling.js";
import { makeText } from "./panels/text.js";
import { extended } from "./panels/timeline.js";
import { makeTrail } from "./panels/trail.js";
import { isWhyOpen } from "./panels/why_panel.js";
import { buildParts } from "./parts.js";
import { lensOf, makeRenderer } from "./render.js";
import { makeCompare } from "./tools/compare.js";
import { makeCopy } from "./tools/copy.js";
import { makeFaults } from "./tools/faults.js";
import { makeFigureDialog } from "./tools/figure_dialog.js";
import { makeFollow } from "./tools/follow.js";
import { makeLessons } from "./tools/lessons.js";
import { makePlayer } from "./tools/player.js";
import { makeRequests } from "./tools/requests.js";
import { makeShare } from "./tools/share.js";
import { makeTour } from "./tools/tour.js";
import { makeWhatIf } from "./tools/whatif.js";
import { allBelow } from "./tree/folding.js";
import { ZOOM_STEP } from "./tree/camera.js";
import { phasesOf } from "./tree/phases.js";
import { makePointer } from "./tree/pointer.js";
import { makeSelection } from "./tree/selection.js";
import { makeTree } from "./tree/tree.js";

/** @import { Act, Handlers, ModelName, NoticeShown, Range, State, Tool } from "./core/state.js" */

/** @typedef {{update: (value: any) => void, show: (step: number) => void, select: Act["select"], dispose: () => void, leave: () => void, await: () => void, starting: (prompt: string | null) => void, open: (run: string, step: number) => void, ask: NonNullable<Handlers["ask"]>, state: State}} Viewer */

const TOOLS = [makeShare, makeCopy, makeFigureDialog, makeCompare, makeWhatIf, makeLessons, makeFaults, makeRequests, makeFollow, makeTour];
const ASK_AT_ONCE = 12, ASK_MS = 250, UNFOLD_WHOLE = 40;

/** Those that are in a page, the last one mounted at the end. @type {Viewer[]} */
export const mounted = [];

/**
 * @param {HTMLElement} element
 * @param {Handlers} [handlers]
 * @returns {Viewer}
 */
export function mount(element, handlers = {}) {
  let isDouble = false, opening = /** @type {number | null} */ (null);
  const state = emptyState(), ui = buildParts(), narrow = matchMedia(NARROW), low = matchMedia(LOW), motion = makeMotion(ui.root);
  element.classList.add("specviz");
  element.replaceChildren(ui.root);
  const act = /** @type {Act} */ ({
    select, show, toggle, watch, phase: (index) => enter(index), range: choose, unfold, notice: showNoticeOf, compare: comparePaths,
    light: (target) => selection.light(target), focusTree: (start) => selection.focusTree(start), open: openDock, reveal, rebuild, takeShape: handlers.ask && ((/** @type {number} */ budget) => state.run && handlers.ask?.("take_shape", { run: state.run.id, budget })),
  });
  Object.assign(act, makeTrail(ui, state, act, () => (redraw(), tell())));
  ui.dock.listen((name) => openDock(name));
  /** @param {NoticeShown | null} [notice] */
  function showNoticeOf(notice) {
    const work = notice?.kind === "working" && handlers.onWorking ? notice : null;
    handlers.onWorking?.(work);
    showNotice(ui.notice, work ? null : notice);
  }

  const inMask = (/** @type {ModelName} */ model) => ({ box: ui.masks[model].picture, hits: () => state.maskHits[model] || [] });
  const selection = makeSelection(ui, state, [inMask("target"), inMask("draft")], select, (node) => tree.camera.show(node));
  const tree = makeTree(ui, state, act, () => redraw());
  const renderer = makeRenderer(ui, state, selection, tree, act, motion), text = makeText(ui, state, act);
  makePointer(ui, state, act);
  /** @type {Tool[]} */
  const tools = TOOLS.map((make) => make(ui, state, act, handlers));
  ui.tools.append(ui.helpButton);

  /* ---------------------------------------------------------------------------------------------- frames in */

  /** @param {any} value */
  function update(value) {
    const came = blocksOf(value).filter((block) => !isLate(state.run, block)), blocks = tools.some((tool) => tool.declines?.(came)) ? [] : came, before = frameNow(state), stood = state.step;
    for (const block of blocks) {
      if (isAside(state, block)) {
        state.away = true; // until the reader goes to it, or asks for another step
        handlers.onAside?.(block);
        act.notice(block.notice);
        continue;
      }
      for (const step of block.left || []) state.asked.delete(step); // there was no room for them
      handlers.onBlock?.(block);
      // What was missing came, or what is followed went on: nothing else has happened.
      if (!block.fills && (!block.following || block.notice !== undefined)) act.notice(block.notice);
      if (block.proofs) state.proofs = block.proofs;
      if (block.run && !block.fills) state.starting = null;
      if (block.run && takeRun(state, block)) {
        stop();
        for (const tool of tools) tool.run?.();
      }
      for (const tool of tools) tool.take?.(block);
    }
    if (!blocks.length || !state.run) return;
    state.step = Math.max(0, Math.min(state.step, state.run.steps - 1));
    text.build();
    render(before && before === frameNow(state) && stood === state.step && !state.drawing && blocks.every((block) => block.following) ? "run" : "move");
    clearTimeout(state.asking);
    state.asking = setTimeout(askForMissing, ASK_MS);
  }

  function rebuild() {
    if (!state.run) return;
    text.build();
    render("look");
  }

  function askForMissing() {
    if (!handlers.onNeed || !state.run) return;
    const missing = takeMissing(state, ASK_AT_ONCE);
    if (missing.length) handlers.onNeed(state.run.id, missing);
  }

  /* -------------------------------------------------------------------------------------------------- moves */

  /**
   * @param {number} step
   * @param {number} [phase] -1 is the last one
   */
  function show(step, phase) {
    if (!state.run?.steps) return;
    const next = Math.max(0, Math.min(step, state.run.steps - 1));
    if (next === state.step) return state.phase === null ? undefined : enter(null);
    Object.assign(state, { step: next, phase: null, selected: null });
    if (phase !== undefined && frameNow(state)) state.phase = phase < 0 ? phases().length - 1 : phase;
    motion.begin();
    // Before the next repaint: several moves that arrive together are drawn once.
    if (!state.drawing) state.drawing = requestAnimationFrame(() => render("move"));
    if (!frameNow(state)) askForMissing();
    tell();
  }

  /**
   * @param {number | null} node
   * @param {boolean} [keep]
   */
  function select(node, keep) {
    const frame = frameNow(state);
    if (!frame) return;
    state.awaits = false;
    state.selected = node === state.selected && !keep && !isDouble && !state.offered ? null : node;
    Object.assign(state, { offered: false, closed: state.selected === null });
    if (state.selected !== null && state.spot?.y[state.selected] === null) opened().add(state.selected);
    if (state.selected !== null && narrow.matches && state.dock !== "whatif" && !state.asks) markDock(NODE);
    render("select");
    if (state.selected !== null) tree.camera.show(state.selected);
    tell();
  }

  /** The nodes of this step whose folds are open. */
  function opened() {
    let open = state.open.get(state.step);
    if (!open) state.open.set(state.step, (open = new Set()));
    return open;
  }

  /** @param {number} node whose card says how many are folded */
  function unfold(node) {
    const hidden = state.spot?.stubs.find((stub) => stub.node === node)?.hidden || [], below = allBelow(frameDrawn(state).tree.parent, hidden), open = opened();
    for (const one of below.size <= UNFOLD_WHOLE ? below : hidden) open.add(one);
    render("look");
  }

  /** @param {string} name */
  function toggle(name) {
    if (!state.hidden.delete(name)) state.hidden.add(name);
    render("look");
  }

  /** @param {Range | null} range */
  function choose(range) {
    state.range = range;
    render("look");
  }

  /** @param {number} way by how many steps the range reaches further */
  function extend(way) {
    if (state.run?.steps) choose(extended(state.range, state.step, way, state.run.steps));
  }

  /**
   * Watch another verifier; inside a step, go to its first decision, or stay where all have been judged.
   * @param {string} name
   */
  function watch(name) {
    const left = state.phase === null ? 0 : phases().length - state.phase;
    state.lens = name;
    if (state.phase !== null) {
      const { before, after } = frameDrawn(state).phases;
      state.phase = left <= after.length ? phases().length - left : Math.min(state.phase, before.length);
    }
    render("look");
    tell();
  }

  function comparePaths() {
    state.compare = !state.compare;
    render("look");
  }

  function tell() {
    handlers.onSelect?.({ trace: runDrawn(state).id, step: state.step, node: state.selected, verifier: state.lens });
  }

  /* ------------------------------------------------------------------------------------------ inside a step */

  const phases = () => phasesOf(frameDrawn(state), lensOf(state, frameDrawn(state)));

  /** @param {number | null} phase */
  function enter(phase) {
    motion.begin();
    state.awaits = false;
    state.phase = phase;
    state.selected = null;
    render("look");
  }

  function phaseForward() {
    if (!frameNow(state)) return;
    if (state.phase === null) enter(0);
    else if (state.phase + 1 < phases().length) enter(state.phase + 1);
    else if (state.step + 1 < runDrawn(state).steps) show(state.step + 1, 0);
  }

  function phaseBackward() {
    if (!frameNow(state)) return;
    if (state.phase === null) enter(phases().length - 1);
    else if (state.phase > 0) enter(state.phase - 1);
    else if (state.step > 0) show(state.step - 1, -1);
  }

  const atEnd = () => state.step >= runDrawn(state).steps - 1 && (state.phase === null || state.phase >= phases().length - 1);
  const { play, stop } = makePlayer(ui, state, {
    atEnd, restart: (inside) => show(0, inside ? 0 : undefined), on: () => (state.phase === null ? show(state.step + 1) : phaseForward()),
  });

  /**
   * The tree alone in the whole window, for small screens and, in large type, for projecting.
   * @param {boolean} on
   * @param {boolean} [large]
   */
  function focusMode(on, large = false) {
    state.focus = on;
    state.large = large;
    ui.root.classList.toggle("sv-large", large);
    state.box.width = 0; // another place, measured anew
    ui.root.classList.toggle("sv-focus", on);
    ui.focus.setAttribute("aria-pressed", String(on));
    document.documentElement.classList.toggle("specviz-focus", on);
    redraw();
  }

  /**
   * Open a panel of the dock, or close it.
   * @param {string} name of its tab, or ""
   */
  function openDock(name) {
    markDock(name);
    redraw();
  }

  /** @param {string} name */
  function markDock(name) {
    state.dock = ui.root.dataset.dock = name;
    if (name === "table") ui.nodeTable.open = true;
    ui.dock.show(name);
    delete ui.dock.box.dataset.drawn;
  }

  // Of a narrow window the node's tab closes, too, where a lesson or a fault lies under the sheet.
  const closeDock = () => openDock(state.dock && (state.dock !== NODE || state.asks) ? "" : "cache");

  /**
   * Go to an element in a panel of the dock.
   * @param {HTMLElement} element
   */
  function reveal(element) {
    if (state.focus) focusMode(false);
    openDock(ui.dock.nameOf(element) || state.dock);
    element.scrollIntoView({ block: "nearest" });
  }

  /* ------------------------------------------------------------------------------------------------- render */

  /** @param {"move" | "look" | "select" | "run"} change */
  function render(change) {
    if (state.drawing) cancelAnimationFrame(state.drawing);
    state.drawing = null;
    const run = runDrawn(state), frame = frameNow(state), count = run.steps;
    if (!frame) state.phase = null;
    offerNode(state, frame);
    ui.root.dataset.step = String(state.step);
    ui.root.classList.toggle("sv-starting", state.starting !== null);
    ui.empty.hidden = Boolean(frame);
    ui.body.hidden = !frame;
    ui.tip.hidden ||= !frame;
    ui.range.max = String(Math.max(0, count - 1));
    ui.range.value = String(state.step);
    ui.range.disabled = count < 2;
    ui.where.textContent = count ? `step ${state.step + 1} of ${count}` : "no step yet";
    ui.first.disabled = ui.back.disabled = state.step <= 0 || !count;
    ui.next.disabled = ui.last.disabled = state.step >= count - 1 || !count;
    const said = aboutRun(run);
    if (ui.models.textContent !== said) ui.models.textContent = said;
    text.move(!frame || state.phase === null || state.phase >= phases().length - frame.phases.after.length);
    drawFailed(ui.failed, run);
    if (frame) renderer.paint(change);
    else drawEmpty(ui.empty, state, run);
    for (const tool of tools) tool.moved?.();
  }

  const redraw = () => state.run && render("look");

  /* -------------------------------------------------------------------------------------- keys and the page */

  // A double click selects, too: its second click does not take back what the first did.
  for (const kind of ["click", "keydown"]) ui.root.addEventListener(kind, (event) => (isDouble = /** @type {UIEvent} */ (event).detail > 1), true);
  ui.text.addEventListener("click", (event) => {
    const found = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("[data-step]"));
    if (!found) return;
    const step = Number(found.dataset.step), { node, bonus } = found.dataset, hasOpened = step === opening;
    opening = step === state.step ? null : step;
    if (isDouble && hasOpened) return; // the first click of the two has opened the step
    // A word of the step in sight selects its node, as a click on the card does.
    if (step === state.step && node !== undefined) select(Number(node));
    else if (step === state.step && bonus !== undefined) select((verdictBy(frameDrawn(state), bonus) || driving(frameDrawn(state))).bonus?.node ?? 0);
    else show(step);
  });

  function escape() {
    if (ui.help.open) ui.help.close();
    else if (state.selected !== null && !state.offered) select(null);
    else if (state.why) act.why(false);
    else if (state.phase !== null) enter(null);
    else if (state.focus) focusMode(false);
    else if (state.range) choose(null);
    else if (state.selected !== null) select(null);
  }

  const back = () => show(state.step - 1), forward = () => show(state.step + 1), first = () => show(0), last = () => show(Infinity);
  const stopListening = listenForKeys({
    ArrowLeft: back, ArrowRight: forward, "[": back, "]": forward, Home: first, End: last, ".": phaseForward, ",": phaseBackward, " ": play, Escape: escape,
    ...Object.fromEntries(ui.dock.names.map((name, i) => [String(i + 1), () => openDock(name)])), k: closeDock,
    "Shift ArrowLeft": () => extend(-1), "Shift ArrowRight": () => extend(1), "Shift Home": () => extend(-Infinity), "Shift End": () => extend(Infinity),
    Backspace: act.backtrack, n: () => act.hit(1), N: () => act.hit(-1), w: () => act.why(!isWhyOpen(state)),
    c: comparePaths, "/": tree.find.focus, "+": () => tree.camera.zoom(ZOOM_STEP), "=": () => tree.camera.zoom(ZOOM_STEP), "-": () => tree.camera.zoom(1 / ZOOM_STEP), 0: tree.camera.fit,
    t: () => selection.focusTree(), f: () => focusMode(!state.focus), b: () => focusMode(!state.large, !state.large), e: () => act.figure?.(), "?": () => (ui.help.open ? ui.help.close() : ui.help.showModal()),
  }, (key) => {
    if (!element.isConnected) dispose();
    // An open dialog has the keys for itself.
    return element.isConnected && state.run !== null && (!ui.root.querySelector("dialog[open]") || (ui.help.open && ["Escape", "?"].includes(key)));
  });

  const transport = /** @type {const} */ ({ first, back, next: forward, last, play, phaseNext: phaseForward, phaseBack: phaseBackward });
  for (const [name, move] of Object.entries(transport)) ui[/** @type {keyof typeof transport} */ (name)].onclick = move;
  ui.phaseLeave.onclick = () => enter(null);
  ui.dock.fold.onclick = closeDock;
  ui.focus.onclick = () => focusMode(!state.focus);
  ui.range.oninput = () => show(Number(ui.range.value));
  ui.helpButton.onclick = () => ui.help.showModal();
  ui.compare.onclick = comparePaths;

  function dispose() {
    stop();
    if (state.focus) document.documentElement.classList.remove("specviz-focus");
    if (mounted.includes(viewer)) mounted.splice(mounted.indexOf(viewer), 1);
    stopListening();
    low.removeEventListener("change", becameLow);
    motion.dispose();
    tree.dispose();
    for (const tool of tools) tool.dispose?.();
  }

  const becameLow = () => low.matches && openDock("");
  low.addEventListener("change", becameLow);
  openDock(low.matches ? "" : narrow.matches ? NODE : "cache");
  /** @type {Viewer} */
  const viewer = {
    update, show, select, dispose, leave: () => tools.forEach((tool) => tool.leave?.()), await: () => Object.assign(state, { awaits: true, away: false }), open: (run, step) => handlers.ask?.("open_run", { run, step }),
    starting: (prompt) => (state.starting = prompt, redraw()), ask: (kind, data) => handlers.ask?.(kind, data), state,
  };
  mounted.push(viewer);
  return viewer;
}
