/* Elements and the small parts that every panel is made of. Text of a run is data: strings become text nodes, never markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * el("td", {class: "n", onclick: f}, "text", child): a null or false attribute is left out, and so is a null child.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any> | null} [attributes]
 * @param {...any} children strings, nodes, null, or lists of lists of them
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) made.append(child);
  return made;
}

/**
 * An element of an SVG picture.
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 */
export function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

/**
 * A short line in a verifier's colour and dash.
 * @param {{role: string, dash: string}} verifier
 */
export function swatch(verifier) {
  const picture = svg("svg", { width: 30, height: 10, "aria-hidden": "true", class: "sv-swatch" });
  const dash = verifier.dash === "solid" ? "none" : verifier.dash.replace(/px/g, "");
  const line = svg("line", { x1: 1, x2: 29, y1: 5, y2: 5, "stroke-width": 3.4, "stroke-dasharray": dash });
  line.setAttribute("style", `stroke: var(--sv-${verifier.role})`);
  picture.append(line);
  return picture;
}

/** @param {string} text the visible text of a token */
export const token = (text) => el("code", { class: "sv-token", dir: "auto" }, text);

/** @param {string} text */
export const note = (text) => el("p", { class: "sv-note" }, text);

/**
 * A button that selects a node.
 * @param {number} node
 * @param {string} text
 * @param {{select: (node: number) => void}} act
 */
export function nodeButton(node, text, act) {
  return el("button", { type: "button", class: "sv-node", "data-node": node, dir: "auto", onclick: () => act.select(node) }, text);
}

/**
 * A disclosure whose content is made when it is first opened.
 * @param {string} title
 * @param {() => any} make
 */
export function more(title, make) {
  const box = el("details", {}, el("summary", {}, title));
  box.addEventListener("toggle", () => box.open && box.children.length === 1 && box.append(...[].concat(make())));
  return box;
}

/**
 * Show an error, a word, or work going on in `place`; null takes the last one away.
 * @param {HTMLElement} place
 * @param {import("./frame.d.ts").Notice | {kind: string, text: string, fraction?: number | null} | null | undefined} notice
 */
export function showNotice(place, notice) {
  place.hidden = !notice;
  if (!notice) return place.replaceChildren();
  place.className = `sv-notice sv-${notice.kind}`;
  place.setAttribute("role", notice.kind === "error" ? "alert" : "status");
  place.replaceChildren(el("span", {}, notice.text), notice.kind === "working"
    ? el("progress", { "aria-label": "Progress", max: 1, value: notice.fraction })
    : el("button", { type: "button", "aria-label": "Close", onclick: () => showNotice(place, null) }, "×"));
}
