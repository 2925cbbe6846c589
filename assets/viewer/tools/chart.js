/* A chart of a comparison, on the page and in its report.
 *
 * Python leaves room above it for its legend on the narrowest page; what the legend does not need at the width of the box
 * is taken back, and given again when the box becomes narrower.
 */

/** @type {WeakMap<HTMLElement, any>} */
const figures = new WeakMap();

/**
 * @param {HTMLElement} box
 * @param {any} figure
 * @param {object} layout
 */
const react = (box, figure, layout) => window.Plotly.react(box, figure.data, layout, { responsive: true, displayModeBar: false });

/** @param {any} box that Plotly has drawn in */
function fit(box) {
  const figure = figures.get(box), legend = box.querySelector(".legend");
  if (!legend || !box.clientWidth) return null;
  const { margin, height, meta } = figure.layout;
  const top = Math.min(margin.t, Math.ceil(legend.getBoundingClientRect().height) + meta.legendGap);
  if (Math.abs(top - box.layout.margin.t) < 2) return null;
  return react(box, figure, { ...figure.layout, margin: { ...margin, t: top }, height: height - margin.t + top });
}

/**
 * @param {any} box an element
 * @param {any} figure as Python made it
 * @returns {Promise<void>} once it is drawn
 */
export async function drawChart(box, figure) {
  const known = figures.has(box);
  figures.set(box, figure);
  await react(box, figure, { ...figure.layout, margin: { ...figure.layout.margin } });
  if (!known && box.on) box.on("plotly_afterplot", () => fit(box));
  await fit(box);
}
