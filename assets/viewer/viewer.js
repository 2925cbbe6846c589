/* specvizViewer.mount(element, {onSelect, onNeed, ask}) -> {update, show, select, dispose, state}
 *
 * Keeps the frames it was sent and walks them: keys, buttons, scrubbing, node clicks and verifier switches never ask a
 * server. `update` takes a block, a list of blocks (or of lists), or either as JSON text. `onNeed(run id, steps)` asks for
 * frames that a block promised and that never came; `onSelect({trace, step, node, verifier})` tells what is looked at;
 * `ask(kind, data)` tells the server what a person wants. All three are left out in an exported file.
 *
 * A tool (what if, lessons, compare ...) is a file of its own that pushes `(ui, state, act, handlers) -> tool` to
 * `specvizViewer.tools`. A tool may have `take(block)`, called for every block that came, `run()`, called when another run
 * is shown, and `moved()`, called after every drawing.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el } = ns.panels;
  const PLAY_MS = 900, PLAY_PHASE_MS = 1800, ASK_AT_ONCE = 12, UNFOLD_WHOLE = 40;

  function mount(element, options) {
    const handlers = options || {};
    const state = {
      run: null, frames: new Map(), step: 0, phase: null, selected: null, lens: null, hidden: new Set(), open: new Map(),
      zoom: 1, focus: false, hits: [], cacheHits: [], maskHits: {}, scale: 1, looks: 0, playing: null, asked: new Set(), refused: new Map(), opened: new Set(),
    };
    const ui = ns.dom.build();
    element.classList.add("specviz");
    element.replaceChildren(ui.root);
    const act = { select, show, toggle, watch, phase: (index) => enter(index), unfold, redraw: () => state.run && render("look"), notice: showNotice, leaveFocus: () => state.focus && focusMode(false) };
    const renderer = ns.render.make(ui, state, act);
    const text = ns.text.make(ui, state);
    const rows = (model) => ({ box: ui[`mask.${model}`], hits: () => (state.maskHits && state.maskHits[model]) || [] });
    state.links = ns.links.make(ui, state, [{ box: ui.cache, hits: () => state.cacheHits }, rows("target"), rows("draft")], act);
    ns.pointer(ui, state, act);
    const tools = ns.tools.map((make) => make(ui, state, act, handlers));
    const tellTools = (what, value) => tools.forEach((tool) => tool[what] && tool[what](value));

    /* -------------------------------------------------------------------------------------------- frames in */

    function update(value) {
      if (value === null || value === undefined || value === "") return;
      const blocks = [typeof value === "string" ? JSON.parse(value) : value].flat(Infinity);
      for (const block of blocks) {
        if (!block) continue;
        for (const step of block.left || []) state.asked.delete(step); // there was no room for them
        if (!block.fills) showNotice(block.notice); // what was missing came; nothing else has happened
        if (block.proofs) state.proofs = block.proofs;
        if (!block.run) {
          tellTools("take", block);
          continue;
        }
        const atEnd = state.run !== null && state.step >= state.run.steps - 1;
        if (!state.run || state.run.id !== block.run.id) {
          stop();
          Object.assign(state, { frames: new Map(), step: 0, phase: null, selected: null, lens: null, open: new Map(), asked: new Set(), refused: new Map() });
          state.hidden = new Set();
          state.run = block.run;
          if (typeof block.go === "number") state.step = block.go;
          tellTools("run");
        } else {
          state.run = block.run;
          for (const step of [...state.frames.keys()]) if (step >= block.run.steps) state.frames.delete(step);
          // A reader who went back while the run goes on is left where they are.
          if (typeof block.go === "number" && (atEnd || block.jump)) go(block.go);
        }
        for (const frame of block.frames) state.frames.set(frame.step, frame);
        for (const [step, said] of block.refused || []) state.refused.set(step, said), state.asked.add(step);
        tellTools("take", block);
      }
      if (!state.run) return;
      state.step = Math.max(0, Math.min(state.step, state.run.steps - 1));
      text.build();
      render("move");
      clearTimeout(state.asking);
      state.asking = setTimeout(askForMissing, 250);
    }

    /** A block without a notice takes the last one away. */
    function showNotice(notice) {
      ns.panels.showNotice(ui.notice, notice);
    }

    function askForMissing() {
      if (!handlers.onNeed || !state.run) return;
      const missing = [];
      for (let away = 0; away < state.run.steps && missing.length < ASK_AT_ONCE; away++)
        for (const step of away ? [state.step + away, state.step - away] : [state.step])
          if (step >= 0 && step < state.run.steps && !state.frames.has(step) && !state.asked.has(step)) missing.push(step);
      missing.forEach((step) => state.asked.add(step));
      if (missing.length) handlers.onNeed(state.run.id, missing);
    }

    /* ------------------------------------------------------------------------------------------------ moves */

    const frameNow = () => state.frames.get(state.step);

    function go(step) {
      if (step !== state.step) Object.assign(state, { step, phase: null, selected: null });
    }

    function show(step, phase) {
      if (!state.run || !state.run.steps) return;
      const next = Math.max(0, Math.min(step, state.run.steps - 1));
      if (next === state.step) return state.phase !== null && enter(null);
      go(next);
      if (phase !== undefined && frameNow()) state.phase = phase < 0 ? phases().length - 1 : phase;
      soon();
      if (!frameNow()) askForMissing();
      tell();
    }

    /** Draw before the next repaint: several moves that arrive together are drawn once. */
    function soon() {
      if (!state.drawing) state.drawing = requestAnimationFrame(() => render("move"));
    }

    function select(node, keep) {
      const frame = frameNow();
      if (!frame) return;
      state.selected = node === state.selected && !keep ? null : node;
      const hidden = state.selected !== null && frame.tree.y[node] === null;
      if (hidden) reveal(frame, node);
      render("select");
      if (state.selected !== null) state.links.show(node);
      tell();
    }

    /** Open the folds that hide `node`. */
    function reveal(frame, node) {
      const open = opened();
      for (let at = node; at > 0; at = frame.tree.parent[at]) if (frame.tree.y[at] === null) open.add(at);
    }

    function opened() {
      if (!state.open.has(state.step)) state.open.set(state.step, new Set());
      return state.open.get(state.step);
    }

    function unfold(parent) {
      const frame = frameNow(), open = opened();
      const y = frame.tree.y.map((value, node) => (value === null && open.has(node) ? 0 : value));
      const [count, below] = ns.scene.hiddenBelow(frame.tree, y, parent);
      for (const node of below) if (count <= UNFOLD_WHOLE || frame.tree.parent[node] === parent) open.add(node);
      render("look");
    }

    function toggle(name) {
      if (!state.hidden.delete(name)) state.hidden.add(name);
      text.buildTimeline();
      render("look");
    }

    /** Watch another verifier; inside a step, go to its first decision, or stay where all have been judged. */
    function watch(name) {
      const frame = frameNow();
      if (state.phase !== null) {
        const before = frame.phases.before.length, left = phases().length - state.phase;
        state.lens = name;
        if (left <= frame.phases.after.length) state.phase = phases().length - left;
        else state.phase = Math.min(state.phase, before);
      }
      state.lens = name;
      render("look");
      tell();
    }

    function tell() {
      if (handlers.onSelect) handlers.onSelect({ trace: state.run.id, step: state.step, node: state.selected, verifier: state.lens });
    }

    /* ---------------------------------------------------------------------------------------- inside a step */

    const phases = () => ns.phases.list(frameNow(), renderer.lensOf(frameNow()));

    function enter(phase) {
      state.phase = phase;
      state.selected = null;
      render("look");
    }

    function phaseForward() {
      if (!frameNow()) return;
      if (state.phase === null) return enter(0);
      if (state.phase + 1 < phases().length) return enter(state.phase + 1);
      if (state.step + 1 < state.run.steps) show(state.step + 1, 0);
    }

    function phaseBackward() {
      if (!frameNow()) return;
      if (state.phase === null) return enter(phases().length - 1);
      if (state.phase > 0) return enter(state.phase - 1);
      if (state.step > 0) show(state.step - 1, -1);
    }

    function play() {
      if (state.playing) return stop();
      if (!state.run || !state.run.steps) return;
      const inside = state.phase !== null, last = () => state.step >= state.run.steps - 1;
      const atEnd = () => last() && (state.phase === null || state.phase >= phases().length - 1);
      if (atEnd()) show(0, inside ? 0 : undefined);
      state.playing = setInterval(() => (atEnd() ? stop() : state.phase === null ? show(state.step + 1) : phaseForward()), inside ? PLAY_PHASE_MS : PLAY_MS);
      ui.play.textContent = "❚❚";
      ui.play.setAttribute("aria-label", "Pause");
    }

    function stop() {
      clearInterval(state.playing);
      state.playing = null;
      ui.play.textContent = "►";
      ui.play.setAttribute("aria-label", "Play");
    }

    /** The tree alone in the whole window, for projecting and for small screens. */
    function focusMode(on) {
      state.focus = on;
      ui.root.classList.toggle("sv-focus", on);
      ui.focus.setAttribute("aria-pressed", String(on));
      document.documentElement.classList.toggle("specviz-focus", on);
      if (state.run) render("look");
    }

    /* ----------------------------------------------------------------------------------------------- render */

    /** `change`: "move", "look" (another look at the same step) or "select". */
    function render(change) {
      cancelAnimationFrame(state.drawing);
      state.drawing = null;
      const run = state.run, frame = frameNow(), count = run.steps;
      if (!frame) state.phase = null;
      ui.root.dataset.step = String(state.step);
      ui.empty.hidden = Boolean(frame);
      ui.body.hidden = !frame;
      ui.range.max = String(Math.max(0, count - 1));
      ui.range.value = String(state.step);
      ui.range.disabled = count < 2;
      ui.where.textContent = count ? `step ${state.step + 1} of ${count}` : "no step yet";
      for (const [button, off] of [[ui.first, state.step <= 0], [ui.back, state.step <= 0], [ui.next, state.step >= count - 1], [ui.last, state.step >= count - 1]])
        button.disabled = off || !count;
      const said = about(run);
      if (ui.models.textContent !== said) ui.models.textContent = said;
      text.move(!frame || state.phase === null || state.phase >= phases().length - frame.phases.after.length);
      ns.failed.draw(ui, run);
      if (!frame) renderEmpty(count);
      else renderer.paint(change);
      tellTools("moved");
    }

    function renderEmpty(count) {
      const refused = count > 0 && state.refused.get(state.step);
      ui.empty.classList.toggle("sv-loading", count > 0 && !refused);
      ui.empty.replaceChildren(...(refused ? [el("b", {}, `Step ${state.step + 1} cannot be shown here.`), el("span", {}, refused)]
        : count
        ? [el("b", {}, `Loading step ${state.step + 1} …`), el("span", {}, "Its frame is on the way; the other steps can be opened meanwhile.")]
        : state.run.failed ? [el("b", {}, "This run has no step that went through."), el("span", {}, "Its first one failed; what is known of it stands above.")]
        : [el("b", {}, "This run has no step yet."), el("span", {}, "Press Step to draft the first tree, or Run to decode until the end.")]));
    }

    function about(run) {
      const { target, draft } = run.models, s = run.settings;
      const heat = s.target.temperature === 0 ? "greedy target" : `temperature ${s.target.temperature}`;
      // A run that was only left off can go on.
      const end = run.endReason && run.endReason !== "stopped" ? ` · ended: ${run.endMessage || run.endReason}` : "";
      // Names can be given twice; what tells weights apart is recorded beside them.
      const weights = run.weights.every((one) => one === run.weights[0]) ? run.weights[0] : run.weights.join(" ← ");
      const from = run.draftRan === false ? ` (${draft.id} ran in no step)` : ` ← ${draft.id}`;
      return `${target.id}${from} · weights ${weights} · ${target.dtype} on ${target.device} · ${heat} · seed ${s.seed}${end}`;
    }

    /* ------------------------------------------------------------------------------------ keys and the page */

    for (const box of [ui.text, ui.timeline])
      box.addEventListener("click", (event) => {
        const found = event.target.closest("[data-step]");
        if (!found) return;
        const step = Number(found.dataset.step);
        // A word of the step in sight selects its node, as a click on the card does.
        if (step === state.step && found.dataset.node !== undefined) return select(Number(found.dataset.node));
        if (step === state.step && found.dataset.bonus !== undefined) return select(frameNow().verdicts.find((v) => v.verifier === found.dataset.bonus).bonus.node);
        show(step);
      });

    function escape() {
      if (ui.help.open) ui.help.close();
      else if (state.selected !== null) select(state.selected);
      else if (state.phase !== null) enter(null);
      else if (state.focus) focusMode(false);
    }

    const KEYS = {
      ArrowLeft: () => show(state.step - 1), ArrowRight: () => show(state.step + 1), Home: () => show(0), End: () => show(Infinity),
      "[": () => show(state.step - 1), "]": () => show(state.step + 1), ".": phaseForward, ",": phaseBackward, " ": play, Escape: escape,
      t: () => state.links.focusTree(), f: () => focusMode(!state.focus), "?": () => (ui.help.open ? ui.help.close() : ui.help.showModal()),
    };
    const BUSY = "input:not([type=range]), textarea, select, [contenteditable], [role=slider], [role=listbox], [role=combobox], [role=tab]";

    function onKey(event) {
      if (!element.isConnected) return dispose();
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      const at = event.target;
      if (at.closest && (at.closest(BUSY) || at.matches("input"))) return;
      if (event.key === " " && at.closest && at.closest("button, summary, a")) return;
      // An open dialog has the keys for itself.
      if (!KEYS[event.key] || !state.run || (ui.help.open && !["Escape", "?"].includes(event.key))) return;
      event.preventDefault();
      KEYS[event.key]();
    }

    ui.first.onclick = () => show(0);
    ui.back.onclick = () => show(state.step - 1);
    ui.next.onclick = () => show(state.step + 1);
    ui.last.onclick = () => show(Infinity);
    ui.play.onclick = play;
    ui.phaseNext.onclick = phaseForward;
    ui.phaseBack.onclick = phaseBackward;
    ui.phaseLeave.onclick = () => enter(null);
    ui.focus.onclick = () => focusMode(!state.focus);
    ui.range.oninput = () => show(Number(ui.range.value));
    ui.helpButton.onclick = () => ui.help.showModal();
    ui.larger.onclick = () => ((state.zoom = Math.min(2.5, state.zoom * 1.2)), state.run && render("look"));
    ui.smaller.onclick = () => ((state.zoom = Math.max(0.5, state.zoom / 1.2)), state.run && render("look"));
    document.addEventListener("keydown", onKey);
    const redraw = () => state.run && render("look");
    const recolour = () => {
      ns.scene.forgetColours();
      state.looks += 1;
      redraw();
    };
    const themes = new MutationObserver(recolour);
    for (const watched of [document.documentElement, document.body]) themes.observe(watched, { attributes: true, attributeFilter: ["class", "data-theme"] });
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", recolour);
    let room = [0, 0];
    const sizes = new ResizeObserver(() => {
      const now = [ui.treeBox.clientWidth, root.innerHeight];
      if (Math.abs(now[0] - room[0]) < 8 && Math.abs(now[1] - room[1]) < 8) return;
      room = now;
      redraw();
    });
    sizes.observe(ui.treeBox);
    sizes.observe(document.documentElement);

    function dispose() {
      stop();
      renderer.dispose();
      if (state.focus) document.documentElement.classList.remove("specviz-focus");
      ns.mounted.splice(ns.mounted.indexOf(viewer), 1);
      document.removeEventListener("keydown", onKey);
      scheme.removeEventListener("change", recolour);
      themes.disconnect();
      sizes.disconnect();
    }

    const viewer = { update, show, select, dispose, state };
    ns.mounted.push(viewer);
    return viewer;
  }

  ns.mount = mount;
  ns.mounted = [];
})(window);
