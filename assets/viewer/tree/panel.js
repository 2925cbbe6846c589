/* The empty panel of the draft tree: its row of tools, the picture, and what lies over it. */

import { el, note, svg } from "../core/dom.js";
import { makeScene } from "./draw.js";

/** @typedef {ReturnType<typeof makeTreePanel>} TreePanel */

/**
 * @param {string} name
 * @param {string} label
 * @param {string | Node} sign
 */
const button = (name, label, sign) => el("button", { type: "button", "aria-label": label, title: label, "data-act": name }, sign);

/** What the bars and the line on a card are. */
function makeKey() {
  const sample = (/** @type {string} */ text, /** @type {string} */ name, /** @type {Element[]} */ ...shapes) => {
    const picture = svg("svg", { width: 30, height: 10, "aria-hidden": "true" });
    picture.append(...shapes);
    return el("span", { class: name }, /** @type {any} */ (picture), text);
  };
  const line = (/** @type {string} */ zone) => [svg("path", { class: "sv-scale", d: "M1 5h28" }), svg("path", { class: "sv-zone", d: zone })];
  return el("p", { class: "sv-treekey" },
    sample("draft q", "sv-key-q", svg("rect", { class: "sv-bar-q", x: 1, y: 2, width: 26, height: 6 })), sample("target p", "sv-key-p", svg("rect", { class: "sv-bar-p", x: 0.5, y: 1.5, width: 27, height: 7 })),
    sample("coin, zone", "sv-key-coin", ...line("M1 5h18"), svg("circle", { class: "sv-coin", cx: 9, cy: 5, r: 3.6 })),
    sample("p, zone", "sv-key-value", ...line("M8 5h21"), svg("rect", { class: "sv-value", x: 15, y: 1.5, width: 7, height: 7 })));
}

export function makeTreePanel() {
  const scene = makeScene(), key = makeKey(), over = el("div", { class: "sv-over" }), stage = el("div", { class: "sv-stage" }, /** @type {any} */ (scene.picture), over);
  const mini = el("div", { class: "sv-mini", hidden: true }), folded = el("p", { class: "sv-note sv-folded" });
  const find = el("input", { type: "search", placeholder: "Find", "aria-label": "Find a token or a node: its text, its number, p < 0.01, rejected by eta", autocomplete: "off", spellcheck: "false" });
  const found = el("output", { class: "sv-foundcount" });
  const parts = {
    scene, tree: scene.picture, key, over, stage, mini, folded, find, found, legend: el("div", { class: "sv-legend" }), tools: el("div", { class: "sv-tools" }),
    compare: el("button", { type: "button", class: "sv-comparepaths", "data-act": "compare-paths", "aria-pressed": "false", title: "Show the path of every verifier (c)" }, "Compare"),
    smaller: button("smaller", "Smaller (−)", "−"), larger: button("larger", "Larger (+)", "+"), fit: button("fit", "Fit the tree into its place (0)", "Fit"),
    focus: button("focus", "The tree alone in the window (f)", el("i", { class: "sv-frame" })),
    treeBox: el("div", { class: "sv-treebox", role: "region", "aria-label": "Draft tree" }, stage, key, folded, mini),
  };
  parts.fit.removeAttribute("aria-label"); // its text says how large the tree is
  const search = el("label", { class: "sv-find" }, parts.find, parts.found, el("kbd", {}, "/"));
  const zoom = el("div", { class: "sv-zoom", role: "group", "aria-label": "Size of the tree" }, parts.smaller, parts.fit, parts.larger, parts.focus);
  const about = note("These tokens were drafted, the target scored all of them in one forward, and every verifier then took a path, which may be empty. Click a card for its arithmetic. Compare draws all paths: ◆ paths part here.");
  about.classList.add("sv-hidden");
  const panel = el("section", { class: "sv-panel sv-treepanel", "aria-label": "Draft tree" },
    el("div", { class: "sv-panelhead sv-treehead" }, parts.compare, parts.legend, search, parts.tools, zoom), about, parts.treeBox);
  return { ...parts, zoom, panel };
}
