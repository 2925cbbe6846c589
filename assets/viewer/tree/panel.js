/* The empty panel of the draft tree: its row of tools, the picture, and what lies over it. */

import { el, note, svg } from "../core/dom.js";
import { makeScene } from "./draw.js";
import { makeEveryone, makeMore } from "./more.js";

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
    sample("p, zone", "sv-key-value", ...line("M8 5h21"), svg("rect", { class: "sv-value", x: 15, y: 1.5, width: 7, height: 7 })),
    sample("other mode", "sv-key-unlike", svg("path", { class: "sv-unlike", d: "M9 3.5h10m-10 4h10m-7 2.5l4-9" })));
}

export function makeTreePanel() {
  const scene = makeScene(), key = makeKey(), over = el("div", { class: "sv-over" }), stage = el("div", { class: "sv-stage" }, /** @type {any} */ (scene.picture), over);
  const mini = el("div", { class: "sv-mini", hidden: true }), folded = el("p", { class: "sv-note sv-folded" });
  const find = el("input", { type: "search", placeholder: "Find", "aria-label": "Find a token or a node: its text, its number, p < 0.01, rejected by eta", autocomplete: "off", spellcheck: "false" });
  const found = el("output", { class: "sv-foundcount" }), more = makeMore(), everyone = makeEveryone();
  const parts = {
    scene, tree: scene.picture, key, over, stage, mini, folded, find, found, legend: el("div", { class: "sv-legend" }), everyone, tools: more.list,
    compare: el("button", { type: "button", class: "sv-comparepaths", "data-act": "compare-paths", "aria-pressed": "false", title: "Show the path of every verifier (c)" }, "Compare"),
    smaller: button("smaller", "Smaller (−)", "−"), larger: button("larger", "Larger (+)", "+"), fit: button("fit", "Fit the tree into its place (0)", "Fit"),
    focus: button("focus", "The tree alone in the window (f)", el("i", { class: "sv-frame" })),
    treeBox: el("div", { class: "sv-treebox", role: "region", "aria-label": "Draft tree" }, stage, key, folded, mini),
  };
  parts.fit.removeAttribute("aria-label"); // its text says how large the tree is
  const lens = svg("svg", { width: 14, height: 14, "aria-hidden": "true", class: "sv-findsign" });
  lens.append(svg("path", { d: "M9.5 9.5l3.5 3.5M10.5 6a4.5 4.5 0 1 1-9 0a4.5 4.5 0 1 1 9 0" }));
  const search = el("label", { class: "sv-find" }, /** @type {any} */ (lens), parts.find, parts.found, el("kbd", {}, "/"));
  const zoom = el("div", { class: "sv-zoom", role: "group", "aria-label": "Size of the tree" }, parts.smaller, parts.fit, parts.larger, parts.focus);
  const about = note("These tokens were drafted, the target scored all of them in one forward, and every verifier then took a path, which may be empty. Click a card for its arithmetic. Compare draws all paths: ◆ paths part here. ≠ alone on a card: with processors in the other mode (exact or frozen) and the same luck, the verifier that is watched decides otherwise there, or adds another token.");
  about.classList.add("sv-hidden");
  const panel = el("section", { class: "sv-panel sv-treepanel", "aria-label": "Draft tree" },
    el("div", { class: "sv-panelhead sv-treehead" }, parts.compare, parts.legend, everyone.box, search, zoom, more.box), about, parts.treeBox);
  return { ...parts, panel };
}
