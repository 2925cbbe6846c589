/* Paints the current step: the tree at once, the words beside it right after, everything else when there is time.
 *
 * What did not change is not painted again. A move that is followed by another one never pays for the lower panels.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const SMALLEST_SCALE = 0.86, LARGEST_SCALE = 1.3, LARGEST_FOCUS = 2.2, SMALLEST_FOCUS = 0.8, QUIET_MS = 70, UNSEEN_MS = 400, AROUND_TREE = 130, BESIDE = 306;

  function make(ui, state, act) {
    const { el, swatch } = ns.panels;
    let treeKey = null, treeFrame = null, legendKey = null, lowerKey = null, lowerFrame = null, after = null, soon = null, quiet = null, pending = null;

    const shown = () => new Set(state.run.verifiers.map((v) => v.name).filter((name) => !state.hidden.has(name)));
    const lensOf = (frame) => (state.lens && frame.tree.states[state.lens] ? state.lens : frame.driver);
    const openOf = () => state.open.get(state.step) || new Set();

    function viewOf(frame) {
      const lens = lensOf(frame);
      return { lens, shown: shown(), selected: state.selected, open: openOf(), scale: 1, proofs: state.proofs || {}, known: ns.phases.known(frame, lens, state.phase) };
    }

    /** `change`: "move" for another step, "select" where only the selection changed, anything else for another look. */
    function paint(change) {
      const frame = state.frames.get(state.step), view = viewOf(frame);
      state.known = view.known;
      tree(frame, view);
      words(frame, view);
      cancelAnimationFrame(after);
      clearTimeout(soon);
      clearTimeout(quiet);
      pending = null;
      ns.panelScheduler.cancel(state);
      // Panels that a reader just asked for are there at once; after a move they may come one frame behind the tree.
      if (change === "move") after = requestAnimationFrame(() => (soon = setTimeout(() => (beside(frame, view, true), lower(frame, view)), 0)));
      else {
        beside(frame, view, false);
        lower(frame, view);
      }
    }

    /* ------------------------------------------------------------------------------------------------- tree */

    function tree(frame, view) {
      const spot = ns.scene.layoutOf(state.run, frame, view.open);
      view.scale = scaleFor(spot) * state.zoom;
      const key = [state.run.id, state.run.verifiers.length, frame.step, state.phase, view.lens, [...view.shown], [...view.open], view.scale, state.looks].join();
      if (key === treeKey && frame === treeFrame) return;
      treeKey = key;
      treeFrame = frame;
      const drawn = ns.scene.drawTree(ui.tree, ui.layer, state.run, frame, view);
      state.hits = drawn.hits;
      state.scale = view.scale;
      ui.stage.style.width = `${Math.round(drawn.width * view.scale)}px`;
      ui.tree.setAttribute("aria-label", `Draft tree. ${frame.summary}`);
      ui.folded.textContent = drawn.folded ? `${drawn.folded} of ${frame.tree.parent.length} nodes are folded: nobody accepted them or a sibling of theirs. Click “+ n folded” to open.` : "";
    }

    /** Fits the width; and the height too, as far as labels stay readable. */
    function scaleFor(spot) {
      const wide = (ui.treeBox.clientWidth || 900) / spot.width;
      if (state.focus) return focusScale(spot);
      const tall = Math.max(SMALLEST_SCALE, (root.innerHeight - AROUND_TREE) / spot.height);
      return Math.max(SMALLEST_SCALE, Math.min(LARGEST_SCALE, wide, tall));
    }

    /** In the whole window: as large as it fits, with the words beside the tree where they cost it nothing. */
    function focusScale(spot) {
      const tall = (ui.treeBox.clientHeight || 600) / spot.height, wide = (root.innerWidth - 30) / spot.width;
      const scale = Math.max(SMALLEST_FOCUS, Math.min(LARGEST_FOCUS, wide, tall));
      ui.root.classList.toggle("sv-roomy", spot.width * scale + BESIDE < root.innerWidth);
      return scale;
    }

    function words(frame, view) {
      const inside = state.phase !== null, all = inside ? ns.phases.list(frame, view.lens) : [];
      const kind = inside ? all[state.phase].kind : "";
      ui.root.dataset.phase = kind;
      ui.root.classList.toggle("sv-has-node", state.selected !== null);
      ui.root.dataset.drawn = `${state.run.id}/${state.step}/${inside ? state.phase : ""}`;
      const said = inside ? all[state.phase].caption : frame.summary;
      if (ui.summary.textContent !== said) ui.summary.textContent = said;
      ui.phaseWhere.textContent = inside ? `phase ${state.phase + 1} of ${all.length}` : "step into";
      ui.phaseLeave.hidden = !inside;
      ui.phaseBack.disabled = inside && state.phase === 0 && state.step === 0;
      ui.phaseNext.disabled = inside && state.phase === all.length - 1 && state.step === state.run.steps - 1;
    }

    /* ----------------------------------------------------------------------------------------------- panels */

    function beside(frame, view, moved) {
      const selected = state.selected;
      ui.inspector.replaceChildren(...(selected !== null ? ns.panels.nodePanel(state.run, frame, selected, view, act)
        : state.phase !== null ? ns.phases.panel(frame, view.lens, state.phase, act.phase)
          : ns.panels.stepPanel(state.run, frame, view, act)));
      const current = ui.inspector.querySelector("[aria-current=step]");
      ui.inspector.scrollTop = current ? Math.max(0, current.offsetTop - ui.inspector.clientHeight / 2) : 0;
      legend(frame, view);
      ns.panelScheduler.alarm(ui, frame, state, act); // beside the tree, so it must not speak of the step before
      ui.verdicts.replaceChildren(ns.panels.verdictTable(state.run, frame, view, act));
      state.links.refresh();
      if (moved && selected !== null) state.links.show(selected);
    }

    function legend(frame, view) {
      const key = [state.run.id, Object.keys(frame.tree.states), [...view.shown], view.lens, frame.driver].join();
      if (key === legendKey) return;
      legendKey = key;
      const held = ui.legend.contains(document.activeElement) ? document.activeElement.dataset.verifier || "lens" : null;
      const chips = state.run.verifiers.filter((v) => frame.tree.states[v.name]).map((v) =>
        el("button", { type: "button", class: "sv-chip", "data-verifier": v.name, "aria-pressed": String(!state.hidden.has(v.name)), title: `Show or hide ${v.name}`, onclick: () => act.toggle(v.name) },
          swatch(v), ` ${v.name}`, v.name === frame.driver ? el("span", { class: "sv-badge", title: "its verdict is committed" }, "driver") : null));
      const choice = el("select", { "aria-label": "Frames and crosses show the verdict of", onchange: (event) => act.watch(event.target.value) },
        frame.verdicts.map((v) => el("option", { value: v.verifier, selected: v.verifier === view.lens }, v.verifier)));
      ui.legend.replaceChildren(...chips, el("label", { class: "sv-lens" }, "frames: ", choice));
      if (held) (held === "lens" ? choice : chips.find((chip) => chip.dataset.verifier === held))?.focus();
    }

    /* ---------------------------------------------------------------------------------------- lower panels */

    /** Pictures below the tree: when the keys have been quiet for a moment, sooner where they can be seen. */
    function lower(frame, view) {
      const run = state.run, key = [run.id, frame.step, run.steps, state.looks, state.selected, [...view.shown], [...view.open], JSON.stringify(ns.panelScheduler.story(state.frames, run.steps).get(frame.step))].join();
      const done = () => {
        state.links.refresh();
        ui.root.dataset.painted = `${run.id}/${state.step}`;
      };
      if (key === lowerKey && frame === lowerFrame) return done();
      lowerKey = null;
      pending = () => {
        pending = null;
        ns.panelScheduler.draw(ui, state, frame, view, act, () => {
          lowerKey = key;
          lowerFrame = frame;
          done();
        });
      };
      quiet = setTimeout(pending, belowInSight() ? QUIET_MS : UNSEEN_MS);
    }

    const belowInSight = () => !state.focus && ui.columns.getBoundingClientRect().bottom < root.innerHeight;

    /** Scrolled down before the lower panels were drawn: draw them now. */
    function hurry() {
      if (!pending || !belowInSight()) return;
      clearTimeout(quiet);
      pending();
    }
    document.addEventListener("scroll", hurry, { capture: true, passive: true });

    return { paint, lensOf, dispose: () => document.removeEventListener("scroll", hurry, { capture: true }) };
  }

  ns.render = { make };
})(window);
