/* Two runs beside each other: where they part, both texts, accepted lengths, settings that differ.
 *
 * A block's `compare` opens the panel above the tree (null closes it). All of it was computed by Python; the panel stays
 * open while steps are opened from it.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el, table, cells, token } = ns.panels;

  ns.tools.push((ui, state, act, handlers) => {
    let panel = null;

    function take(block) {
      if (block.compare === undefined) return;
      close();
      if (block.compare) open(block.compare);
    }

    function close() {
      if (panel) panel.remove();
      panel = null;
    }

    function open(found) {
      const [a, b] = found.sides;
      const head = el("h3", { tabindex: -1 }, `${a.name} and ${b.name}`);
      panel = el("section", { class: "sv-panel sv-compare", "aria-label": "Comparison" },
        el("div", { class: "sv-panelhead" }, head, el("button", { type: "button", "data-act": "compare-close", "aria-label": "Close the comparison", onclick: close }, "×")),
        el("div", { class: "sv-compare-said", role: "status" }, found.said.map((line) => el("p", {}, line))),
        found.parting ? el("p", {}, found.sides.map((side, i) => jump(side, found.parting.steps[i], i))) : null,
        el("p", { class: "sv-note sv-key" }, el("span", {}, "written by both"), el("span", { class: "sv-differs" }, "[only here]")),
        el("div", { class: "sv-compare-texts" }, found.sides.map((side, i) => el("div", {},
          el("h4", {}, side.name), el("div", { class: "sv-compare-text", tabindex: 0, role: "region", "aria-label": `Text of ${side.name}` }, found.texts[i].map(piece))))),
        el("h4", {}, "Accepted draft tokens of every step"),
        el("div", { class: "sv-compare-bars" }, found.sides.map((side, i) => bars(found, side, i))),
        table("Both runs in figures", ["Run", "Driver", "New tokens", "Target forwards", "Block efficiency"],
          found.sides.map((side) => el("tr", {}, el("th", { scope: "row" }, side.name), cells([side.driver, String(side.tokens), String(side.steps), side.efficiency === null ? "–" : ns.panels.digits(side.efficiency)])))),
        el("p", { class: "sv-note" }, "Block efficiency = new tokens per target forward, the bonus token included."),
        found.settings.length ? table("Settings that differ", ["Setting", a.name, b.name], found.settings.map(([name, x, y]) => el("tr", {}, el("th", { scope: "row" }, name), cells([x, y])))) : null);
      ui.top.prepend(panel);
      head.focus({ preventScroll: true });
    }

    function piece([kind, text]) {
      // Brackets, because colour alone would not tell.
      return kind === "equal" ? el("bdi", {}, text) : el("mark", { class: "sv-differs" }, "[", el("bdi", {}, text), "]");
    }

    function jump(side, step, i) {
      if (!side.run || step === null || !handlers.ask) return null;
      return [el("button", { type: "button", "data-act": `compare-open-${i}`, onclick: () => handlers.ask("open_run", { run: side.run, step }) }, `Open ${side.name} at step ${step + 1}`), " "];
    }

    /** One bar a step; the step in which the runs part stands out by a mark below it. */
    function bars(found, side, i) {
      if (!side.accepted.length) return el("div", {}, el("p", { class: "sv-note" }, `${side.name}: one token a forward, nothing drafted`));
      const most = Math.max(1, ...found.sides.flatMap((one) => one.accepted)), at = found.parting && found.parting.steps[i];
      const row = el("div", { class: "sv-compare-row", role: "img", "aria-label": `${side.name}: accepted draft tokens of its ${side.accepted.length} steps: ${side.accepted.join(", ")}` },
        side.accepted.map((count, step) => {
          const bar = el("span", { class: step === at ? "sv-parts" : null, title: `step ${step + 1}: ${count}` }, el("i", {}));
          bar.firstChild.style.height = `${Math.round((34 * count) / most) + 1}px`;
          return bar;
        }));
      return el("div", {}, el("span", { class: "sv-note" }, side.name), row);
    }

    return { take };
  });
})(window);
