/* specvizViewer.mount(element, {onSelect, onNeed}) -> {update, show, select, state}
 *
 * Keeps the frames it was sent and walks them: keys, buttons, scrubbing, node clicks and verifier switches never ask a
 * server. `update` takes a block, a list of blocks, or a block as JSON text. `onNeed(run id, steps)` asks for frames that a
 * block promised and that never came; `onSelect({trace, step, node})` tells what is looked at.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el, swatch, token } = ns.panels;
  const SMALLEST_SCALE = 0.86, LARGEST_SCALE = 1.3, PLAY_MS = 900, ASK_AT_ONCE = 12;

  function mount(element, options) {
    const handlers = options || {};
    const state = {
      run: null, frames: new Map(), step: 0, selected: null, lens: null, hidden: new Set(), open: new Map(),
      zoom: 1, hits: [], cacheHits: [], playing: null, asked: new Set(), opened: new Set(),
    };
    const ui = ns.skeleton();
    element.classList.add("specviz");
    element.replaceChildren(ui.root);
    const shown = () => new Set(state.run.verifiers.map((v) => v.name).filter((name) => !state.hidden.has(name)));
    const act = { select };

    /* -------------------------------------------------------------------------------------------- frames in */

    function update(value) {
      if (value === null || value === undefined || value === "") return;
      const blocks = [].concat(typeof value === "string" ? JSON.parse(value) : value);
      for (const block of blocks) {
        if (!block) continue;
        showNotice(block.notice);
        if (!block.run) continue;
        const atEnd = state.run !== null && state.step >= state.run.steps - 1;
        if (!state.run || state.run.id !== block.run.id) {
          stop();
          Object.assign(state, { frames: new Map(), step: 0, selected: null, lens: null, open: new Map(), asked: new Set() });
          state.hidden = new Set();
          state.run = block.run;
          if (typeof block.go === "number") state.step = block.go;
        } else {
          state.run = block.run;
          for (const step of [...state.frames.keys()]) if (step >= block.run.steps) state.frames.delete(step);
          // A reader who went back while the run goes on is left where they are.
          if (typeof block.go === "number" && (atEnd || block.jump)) state.step = block.go;
        }
        for (const frame of block.frames) state.frames.set(frame.step, frame);
      }
      if (!state.run) return;
      state.step = Math.max(0, Math.min(state.step, state.run.steps - 1));
      render();
      clearTimeout(state.asking);
      state.asking = setTimeout(askForMissing, 250);
    }

    /** An error, a word, or work going on; a block without a notice takes the last one away. */
    function showNotice(notice) {
      ui.notice.hidden = !notice;
      if (!notice) return ui.notice.replaceChildren();
      ui.notice.className = `sv-notice sv-${notice.kind}`;
      ui.notice.setAttribute("role", notice.kind === "error" ? "alert" : "status");
      const busy = notice.kind === "working";
      const bar = busy ? el("progress", { "aria-label": "Progress", max: 1, value: notice.fraction }) : null;
      ui.notice.replaceChildren(el("span", {}, notice.text), ...[bar].filter(Boolean),
        ...(busy ? [] : [el("button", { type: "button", "aria-label": "Close", onclick: () => showNotice(null) }, "×")]));
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

    function show(step) {
      if (!state.run || !state.run.steps) return;
      const next = Math.max(0, Math.min(step, state.run.steps - 1));
      if (next === state.step) return;
      state.step = next;
      state.selected = null;
      render();
      if (!state.frames.has(next)) askForMissing();
      tell();
    }

    function select(node) {
      const frame = state.frames.get(state.step);
      if (!frame) return;
      state.selected = node === state.selected ? null : node;
      if (node !== null && frame.tree.y[node] === null) reveal(frame, node);
      render(true);
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
      const frame = state.frames.get(state.step), open = opened();
      const y = frame.tree.y.map((value, node) => (value === null && open.has(node) ? 0 : value));
      const [count, below] = ns.scene.hiddenBelow(frame.tree, y, parent);
      for (const node of below) if (count <= 40 || frame.tree.parent[node] === parent) open.add(node);
      render(true);
    }

    function tell() {
      if (handlers.onSelect) handlers.onSelect({ trace: state.run.id, step: state.step, node: state.selected });
    }

    function play() {
      if (state.playing) return stop();
      if (!state.run || !state.run.steps) return;
      if (state.step >= state.run.steps - 1) show(0);
      state.playing = setInterval(() => (state.step >= state.run.steps - 1 ? stop() : show(state.step + 1)), PLAY_MS);
      ui.play.textContent = "❚❚";
      ui.play.setAttribute("aria-label", "Pause");
    }

    function stop() {
      clearInterval(state.playing);
      state.playing = null;
      ui.play.textContent = "►";
      ui.play.setAttribute("aria-label", "Play");
    }

    /* ----------------------------------------------------------------------------------------------- render */

    function render(sameStep) {
      const run = state.run, frame = state.frames.get(state.step), count = run.steps;
      ui.root.dataset.step = String(state.step);
      ui.empty.hidden = Boolean(frame);
      ui.body.hidden = !frame;
      ui.range.max = String(Math.max(0, count - 1));
      ui.range.value = String(state.step);
      ui.range.disabled = count < 2;
      ui.where.textContent = count ? `step ${state.step + 1} of ${count}` : "no step yet";
      for (const [button, off] of [[ui.first, state.step <= 0], [ui.back, state.step <= 0], [ui.next, state.step >= count - 1], [ui.last, state.step >= count - 1]])
        button.disabled = off || !count;
      ui.models.textContent = about(run);
      renderText();
      renderTimeline();
      if (!frame) {
        ui.empty.textContent = count ? `Loading step ${state.step + 1} …` : "This run has no step yet. Press Step to draft the first tree.";
        return;
      }
      const view = currentView(frame);
      drawTree(frame, view);
      ui.summary.textContent = frame.summary;
      ui.inspector.replaceChildren(...(state.selected === null ? ns.panels.stepPanel(run, frame) : ns.panels.nodePanel(run, frame, state.selected, view, act)));
      if (!sameStep || state.selected !== null) ui.inspector.scrollTop = 0;
      renderLegend(frame, view);
      ui.verdicts.replaceChildren(ns.panels.verdictTable(run, frame, view, act));
      // The picture that was asked for first; the strips below it may come one frame later.
      cancelAnimationFrame(state.later);
      state.later = requestAnimationFrame(() => {
        drawCache(frame, view);
        fill("nodes", ui.nodeTable, () => [ns.panels.nodeTable(run, frame, act)]);
        fill("slots", ui.slotTable, () => ["target", "draft"].map((model) => [el("h4", {}, model), ns.panels.cacheTable(frame, model, act)]).flat());
        ui.root.dataset.painted = `${run.id}/${state.step}`;
      });
    }

    function currentView(frame) {
      const lens = state.lens && frame.tree.states[state.lens] ? state.lens : frame.driver;
      return { lens, shown: shown(), selected: state.selected, open: opened(), scale: 1 };
    }

    function drawTree(frame, view) {
      const room = ui.treeBox.clientWidth || 900;
      const natural = frame.tree.width;
      view.scale = Math.max(SMALLEST_SCALE, Math.min(LARGEST_SCALE, room / natural)) * state.zoom;
      const drawn = ns.scene.drawTree(ui.tree, state.run, frame, view);
      state.hits = drawn.hits;
      state.scale = view.scale;
      ui.tree.setAttribute("aria-label", `Draft tree. ${frame.summary}`);
      ui.folded.textContent = drawn.folded ? `${drawn.folded} of ${frame.tree.parent.length} nodes are folded; click “+ n folded” to open them.` : "";
    }

    function drawCache(frame, view) {
      state.cacheHits = ns.scene.drawCache(ui.cache, state.run, frame, view).hits;
      const faults = ["target", "draft"].flatMap((model) => frame.caches[model].faults.map((fault) => `${model}: ${fault}`));
      const audits = ["target", "draft"].filter((m) => frame.caches[m].audit !== null).map((m) => `${m} ${ns.panels.digits(frame.caches[m].audit, 3)}`);
      ui.faults.className = faults.length ? "sv-alarm" : "sv-fine";
      ui.faults.replaceChildren(
        faults.length
          ? el("ul", {}, faults.map((fault) => el("li", {}, fault)))
          : "✓ Every kept slot has the fingerprint it had after the forward; positions and masks fit the tree.",
        audits.length ? ` Audit against a recompute, worst relative difference: ${audits.join(", ")}.` : "",
      );
      ui.cache.setAttribute("aria-label", `KV caches: target length ${frame.caches.target.length}, draft length ${frame.caches.draft.length}.`);
    }

    function fill(name, box, make) {
      box.ontoggle = () => (box.open ? state.opened.add(name) : state.opened.delete(name), box.open && box.children.length === 1 && box.append(...make()));
      while (box.children.length > 1) box.lastChild.remove();
      if (box.open) box.append(...make());
    }

    function renderLegend(frame, view) {
      const chips = state.run.verifiers.filter((v) => frame.tree.states[v.name]).map((v) =>
        el("button", { type: "button", class: "sv-chip", "data-verifier": v.name, "aria-pressed": String(!state.hidden.has(v.name)), title: `Show or hide ${v.name}`,
          onclick: () => (state.hidden.has(v.name) ? state.hidden.delete(v.name) : state.hidden.add(v.name), render(true), focusChip(v.name)) },
          swatch(v), ` ${v.name}`, v.name === frame.driver ? el("span", { class: "sv-badge" }, "driver") : null));
      const choice = el("select", { "aria-label": "Frames and crosses show the verdict of", onchange: (event) => ((state.lens = event.target.value), render(true)) },
        frame.verdicts.map((v) => el("option", { value: v.verifier, selected: v.verifier === view.lens }, v.verifier)));
      ui.legend.replaceChildren(...chips, el("label", { class: "sv-lens" }, "frames show ", choice));
    }

    const focusChip = (name) => [...ui.legend.querySelectorAll(".sv-chip")].find((chip) => chip.dataset.verifier === name)?.focus();

    function renderText() {
      const spans = [el("span", { class: "sv-prompt" }, state.run.prompt)];
      for (let step = 0; step < state.run.steps; step++) {
        const frame = state.frames.get(step);
        if (!frame) {
          spans.push(el("span", { class: "sv-gap" }, " … "));
          continue;
        }
        for (const [piece, label, origin] of frame.commit)
          spans.push(el("span", { class: `sv-word sv-${origin}${step === state.step ? " sv-now" : ""}`, "data-step": step, title: `step ${step + 1}: ${label}` }, piece || "◦"));
      }
      ui.text.replaceChildren(...spans);
      const now = ui.text.querySelector(".sv-now");
      if (now) ui.text.scrollTop = Math.max(0, now.offsetTop - ui.text.offsetTop - 24);
    }

    function renderTimeline() {
      const deepest = Math.max(1, ...[...state.frames.values()].flatMap((f) => f.verdicts.map((v) => v.path.length)));
      const columns = [];
      for (let step = 0; step < Math.min(state.run.steps, 400); step++) {
        const frame = state.frames.get(step);
        const bars = (frame ? frame.verdicts : []).filter((v) => !state.hidden.has(v.verifier)).map((verdict) => {
          const bar = el("span", { class: verdict.verifier === frame.driver ? "sv-driver" : null });
          bar.style.height = `${2 + (24 * verdict.path.length) / deepest}px`;
          bar.style.background = `var(--sv-${state.run.verifiers.find((v) => v.name === verdict.verifier).role})`;
          return bar;
        });
        const said = frame ? frame.verdicts.map((v) => `${v.verifier} ${v.path.length}`).join(", ") : "not loaded";
        columns.push(el("button", { type: "button", tabindex: -1, class: step === state.step ? "sv-now" : null, "data-step": step, title: `step ${step + 1}: accepted ${said}`,
          "aria-label": `Step ${step + 1}`, "aria-current": step === state.step ? "step" : null }, bars));
      }
      ui.timeline.replaceChildren(...columns);
      const now = ui.timeline.children[state.step];
      if (now) ui.timeline.scrollLeft = now.offsetLeft - ui.timeline.offsetLeft - ui.timeline.clientWidth / 2;
    }

    function about(run) {
      const { target, draft } = run.models, s = run.settings;
      const heat = s.target.temperature === 0 ? "greedy target" : `temperature ${s.target.temperature}`;
      const end = run.endReason ? ` · ended: ${run.endMessage || run.endReason}` : "";
      return `${target.id} ← ${draft.id} · ${target.dtype} on ${target.device} · ${heat} · seed ${s.seed}${end}`;
    }

    /* ---------------------------------------------------------------------------------------------- pointer */

    function hit(event, div, hits, scale) {
      const box = div.getBoundingClientRect();
      const x = (event.clientX - box.left) / scale, y = (event.clientY - box.top) / scale;
      return hits.find((h) => x >= h.left && x <= h.right && y >= h.top && y <= h.bottom) || null;
    }

    ui.tree.addEventListener("click", (event) => {
      const found = hit(event, ui.tree, state.hits, state.scale);
      if (!found) return;
      if (found.stub !== undefined) unfold(found.stub);
      else select(found.bonus ? state.frames.get(state.step).verdicts.find((v) => v.verifier === found.bonus).bonus.node : found.node);
    });
    ui.cache.addEventListener("click", (event) => {
      const found = hit(event, ui.cache, state.cacheHits, 1);
      if (found && found.node !== null && found.node !== undefined) select(found.node);
    });
    for (const [div, hits, scale] of [[ui.tree, () => state.hits, () => state.scale], [ui.cache, () => state.cacheHits, () => 1]]) {
      div.addEventListener("pointermove", (event) => {
        const found = hit(event, div, hits(), scale());
        div.style.cursor = found ? "pointer" : "";
        tip(event, found);
      });
      div.addEventListener("pointerleave", () => (ui.tip.hidden = true));
    }

    function tip(event, found) {
      const frame = state.frames.get(state.step);
      ui.tip.hidden = !found || !frame;
      if (ui.tip.hidden) return;
      ui.tip.replaceChildren(...tipLines(frame, found));
      const box = element.getBoundingClientRect(), right = event.clientX - box.left > box.width / 2;
      ui.tip.style.left = `${event.clientX - box.left + (right ? -12 : 14)}px`;
      ui.tip.style.top = `${event.clientY - box.top + 16}px`;
      ui.tip.style.transform = right ? "translateX(-100%)" : "";
    }

    function tipLines(frame, found) {
      const d = ns.panels.digits;
      if (found.stub !== undefined) return [el("div", {}, `Nodes below node ${found.stub} that nobody accepted. Click to open.`)];
      if (found.bonus) {
        const bonus = frame.verdicts.find((v) => v.verifier === found.bonus).bonus;
        return [el("div", {}, `${found.bonus}: bonus `, token(bonus.text)), el("div", {}, `drawn from the ${bonus.source} at node ${bonus.node}`)];
      }
      if (found.slot) {
        const [model, i] = found.slot, c = frame.caches[model];
        if (i === null) return [el("div", {}, "Nothing was kept for this slot.")];
        return [el("div", {}, `${model} slot ${c.slot[i]} `, token(c.text[i])),
          el("div", {}, `position ${c.position[i]}${c.node[i] === null ? "" : `, node ${c.node[i]}`}, ${{ k: "kept", m: `moved to ${c.to[i]}`, d: "dropped" }[c.state[i]]}`),
          el("div", {}, `fingerprint ${c.prints[i]}`)];
      }
      const n = found.node;
      const lines = [el("div", {}, token(frame.nodes.text[n]), ` node ${n}, token id ${frame.nodes.token[n]}`)];
      if (n) lines.push(el("div", {}, `draft ${d(frame.nodes.q[n])} → target ${d(frame.nodes.p[n])}`));
      for (const v of n ? state.run.verifiers.filter((known) => frame.tree.states[known.name]) : [])
        lines.push(el("div", {}, swatch(v), ` ${v.name}: ${ns.panels.OUTCOMES[frame.tree.states[v.name][n]].join(" ")}`));
      return lines;
    }

    for (const box of [ui.text, ui.timeline])
      box.addEventListener("click", (event) => {
        const found = event.target.closest("[data-step]");
        if (found) show(Number(found.dataset.step));
      });

    /* ------------------------------------------------------------------------------------ keys and the page */

    const KEYS = { ArrowLeft: () => show(state.step - 1), ArrowRight: () => show(state.step + 1), Home: () => show(0), End: () => show(Infinity),
      " ": play, Escape: () => (ui.help.open ? ui.help.close() : state.selected !== null && select(state.selected)), "?": () => (ui.help.open ? ui.help.close() : ui.help.showModal()) };

    function onKey(event) {
      if (!element.isConnected) return dispose();
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      const at = event.target;
      if (at.closest && at.closest("input, textarea, select, [contenteditable], [role=slider], [role=listbox], [role=combobox], [role=tab]")) return;
      if (event.key === " " && at.closest && at.closest("button, summary, a")) return;
      if (KEYS[event.key]) {
        event.preventDefault();
        KEYS[event.key]();
      }
    }

    ui.first.onclick = () => show(0);
    ui.back.onclick = () => show(state.step - 1);
    ui.next.onclick = () => show(state.step + 1);
    ui.last.onclick = () => show(Infinity);
    ui.play.onclick = play;
    ui.range.oninput = () => show(Number(ui.range.value));
    ui.helpButton.onclick = () => ui.help.showModal();
    ui.larger.onclick = () => ((state.zoom = Math.min(2.5, state.zoom * 1.2)), state.run && render(true));
    ui.smaller.onclick = () => ((state.zoom = Math.max(0.5, state.zoom / 1.2)), state.run && render(true));
    document.addEventListener("keydown", onKey);
    const redraw = () => state.run && render(true);
    const themes = new MutationObserver(redraw);
    for (const watched of [document.documentElement, document.body]) themes.observe(watched, { attributes: true, attributeFilter: ["class", "data-theme"] });
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", redraw);
    let width = 0;
    const sizes = new ResizeObserver(() => {
      if (Math.abs(ui.treeBox.clientWidth - width) < 8) return;
      width = ui.treeBox.clientWidth;
      redraw();
    });
    sizes.observe(ui.treeBox);

    function dispose() {
      stop();
      ns.mounted.splice(ns.mounted.indexOf(viewer), 1);
      document.removeEventListener("keydown", onKey);
      scheme.removeEventListener("change", redraw);
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
