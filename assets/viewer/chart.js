/* specvizChart(box, figure) -> Promise, once it is drawn.
 *
 * A chart of a comparison. Python leaves room above it for its legend on the narrowest page; what the legend does not
 * need at the width of the box is taken back, and given again when the box becomes narrower.
 */
(function (root) {
  "use strict";
  const figures = new WeakMap();

  const react = (box, figure, layout) => root.Plotly.react(box, figure.data, layout, { responsive: true, displayModeBar: false });

  function fit(box) {
    const figure = figures.get(box), legend = box.querySelector(".legend");
    if (!legend || !box.clientWidth) return null;
    const { margin, height, meta } = figure.layout;
    const top = Math.min(margin.t, Math.ceil(legend.getBoundingClientRect().height) + meta.legendGap);
    if (Math.abs(top - box.layout.margin.t) < 2) return null;
    return react(box, figure, { ...figure.layout, margin: { ...margin, t: top }, height: height - margin.t + top });
  }

  root.specvizChart = async function (box, figure) {
    const known = figures.has(box);
    figures.set(box, figure);
    await react(box, figure, { ...figure.layout, margin: { ...figure.layout.margin } });
    if (!known && box.on) box.on("plotly_afterplot", () => fit(box));
    await fit(box);
  };
})(window);
