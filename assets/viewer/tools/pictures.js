/* A picture of the page as one SVG file that needs nothing else, or the same as PNG at twice the size. */

import { el, svg } from "../core/dom.js";

const PNG_SCALE = 2;
const LOOKS = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "font-family", "font-size", "font-weight", "text-anchor", "font-variant-numeric"];
/** Characters that no XML file may hold; a program or a stranger's file can put them into a name. */
const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** @param {string} text */
export const written = (text) => text.replace(/\s+/g, " ").replace(NOT_XML, "\ufffd");

/**
 * An element in the page, with the looks that style sheets gave it as attributes, and without what they hide.
 * @param {Element} source
 * @returns {SVGElement | string}
 */
export function inlined(source) {
  const look = getComputedStyle(source);
  if (look.display === "none") return "";
  const made = svg(source.tagName, {});
  for (const { name, value } of source.attributes) if (!/^(class|style|role|tabindex|aria-.*|data-.*)$/.test(name)) made.setAttribute(name, value);
  if (source.children.length) made.append(...[...source.children].map(inlined));
  else {
    made.textContent = source.textContent === null ? null : written(source.textContent);
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

/** @param {Element} picture that needs nothing else */
export const svgFile = (picture) => new Blob([new XMLSerializer().serializeToString(picture)], { type: "image/svg+xml" });

/**
 * @param {Element} picture
 * @param {number} width in pixels, as is `height`
 * @param {number} height
 * @returns {Promise<Blob>}
 */
export async function pngFile(picture, width, height) {
  const image = new Image();
  image.src = URL.createObjectURL(svgFile(picture));
  await image.decode();
  const canvas = el("canvas", { width: width * PNG_SCALE, height: height * PNG_SCALE });
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture came out"))), "image/png"));
}
