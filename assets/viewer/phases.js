/* Step into: walking the phases that Python listed, and what is known after each of them.
 *
 * A phase is a patch on the step's picture: the same layout, with what is not known yet left out.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});

  /** All phases of a step with one verifier being watched. */
  function list(frame, lens) {
    const { before, verdicts, after } = frame.phases;
    const watched = verdicts[lens] || verdicts[frame.driver];
    return [...before, ...watched.phases, ...after];
  }

  /** What may be shown: `phase` is an index into list(), or null for the whole step; `taken` counts decisions. */
  function known(frame, lens, phase) {
    const names = frame.verdicts.map((v) => v.verifier);
    const paths = Object.fromEntries(frame.verdicts.map((v) => [v.verifier, new Set(v.path)]));
    const everything = { depth: Infinity, target: true, judged: true, whole: true, parts: true, states: frame.tree.states, paths, bonus: new Set(names), acting: null, taken: Infinity };
    if (phase === null) return everything;
    const at = list(frame, lens)[phase];
    if (at.kind === "commit" || at.kind === "cache") return everything;
    const nothing = { depth: Infinity, target: true, judged: false, whole: true, parts: false, states: {}, paths: {}, bonus: new Set(), acting: null, taken: 0 };
    if (at.kind === "draft") return { ...nothing, depth: at.depth, target: false, whole: false };
    if (at.kind === "target") return nothing;
    const verdict = frame.verdicts.find((v) => v.verifier === lens);
    if (at.kind === "verdict")
      return { ...nothing, judged: true, states: { [lens]: frame.tree.states[lens] }, paths: { [lens]: paths[lens] }, bonus: new Set([lens]), acting: verdict.bonus.node, taken: Infinity };
    return { ...nothing, judged: true, acting: at.node, taken: at.upto, ...judgedSoFar(frame, verdict, at.upto) };
  }

  /** States and path after the first `count` decisions of a verifier. */
  function judgedSoFar(frame, verdict, count) {
    const walk = frame.phases.verdicts[verdict.verifier].walk;
    const states = frame.tree.parent.map((_, node) => (node ? "." : "t")), path = new Set();
    for (const [node, outcome] of verdict.decisions.slice(0, count)) {
      // A rule that chooses among passing nodes only at its end has accepted nothing yet.
      states[node] = outcome === "a" && !walk ? "p" : outcome;
      if (states[node] === "a") path.add(node);
    }
    return { states: { [verdict.verifier]: states.join("") }, paths: { [verdict.verifier]: path } };
  }

  /** The list of phases up to now, for the panel beside the tree; earlier ones can be gone back to. */
  function panel(frame, lens, phase, go) {
    const { el } = ns.panels, all = list(frame, lens);
    const items = all.slice(0, phase + 1).map((at, i) =>
      el("li", { "aria-current": i === phase ? "step" : null }, el("button", { type: "button", "data-phase": i, onclick: () => go(i) }, el("bdi", {}, at.caption))));
    return [
      el("h3", {}, `Inside the step: phase ${phase + 1} of ${all.length}`),
      el("ol", { class: "sv-phaselist" }, items),
      el("p", { class: "sv-note" }, phase + 1 < all.length ? `Next: ${nextWords(all[phase + 1])}.` : "That was the whole step."),
    ];
  }

  function nextWords(at) {
    return { draft: "the draft grows the tree by one level", target: "the target scores the tree", decide: "a decision", verdict: "the path and the bonus token", commit: "the text grows", cache: "the caches are updated" }[at.kind];
  }

  ns.phases = { list, known, panel };
})(window);
