/* A figure of the step in sight, 16:9, for a slide or a paper: caption, prompt, step, tree and legend.
 *
 * It is drawn by what draws the tree of the page, beside the page, and then copied with its colours written into it, so that
 * the file looks the same wherever it is opened.
 */

import { decisionsOf } from "../core/columns.js";
import { COMPARISONS } from "../core/constants.js";
import { el, svg } from "../core/dom.js";
import { drawnFrom, headName, looksOf, verdictBy } from "../core/words.js";
import { faultyNodes } from "../panels/why.js";
import { compared } from "../tree/chance.js";
import { drawTree, makeScene, markFaults } from "../tree/draw.js";
import { columns, shorten } from "../tree/labels.js";
import { layOut } from "../tree/layout.js";
import { shapeOf } from "../tree/ranks.js";
import { inlined, written } from "./pictures.js";

/** @import { Frame, Run, Verdict } from "../core/frame.d.ts" */
/** @import { View } from "../core/state.js" */

/** @typedef {{caption: string, theme: string}} Wanted */

export const WIDTH = 1280;
export const HEIGHT = 720;
const LEFT = 45, RIGHT = WIDTH - LEFT, TREE = { x: 24, y: 110 }, ROW = 38, FOOT = 34, GAP = 34, CAPTION = 36, LEAST_CAPTION = 22, PROMPT = 20, LEAST_PROMPT = 16;

/**
 * @param {HTMLElement} root of the viewer; the figure stands in it for a moment, where the colours are known
 * @param {Run} run
 * @param {Frame} frame
 * @param {View} view
 * @param {Wanted} wanted
 * @returns {SVGElement} that needs nothing else
 */
