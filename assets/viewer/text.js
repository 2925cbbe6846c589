/* The generated text and the timeline. Both are built when frames come in; a move only changes classes. */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const MOST_COLUMNS = 400;

  function make(ui, state) {
    const { el } = ns.panels;
    let words = [], columns = [], at = null;

    /** Every committed token as a word of its own; steps that were not loaded yet are dots. */
    function build() {
      words = [];
      at = null;
      const spans = [el("span", { class: "sv-prompt" }, state.run.prompt)];
      for (let step = 0; step < state.run.steps; step++) {
        const frame = state.frames.get(step);
        const made = frame
          ? frame.commit.map(([piece, label, origin]) => el("span", { class: `sv-word sv-${origin}`, "data-step": step, title: `step ${step + 1}: ${label}` }, piece || "◦"))
          : [el("span", { class: "sv-gap" }, " … ")];
        words.push(made);
        spans.push(...made);
      }
      ui.text.replaceChildren(...spans);
      buildTimeline();
    }

    function buildTimeline() {
      const deepest = Math.max(1, ...[...state.frames.values()].flatMap((f) => f.verdicts.map((v) => v.path.length)));
      columns = [];
      const tales = ns.panelScheduler.story(state.frames, state.run.steps);
      for (let step = 0; step < Math.min(state.run.steps, MOST_COLUMNS); step++) {
        const frame = state.frames.get(step);
        const bars = (frame ? frame.verdicts : []).filter((v) => !state.hidden.has(v.verifier)).map((verdict) => {
          const bar = el("span", { class: verdict.verifier === frame.driver ? "sv-driver" : null });
          bar.style.height = `${2 + (24 * verdict.path.length) / deepest}px`;
          bar.style.background = `var(--sv-${state.run.verifiers.find((v) => v.name === verdict.verifier).role})`;
          return bar;
        });
        const said = frame ? frame.verdicts.map((v) => `${v.verifier} ${v.path.length}`).join(", ") : "not loaded";
        const wrong = frame ? tales.get(step).found.map(ns.panelScheduler.saidOf).join("; ") : "", kind = frame && ns.panelScheduler.kindOf(tales.get(step));
        columns.push(el("button", { type: "button", tabindex: -1, class: { first: "sv-found", again: "sv-found-again", after: "sv-found-after" }[kind], "data-step": step, title: `step ${step + 1}: accepted ${said}${wrong ? `; ${kind === "after" ? "↳" : "✕"} ${wrong}` : ""}`, "aria-label": `Step ${step + 1}${wrong ? `, ${wrong}` : ""}` }, bars));
      }
      ui.timeline.replaceChildren(...columns);
      markColumn(state.step);
    }

    /** Mark the current step; `written` is false while its phase comes before the commit. */
    function move(written) {
      const from = at === null ? 0 : Math.min(at, state.step), to = at === null ? words.length - 1 : Math.max(at, state.step);
      for (let step = from; step <= to; step++) words[step] && words[step].forEach((word, i) => place(word, step, i, written));
      if (at !== state.step) {
        if (at !== null && columns[at]) columns[at].classList.remove("sv-now"), columns[at].removeAttribute("aria-current");
        markColumn(state.step);
        scrollTo(words[state.step] && words[state.step][0]);
      }
      at = state.step;
    }

    function place(word, step, i, written) {
      const frame = state.frames.get(step), now = step === state.step;
      word.classList.toggle("sv-now", now);
      word.classList.toggle("sv-later", step > state.step || (now && !written));
      // Only the words of the step in sight belong to nodes of the tree in sight.
      word.removeAttribute("data-node");
      word.removeAttribute("data-bonus");
      if (!now || !frame) return;
      const path = frame.verdicts.find((v) => v.verifier === frame.driver).path;
      if (i < path.length) word.setAttribute("data-node", path[i]);
      else word.setAttribute("data-bonus", frame.driver);
    }

    function markColumn(step) {
      const column = columns[step];
      if (!column) return;
      column.classList.add("sv-now");
      column.setAttribute("aria-current", "step");
      ui.timeline.scrollLeft = column.offsetLeft - ui.timeline.offsetLeft - ui.timeline.clientWidth / 2;
    }

    function scrollTo(word) {
      if (word) ui.text.scrollTop = Math.max(0, word.offsetTop - ui.text.offsetTop - ui.text.clientHeight / 2);
    }

    return { build, buildTimeline, move };
  }

  ns.text = { make };
})(window);
