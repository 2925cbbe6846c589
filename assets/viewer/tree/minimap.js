/* The whole tree in a corner, for one that is folded, enlarged or larger than a page: a dot a node, and what is in sight. */

import { svg } from "../core/dom.js";

/** @import { Box, Layout, Shape } from "./layout.js" */
/** @import { Camera } from "./camera.js" */

/** More nodes than these do not show at a glance which part is in sight. */
export const MANY = 60;
const WIDTH = 132, HIGHEST = 132, LOWEST = 56, ROW = 1.5, EDGE = 4;

/**
 * A place for every node, folded or not: a column a depth, leaves below each other, the spine straight.
 * @param {Shape} shape
 * @returns {{x: number[], y: number[], height: number}}
 */
export function miniature({ parent, order, depth, rank }) {
  /** @type {number[]} */
  const row = new Array(parent.length).fill(0), first = new Array(parent.length).fill(-1), last = [...first], spine = [...first];
  let rows = 0;
  for (const node of order) {
    row[node] = last[node] < 0 ? rows++ : spine[node] >= 0 ? spine[node] : (first[node] + last[node]) / 2;
    const up = parent[node];
    if (up < 0) continue;
    if (first[up] < 0) first[up] = row[node];
    last[up] = row[node];
    if (rank[node] === "path") spine[up] = row[node];
  }
  const deepest = Math.max(1, ...depth), height = Math.min(HIGHEST, Math.max(LOWEST, rows * ROW));
  return {
    x: depth.map((at) => EDGE + (at * (WIDTH - 2 * EDGE)) / deepest), height,
    y: row.map((at) => (rows > 1 ? EDGE + (at * (height - 2 * EDGE)) / (rows - 1) : height / 2)),
  };
}

/**
 * The nodes whose cards are in sight.
 * @param {Layout} spot
 * @param {Camera} camera
 * @param {Box} box
 * @returns {number[]}
 */
export function inSight(spot, { zoom, x, y }, box) {
  const scale = spot.scale * zoom;
  return spot.y.flatMap((at, node) => {
    if (at === null) return [];
    const left = spot.left[node] * scale + x, top = at * scale + y;
    return left + spot.wide[node] * scale > 0 && left < box.width && top > 0 && top < box.height ? [node] : [];
  });
}

/**
 * @param {{mini: HTMLElement}} ui
 * @param {(node: number) => void} go
 */
export function makeMinimap(ui, go) {
  const said = document.createElement("div"), frame = svg("rect", { class: "sv-mini-frame", rx: 3 });
  const spine = svg("path", { class: "sv-mini-spine" }), dots = Object.fromEntries(["idle", "shown", "tried", "path"].map((name) => [name, svg("path", { class: `sv-mini-${name}` })]));
  const picture = svg("svg", { width: WIDTH, "aria-hidden": "true" });
  picture.append(spine, ...Object.values(dots), frame);
  ui.mini.append(said, picture);
  /** @type {ReturnType<typeof miniature> | null} */
  let at = null;

  /**
   * @param {Shape} shape
   * @param {Layout} spot
   */
  function draw(shape, spot) {
    const made = (at = miniature(shape)), { x, y } = made, size = shape.parent.length;
    picture.setAttribute("height", String(made.height));
    /** @type {Record<string, string>} */
    const drawn = { idle: "", shown: "", tried: "", path: "" };
    let line = "";
    shape.rank.forEach((rank, node) => {
      const up = shape.parent[node], dot = `M${x[node].toFixed(1)} ${y[node].toFixed(1)}h.01`;
      drawn[rank === "path" || rank === "tried" ? rank : rank === "root" ? "tried" : spot.y[node] === null ? "idle" : "shown"] += dot;
      if (rank === "path") line += `M${x[up]} ${y[up].toFixed(1)}L${x[node]} ${y[node].toFixed(1)}`;
    });
    spine.setAttribute("d", line);
    for (const [name, dot] of Object.entries(dots)) dot.setAttribute("d", drawn[name]);
    said.textContent = spot.folded ? `${size - 1} drafted, ${size - spot.folded - 1} shown` : `${size - 1} drafted`;
  }

  /**
   * @param {Layout} spot
   * @param {Camera} camera
   * @param {Box} box
   */
  function follow(spot, camera, box) {
    ui.mini.hidden = spot.y.length <= MANY && camera.zoom <= 1.01 && !spot.folded;
    if (ui.mini.hidden || !at) return;
    const { x, y } = at, seen = inSight(spot, camera, box);
    const left = Math.min(...seen.map((node) => x[node])), top = Math.min(...seen.map((node) => y[node]));
    const wide = Math.max(...seen.map((node) => x[node])) - left, high = Math.max(...seen.map((node) => y[node])) - top;
    const place = seen.length ? { x: left - 3.5, y: top - 3.5, width: wide + 7, height: high + 7 } : { x: 0, y: 0, width: 0, height: 0 };
    for (const [name, value] of Object.entries(place)) frame.setAttribute(name, value.toFixed(1));
    // Where the tree is not: its spine's end has the bonus tokens beside it.
    ui.mini.classList.toggle("sv-mini-up", Number(spot.bonus[0]?.y ?? 0) * spot.scale * camera.zoom + camera.y > box.height / 2);
  }

  picture.addEventListener("click", (event) => {
    if (!at) return;
    const { x, y } = at, place = picture.getBoundingClientRect(), px = event.clientX - place.left, py = event.clientY - place.top;
    let nearest = 0;
    x.forEach((_, node) => {
      if (Math.hypot(x[node] - px, y[node] - py) < Math.hypot(x[nearest] - px, y[nearest] - py)) nearest = node;
    });
    go(nearest);
  });

  return { draw, follow };
}
