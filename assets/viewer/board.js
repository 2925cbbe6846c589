/* specvizViewer.board(element, ask) -> {update}
 *
 * What the Compare tab shows: sections of a sentence, a figure and a table, all made by Python. A chosen point or row is
 * told with `ask(kind, {section, data})`: "step" for a step, "point" for anything else. An update with a notice alone
 * leaves the sections as they are. Text is only ever written as text.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el } = ns.panels;
  const dark = () => document.body.classList.contains("dark") || document.documentElement.dataset.theme === "dark";

  ns.board = function (element, ask) {
    const notice = el("div", { class: "sv-notice", hidden: true });
    const place = el("div", {});
    let drawn = [];
    element.classList.add("specviz", "sv-board");
    element.replaceChildren(notice, place);

    function update(value) {
      if (!value) return;
      const found = typeof value === "string" ? JSON.parse(value) : value;
      ns.panels.showNotice(notice, found.notice);
      if (!found.sections) return;
      const open = new Map([...place.querySelectorAll("details")].map((one) => [one.dataset.table, one.open]));
      drawn.forEach(([box]) => root.Plotly.purge(box));
      drawn = [];
      place.replaceChildren(el("p", { class: "sv-note" }, el("b", {}, found.title), ": ", found.about), ...found.sections.map((one) => section(one, open)));
      draw();
      const next = found.go && place.querySelector(`[data-section=${found.go}] h4`);
      if (next) {
        next.focus({ preventScroll: true });
        next.scrollIntoView({ block: "start" });
      }
    }

    function tell(id, data) {
      const view = id === "steps" && document.querySelector("#viewer .sv-root");
      if (view) {
        // How it goes is told there, and there the step opens.
        view.tabIndex = -1;
        view.focus({ preventScroll: true });
        view.scrollIntoView({ block: "start" });
      }
      ask(id === "steps" ? "step" : "point", { section: id, data });
    }

    function section(one, open) {
      const box = one.figure && el("div", { class: "sv-board-figure", role: "img", "aria-label": `${one.title}; the numbers stand in the table below` });
      if (box) drawn.push([box, one]);
      return el("section", { class: "sv-panel", "data-section": one.id, "aria-label": one.title },
        el("h4", { tabindex: -1 }, one.title), el("p", { class: "sv-note" }, one.how),
        (one.quotes || []).map(([name, text]) => el("p", { class: "sv-board-quote" }, el("b", {}, `${name}: `), el("bdi", {}, text))),
        box || null, table(one, open.has(one.id) ? open.get(one.id) : one.id !== "figure"));
    }

    function table(one, open) {
      const rows = one.table.rows.map((row) => el("tr", {}, row.cells.map((cell, i) =>
        i === 0 && row.point
          ? el("th", { scope: "row" }, el("button", { type: "button", "data-act": `board-${one.id}`, onclick: () => tell(one.id, row.point) }, el("bdi", {}, cell)))
          : el("td", {}, el("bdi", {}, cell)))));
      const found = el("details", { "data-table": one.id }, el("summary", {}, `${one.table.caption} (${rows.length} ${rows.length === 1 ? "row" : "rows"})`),
        el("div", { class: "sv-board-table", tabindex: 0, role: "region", "aria-label": one.table.caption },
          el("table", {}, el("thead", {}, el("tr", {}, one.table.head.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, rows))));
      found.open = open;
      return found;
    }

    function draw() {
      for (const [box, one] of drawn) {
        const figure = structuredClone(one.figure[dark() ? "dark" : "light"]);
        root.specvizChart(box, figure).then(() => {
          if (box.told) return;
          box.told = true;
          box.on("plotly_click", (event) => event.points[0] && event.points[0].customdata && tell(one.id, event.points[0].customdata));
        });
      }
    }

    new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    // A tab that is opened later had no width to draw in.
    new ResizeObserver(() => drawn.forEach(([box]) => box.data && box.clientWidth && root.Plotly.Plots.resize(box))).observe(element);
    return { update };
  };
})(window);
