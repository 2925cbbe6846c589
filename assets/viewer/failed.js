/* The step that an error ended: its sentence, and the tree as far as it was grown (specviz/figures/failures.py). */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el, table, cells, digits } = ns.panels;
  const drawn = new WeakMap();

  function draw(ui, run) {
    const failed = run.failed || null;
    ui.failed.hidden = !failed;
    if (drawn.get(ui.failed) === failed) return;
    drawn.set(ui.failed, failed);
    if (!failed) return ui.failed.replaceChildren();
    const said = (value) => (value === null ? "not computed" : digits(value));
    // Where it began stands out; where that is not known, all do.
    const began = (wrong) => wrong !== null && wrong.endsWith("began here"), known = failed.nodes.some((node) => began(node[4]));
    const lines = failed.nodes.map(([parent, text, q, p, wrong], node) => el("tr", { class: (known ? began(wrong) : wrong) ? "sv-bad" : null },
      cells([String(node), parent, el("code", { class: "sv-token", dir: "auto" }, text), node ? said(q) : "root", node ? said(p) : "root", wrong ? `✕ ${wrong}` : null])));
    ui.failed.replaceChildren(
      el("h3", {}, `Step ${failed.step + 1} failed`),
      el("p", { class: "sv-bad" }, `✕ ${failed.message}`),
      el("p", { class: "sv-note" }, "What is known of this step: the tree as far as it got. Nothing of it became text."),
      el("details", { open: !run.steps }, el("summary", {}, `Tree of the failed step: ${failed.nodes.length - 1} drafted tokens`),
        table(`Tree of the failed step ${failed.step + 1}`, ["Node", "Parent", "Token", "Draft probability", "Target probability", "Logits at this node"], lines)));
  }

  ns.failed = { draw };
})(window);
