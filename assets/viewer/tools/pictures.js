/* The tree in sight as a picture: one SVG file that needs nothing else, or the same as PNG at twice the size.
 *
 * It is the page's own drawing, fitted, with the looks that its style sheets gave it written into every element.
 */

import { el, svg } from "../core/dom.js";
import { frameNow, runDrawn } from "../core/state.js";

/** @import { Act, State, Tool } from "../core/state.js" */
/** @import { Layout } from "../tree/layout.js" */
/** @import { Ui } from "../parts.js" */

const MARGIN = 10, PNG_SCALE = 2;
const LOOKS = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "font-family", "font-size", "font-weight", "text-anchor"];

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
    if (!frameNow(state) || !state.spot) return;
    const name = `specviz-${runDrawn(state).id}-step-${state.step + 1}.${kind}`;
    try {
      const drawn = drawing(ui, state.spot);
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
 * @param {Layout} spot
 */
function drawing(ui, spot) {
  const width = Math.ceil(spot.width * spot.scale), height = Math.ceil(spot.height * spot.scale);
  const around = { x: -MARGIN, y: -MARGIN, width: width + 2 * MARGIN, height: height + 2 * MARGIN };
  const whole = svg("svg", { xmlns: "http://www.w3.org/2000/svg", width: around.width, height: around.height, viewBox: Object.values(around).join(" "), role: "img" });
  whole.append(svg("title", {}, ui.scene.nodes.getAttribute("aria-label") || "Draft tree"), svg("rect", { ...around, fill: plain(getComputedStyle(ui.treeBox).backgroundColor) }));
  const world = svg("g", { transform: `scale(${spot.scale})` });
  for (const child of ui.scene.world.children) world.append(copy(child));
  whole.append(world);
  return { text: new XMLSerializer().serializeToString(whole), width: around.width, height: around.height };
}

/**
 * An element with its looks as attributes, without what a style sheet hides.
 * @param {Element} source
 * @returns {Element | string}
 */
function copy(source) {
  const look = getComputedStyle(source);
  if (look.display === "none") return "";
  const made = svg(source.tagName, {});
  for (const { name, value } of source.attributes) if (!/^(class|style|role|tabindex|aria-.*|data-.*)$/.test(name)) made.setAttribute(name, value);
  if (source.children.length) made.append(...[...source.children].map(copy));
  else {
    made.textContent = source.textContent;
    for (const name of LOOKS) {
      const value = look.getPropertyValue(name);
      if (value) made.setAttribute(name, name === "font-family" ? value.replace(/"/g, "'") : plain(value));
    }
    if (source.tagName === "text") made.setAttribute("xml:space", "preserve");
  }
  if (source.tagName === "g" && look.opacity !== "1") made.setAttribute("opacity", look.opacity);
  return made;
}

/**
 * Colours that were mixed, as every program reads them.
 * @param {string} value
 */
const plain = (value) => value.replace(/color\(srgb ([\d.]+) ([\d.]+) ([\d.]+)(?: \/ ([\d.]+))?\)/g, (_, red, green, blue, alpha) =>
  `rgb${alpha ? "a" : ""}(${[red, green, blue].map((part) => Math.round(255 * Number(part))).join(", ")}${alpha ? `, ${alpha}` : ""})`);

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