export function makeFigure(root, run, frame, view, { caption, theme }) {
  const scene = makeScene(), { picture, world } = scene, looks = looksOf(run, view.lens);
  const stage = el("div", { class: "sv-treebox sv-figure", "data-theme": theme, "aria-hidden": "true", style: `--sv-driver: var(--sv-${looks.role})` });
  stage.append(picture);
  root.append(stage);
  try {
    const rows = addLegend(picture, run, frame, view), rule = HEIGHT - FOOT - ROW * rows - 4;
    picture.append(svg("path", { d: `M${LEFT} ${rule}H${RIGHT}`, style: "fill: none; stroke: var(--sv-line-faint); stroke-width: 2" }));
    addHead(picture, run, frame, caption);

    const shape = shapeOf(frame, view), box = { width: WIDTH - 2 * TREE.x, height: rule - TREE.y - 22 }, spot = layOut(shape, box);
    const scale = Math.min(spot.scale, box.width / spot.width, box.height / spot.height);
    drawTree(scene, run, frame, view, shape, spot);
    if (view.known.parts) markFaults(scene, faultyNodes(frame));
    world.setAttribute("transform", `translate(${(TREE.x + (box.width - spot.width * scale) / 2).toFixed(1)} ${TREE.y}) scale(${scale.toFixed(4)})`);
    if (spot.folded) write(picture, `${spot.folded} of ${shape.parent.length} nodes are folded`, RIGHT, rule - 8, { size: 14, muted: true, end: true });

    const whole = svg("svg", { xmlns: "http://www.w3.org/2000/svg", width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    whole.append(svg("title", {}, written(caption)), svg("desc", {}, written(frame.summary)));
    const ground = svg("rect", { width: WIDTH, height: HEIGHT, style: "fill: var(--sv-panel)" });
    picture.prepend(ground);
    whole.append(...[...picture.children].map(inlined));
    return whole;
  } finally {
    stage.remove();
  }
}

/**
 * @typedef {object} Look
 * @property {number} size
 * @property {boolean} [bold]
 * @property {boolean} [muted]
 * @property {boolean} [end] whether x is where the text ends
 * @property {number} [room] it is cut where it is longer
 */

/**
 * @param {Element} place
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {Look} look
 * @returns {number} its length
 */
function write(place, text, x, y, { size, bold, muted, end, room = WIDTH }) {
  const made = /** @type {SVGTextElement} */ (svg("text", { x, y, "font-size": size, "text-anchor": end ? "end" : "start", style: `fill: var(--sv-${muted ? "muted" : "ink"}); font-weight: ${bold ? 700 : 400}` }, written(text)));
  place.append(made);
  for (let length = made.getComputedTextLength(); length > room; length = made.getComputedTextLength()) {
    const now = made.textContent || "", width = Math.min(columns(now) - 1, Math.floor((columns(now) * room) / length));
    if (width < 1) break;
    made.textContent = shorten(now, width);
  }
  return made.getComputedTextLength();
}

/**
 * Caption, prompt and step; at the right what the run was.
 * @param {Element} place
 * @param {Run} run
 * @param {Frame} frame
 * @param {string} caption
 */
function addHead(place, run, frame, caption) {
  const { settings, engine, models: { target, draft }, id } = run, sampling = (settings || engine)?.target;
  const pair = run.draftRan === false || !draft ? target?.id : `${target?.id ?? "target not recorded"} ← ${draft.id}${draft.head && draft.head.format !== "hidden_state" ? ` (${headName(draft.head)})` : ""}`;
  const heat = sampling && (sampling.temperature === 0 ? "greedy" : `T ${sampling.temperature}`);
  const about = [engine?.said, pair, heat, settings && `seed ${settings.seed}`, `run ${id.slice(0, 8)}`].filter(Boolean).join(" · ");
  write(place, caption, LEFT, 58, { size: fittingSize(place, caption, CAPTION, LEAST_CAPTION, RIGHT - LEFT, true), bold: true, room: RIGHT - LEFT });
  const right = write(place, about, RIGHT, 93, { size: 14, muted: true, end: true, room: 560 }), room = RIGHT - LEFT - right - 24;
  const asked = `“${run.asked.trim()}”`, step = ` · step ${frame.step + 1} of ${run.steps}`;
  // A long prompt is cut; which step it is stays.
  const size = fittingSize(place, asked + step, PROMPT, LEAST_PROMPT, room), wide = lengthOf(place, step, size);
  write(place, step, LEFT + write(place, asked, LEFT, 93, { size, muted: true, room: room - wide }), 93, { size, muted: true });
}

/**
 * @param {Element} place
 * @param {string} text
 * @param {number} size
 * @param {boolean} [bold]
 */
function lengthOf(place, text, size, bold) {
  const length = write(place, text, 0, 0, { size, bold, room: Infinity });
  place.lastElementChild?.remove();
  return length;
}

/**
 * Text becomes smaller before it is cut.
 * @param {Element} place
 * @param {string} text
 * @param {number} most
 * @param {number} least
 * @param {number} room
 * @param {boolean} [bold]
 */
const fittingSize = (place, text, most, least, room, bold) => Math.max(least, Math.min(most, Math.floor((most * room) / lengthOf(place, text, most, bold))));

/* ------------------------------------------------------------------------------------------------------ legend */

/**
 * Whose path it is and who kept what; then what the signs on the cards mean, of which only those are told that are there.
 * @param {SVGElement} place
 * @param {Run} run
 * @param {Frame} frame
 * @param {View} view
 * @returns {number} rows that it takes
 */
function addLegend(place, run, frame, view) {
  const { known, lens, compare, shown } = view, counted = (/** @type {string} */ name) => (known.bonus.has(name) ? ` ${known.paths[name].size}` : "");
  const watched = looksOf(run, lens), verdict = verdictBy(frame, lens);
  const stroke = (/** @type {string} */ role) => `fill: none; stroke: var(--sv-${role})`;
  const others = run.verifiers.filter((v) => v.name !== lens && shown.has(v.name) && known.states[v.name]);
  /** @type {Item[]} */
  const who = [{ signs: [svg("path", { d: "M0 -6h38", style: `${stroke(watched.role)}; stroke-width: 6` })], wide: 38, bold: `${lens}${counted(lens)}`, text: lens === frame.driver ? " drives" : " is watched" }];
  if (others.length) who.push({ signs: [], wide: 0, muted: compare ? "the others" : "also kept by" });
  for (const { name, role, dash } of others)
    who.push(compare ? { signs: [svg("path", { d: "M0 -6h38", "stroke-dasharray": dash.replace("solid", "none").replace(/px/g, ""), style: `${stroke(role)}; stroke-width: 4` })], wide: 38, text: name, bold: counted(name), after: true }
      : { signs: [pip(role)], wide: 14, text: name, bold: counted(name), after: true });

  /** @type {Item[]} */
  const signs = [];
  if (frame.nodes.q.some((q) => q !== null)) signs.push({ signs: [svg("rect", { class: "sv-bar-q", x: 0.5, y: -11, width: 26, height: 9 })], wide: 27, text: "draft q" });
  if (known.target && frame.nodes.p.some((p) => p !== null)) signs.push({ signs: [svg("rect", { class: "sv-bar-p", x: 0, y: -11, width: 27, height: 10 })], wide: 27, text: "target p" });
  const comparison = known.taken && verdict ? COMPARISONS[verdict.decisions.comparison[0] ?? -1] : undefined;
  const line = (/** @type {string} */ zone) => [svg("path", { class: "sv-scale", d: "M0 -6h70" }), svg("path", { class: "sv-zone", d: zone })];
  if (comparison === "uniform < threshold") {
    signs.push({ signs: [...line("M0 -6h40"), svg("circle", { class: "sv-coin", cx: 20, cy: -6, r: 5.5 })], wide: 70, text: "accept zone and coin" }, { signs: [], wide: 0, bold: compared(frame, decisionsOf(/** @type {Verdict} */ (verdict))[0]).said, text: " accept chance" });
  } else if (comparison === "p > threshold") signs.push({ signs: [...line("M25 -6h45"), svg("rect", { class: "sv-value", x: 42, y: -11, width: 10, height: 10 })], wide: 70, text: "accept zone and p" });
  else if (comparison) signs.push({ signs: [], wide: 0, bold: comparison === "token = drawn" ? "= drawn" : "= argmax", text: comparison === "token = drawn" ? " the token that was drawn from p" : " the target's most probable token" });
  if (known.bonus.has(lens) && verdict?.bonus) signs.push({ signs: [svg("path", { class: "sv-path-bonus", d: "M3 -6h50", "stroke-dasharray": "2 8", style: `${stroke(watched.role)}; stroke-width: 6` })], wide: 56, text: `bonus token${drawnFrom(verdict.bonus) && ","}${drawnFrom(verdict.bonus)}` });

  const made = svg("g", {});
  place.append(made);
  let rows = 0;
  for (const items of [who, signs]) if (items.length) rows = flow(made, items, rows) + 1;
  made.setAttribute("transform", `translate(0 ${HEIGHT - FOOT - ROW * (rows - 1)})`);
  return rows;
}

/**
 * @typedef {object} Item of a legend: a picture from x 0 to `wide`, on the line of the text, and words
 * @property {SVGElement[]} signs
 * @property {number} wide
 * @property {string} [bold]
 * @property {string} [text]
 * @property {string} [muted]
 * @property {boolean} [after] whether the bold words come last
 */

/** @param {string} role */
function pip(role) {
  return svg("circle", { class: "sv-pip sv-pip-a", cx: 7, cy: -6, r: 7, style: `--sv-own: var(--sv-${role})` });
}

/**
 * Items beside one another, in as many rows as they need.
 * @param {SVGElement} place
 * @param {Item[]} items
 * @param {number} row of the first one
 * @returns {number} the last row
 */
function flow(place, items, row) {
  let x = LEFT;
  for (const { signs, wide, bold, text, muted, after } of items) {
    const item = svg("g", {}), start = wide ? wide + 8 : 0;
    item.append(...signs);
    place.append(item);
    let end = start;
    const parts = [{ words: bold, look: { bold: true } }, { words: text, look: {} }, { words: muted, look: { muted: true } }];
    for (const { words, look } of after ? [parts[1], parts[0]] : parts) if (words) end += write(item, words, end, 0, { size: 18, room: RIGHT - LEFT - end, ...look });
    if (x > LEFT && x + end > RIGHT) {
      x = LEFT;
      row += 1;
    }
    item.setAttribute("transform", `translate(${x.toFixed(1)} ${row * ROW})`);
    x += end + GAP;
  }
  return row;
}
