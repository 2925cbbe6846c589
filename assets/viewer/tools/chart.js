/* A chart of a comparison, on the page and in its report.
 *
 * Python leaves room above it for its legend on the narrowest page; what the legend does not need at the width of the box
 * is taken back, and given again when the box becomes narrower.
 */

import { el } from "../core/dom.js";

/** @type {Promise<void> | null} */
let loading = null;

/**
 * Have Plotly from the first chart on: it is twice as large as all else of the page together. A report has it inside.
 * @param {string} address of its script on this server
 * @returns {Promise<void>} rejected where it does not come; the next chart asks again
 */
export function loadPlotly(address) {
  if (window.Plotly) return Promise.resolve();
  loading ??= new Promise((/** @type {(_: void) => void} */ resolve, reject) => {
    const script = el("script", { src: address, onload: () => resolve(), onerror: () => {
      loading = null;
      script.remove();
      reject(new Error("Plotly could not be loaded"));
    } });
    document.head.append(script);
  });
  return loading;
}

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
