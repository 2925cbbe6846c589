/* The run so far: block efficiency, acceptance by depth and by sibling rank of every verifier, with their formulas.
 *
 * Counts come from specviz/figures/totals.py; here a share becomes a bar and keeps its counts beside it.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el, swatch, table, cells, percent } = ns.panels;
  const NAMES = ["Block efficiency", "Acceptance by depth", "Acceptance by sibling rank"];

  /** What is shown already: totals change with a run, not with a move. */
  const drawn = new WeakMap();

  function draw(ui, run) {
    if (drawn.get(ui.totals) === run.totals) return;
    drawn.set(ui.totals, run.totals);
    const totals = run.totals, best = Math.max(1, ...totals.verifiers.map((v) => v.efficiency || 0));
    ui.totalsEmpty.hidden = totals.steps > 0;
    ui.totals.hidden = !totals.steps;
    if (!totals.steps) return ui.totals.replaceChildren();
    const deepest = Math.max(0, ...totals.verifiers.map((v) => v.depth.length)), ranks = Math.max(0, ...totals.verifiers.map((v) => v.rank.length));
    const rows = totals.verifiers.map((v) => {
      const looks = run.verifiers.find((known) => known.name === v.verifier);
      return el("tr", { "data-verifier": v.verifier },
        el("th", { scope: "row" }, swatch(looks), " ", v.verifier, badge(v, totals)),
        el("td", { "data-label": NAMES[0] }, efficiency(v, best, looks)),
        el("td", { "data-label": NAMES[1] }, chart(v.depth, deepest, (i) => `depth ${i + 1}`, looks)),
        el("td", { "data-label": NAMES[2] }, chart(v.rank, ranks, (i) => `rank ${i}`, looks)));
    });
    const driver = totals.verifiers.find((v) => v.drives === totals.steps), cut = driver ? driver.emitted - totals.tokens : 0;
    ui.totals.replaceChildren(
      el("p", { class: "sv-note" }, `${totals.steps} steps, ${totals.tokens} new tokens. Only the driver's choices became text; the others judged the trees it led to.${cut > 0 ? ` The driver's ${driver.emitted} tokens count ${cut} that were not written, because the text ended.` : ""}`),
      table("Totals of the run so far, by verifier", ["Verifier", ...NAMES.map((name) => head(name, totals.formulas[name.toLowerCase().replace("sibling ", "").replace(/ /g, "_")]))], rows));
  }

  function badge(v, totals) {
    if (!v.drives) return null;
    const text = v.drives === totals.steps ? "driver" : `driver of ${v.drives} steps`;
    return el("span", { class: "sv-badge", title: "its verdict is committed" }, text);
  }

  const head = (name, formula) => el("span", {}, el("b", {}, name), el("small", { class: "sv-formula" }, `= ${formula}`));

  function efficiency(v, best, looks) {
    const fill = el("span", { class: "sv-fill" });
    fill.style.width = `${(100 * v.efficiency) / best}%`;
    fill.style.background = `var(--sv-${looks.role})`;
    return el("div", { class: "sv-efficiency" }, el("b", { class: "sv-number" }, v.efficiency.toFixed(2)),
      el("span", { class: "sv-rail" }, fill), el("small", {}, `${v.emitted} / ${v.steps}`));
  }

  /** A small column chart; every column has its share above and its counts below. */
  function chart(pairs, columns, name, looks) {
    if (!pairs.length) return el("em", { class: "sv-note" }, "no decision");
    const bars = [];
    for (let i = 0; i < columns; i++) {
      const [accepted, all] = pairs[i] || [0, 0];
      const fill = el("span", { class: "sv-stem" });
      fill.style.height = `${all ? (100 * accepted) / all : 0}%`;
      fill.style.background = `var(--sv-${looks.role})`;
      bars.push(el("span", { class: "sv-column", title: `${name(i)}: ${accepted} of ${all}` }, el("b", { class: "sv-number" }, all ? percent(accepted / all) : "–"),
        el("span", { class: "sv-well" }, fill), el("small", {}, `${accepted}/${all}`), el("small", {}, name(i))));
    }
    return el("div", { class: "sv-chart" }, bars);
  }

  /** The same numbers without pictures, one row a count. */
  function totalsTable(run) {
    const lines = run.totals.verifiers.flatMap((v) => [
      ["block efficiency", "", v.emitted, v.steps],
      ...v.depth.map(([a, n], i) => ["acceptance by depth", `depth ${i + 1}`, a, n]),
      ...v.rank.map(([a, n], i) => ["acceptance by sibling rank", `rank ${i}`, a, n]),
    ].map(([what, where, a, n]) => el("tr", {}, cells([v.verifier, what, where || "–", String(a), String(n), n ? ns.panels.digits(a / n) : "–"]))));
    return table("Totals as counts", ["Verifier", "Figure", "At", "Numerator", "Denominator", "Value"], lines);
  }

  /** The timeline as a table. */
  function stepsTable(run, frames, act) {
    const lines = [], tales = ns.panelScheduler.story(frames, run.steps);
    for (let step = 0; step < run.steps; step++) {
      const frame = frames.get(step), verdict = (name) => frame && frame.verdicts.find((v) => v.verifier === name);
      lines.push(el("tr", {}, cells([
        el("button", { type: "button", class: "sv-node", onclick: () => act.show(step) }, String(step + 1)), frame ? frame.driver : "not loaded",
        frame ? String(frame.commit.length) : "–", ...run.verifiers.map((v) => (verdict(v.name) ? String(verdict(v.name).path.length) : "–")),
        frame ? tales.get(step).found.map(ns.panelScheduler.saidOf).join("; ") || "none" : "–",
      ])));
    }
    return table("Accepted tokens of every step", ["Step", "Driver", "New tokens", ...run.verifiers.map((v) => v.name), "Findings"], lines);
  }

  ns.totals = { draw, totalsTable, stepsTable };
})(window);
