/* The tree in sight as a picture: one SVG file that needs nothing else, or the same as PNG at twice the size.
 *
 * Plotly gives the shapes; the labels, which are elements over them, are written again as SVG text, each clipped to its box.
 */

import { el, svg } from "../core/dom.js";
import { frameNow, runDrawn } from "../core/state.js";

/** @import { Act, State, Tool } from "../core/state.js" */
/** @import { Ui } from "../parts.js" */

const MARGIN = 10, PNG_SCALE = 2;
const LABELS = ".sv-columnhead, .sv-cardtoken, .sv-carddigits, .sv-pips > i";

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {Act} act
 * @returns {Tool}
 */
export function makePictures(ui, state, act) {
  const button = (/** @type {"svg" | "png"} */ kind) => el("button", { type: "button", "data-act": `save-${kind}`, title: `Save the tree in sight as ${kind.toUpperCase()}`, onclick: () => keep(kind) }, kind.toUpperCase());
  ui.tools.append(button("svg"), button("png"));

  /** @param {"svg" | "png"} kind */
  async function keep(kind) {
    if (!frameNow(state)) return;
    const name = `specviz-${runDrawn(state).id}-step-${state.step + 1}.${kind}`;
    try {
      const drawn = await drawing(ui, state.scale);
      save(name, kind === "svg" ? new Blob([drawn.text], { type: "image/svg+xml" }) : await png(drawn));
    } catch (error) {
      act.notice({ kind: "error", text: "The picture could not be made; try again, or with fewer nodes unfolded." });
      throw error;
    }
  }
  return {};
}

/**
 * @param {Ui} ui
 * @param {number} scale of the tree
 */
async function drawing(ui, scale) {
  const box = ui.tree.getBoundingClientRect(), width = Math.ceil(box.width), height = Math.ceil(box.height);
  const around = { x: -MARGIN, y: -MARGIN, width: width + 2 * MARGIN, height: height + 2 * MARGIN };
  const source = await window.Plotly.toImage(ui.tree, { format: "svg", width, height });
  const shapes = new DOMParser().parseFromString(decodeURIComponent(source.slice(source.indexOf(",") + 1)), "image/svg+xml").documentElement;
  const panel = /** @type {Element} */ (ui.treeBox.closest(".sv-panel"));
  const whole = svg("svg", { xmlns: "http://www.w3.org/2000/svg", width: around.width, height: around.height, viewBox: Object.values(around).join(" "), role: "img" });
  whole.append(svg("title", {}, ui.tree.getAttribute("aria-label") || "Draft tree"), svg("rect", { ...around, fill: getComputedStyle(panel).backgroundColor }));
  whole.append(document.importNode(shapes, true));
  for (const label of /** @type {NodeListOf<HTMLElement>} */ (ui.layer.box.querySelectorAll(LABELS))) {
    const spot = label.getBoundingClientRect();
    if (!label.textContent || !spot.width) continue;
    const look = getComputedStyle(label), size = parseFloat(look.fontSize) * (label.offsetHeight ? spot.height / label.offsetHeight : scale);
    const clip = svg("svg", { x: spot.left - box.left, y: spot.top - box.top, width: spot.width + 1, height: spot.height, overflow: "hidden" });
    clip.append(svg("text", {
      x: 0, y: spot.height / 2, "dominant-baseline": "central", "font-size": size.toFixed(2), "font-family": look.fontFamily.replace(/"/g, "'"),
      "font-weight": look.fontWeight, fill: look.color, opacity: faded(label, ui.layer.box), "xml:space": "preserve",
    }, label.textContent));
    whole.append(clip);
  }
  return { text: new XMLSerializer().serializeToString(whole), width: around.width, height: around.height };
}

/**
 * Opacity with that of the elements around it.
 * @param {Element} label
 * @param {Element} layer
 */
function faded(label, layer) {
  let opacity = 1;
  for (let at = /** @type {Element | null} */ (label); at && at !== layer; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
  return opacity;
}

/**
 * @param {string} name
 * @param {Blob} blob
 */
function save(name, blob) {
  const address = URL.createObjectURL(blob), link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/**
 * @param {{text: string, width: number, height: number}} drawn
 * @returns {Promise<Blob>}
 */
async function png({ text, width, height }) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  await image.decode();
  const canvas = el("canvas", { width: width * PNG_SCALE, height: height * PNG_SCALE });
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture came out"))), "image/png"));
}
