/* What of the tree is in sight: it fits at first; keys, wheel and buttons enlarge it, and dragging moves it.
 *
 * The numbers are pure functions. Nothing is drawn again when only the view moves: one transform changes.
 */

/** @import { Box, Layout } from "./layout.js" */
/** @import { Hit, State } from "../core/state.js" */

/** @typedef {{zoom: number, x: number, y: number}} Camera zoom beyond the scale that fits; pixels by which the tree is moved */

export const LARGEST_ZOOM = 4;
export const SMALLEST_ZOOM = 0.5;
export const ZOOM_STEP = 1.25;
const MARGIN = 14, DRAG = 4, WHEEL = 0.002;
const FIT = "Fit the tree into its place (0)", FIT_PATH = "Fit the path into its place; what stands beside it is dragged into sight (0)";

/**
 * The same camera, with no more empty room beside the tree than has to be.
 * @param {Camera} camera
 * @param {Layout} spot
 * @param {Box} box
 * @returns {Camera}
 */
export function held({ zoom, x, y }, spot, box) {
  const scale = spot.scale * zoom, wide = spot.width * scale, high = spot.height * scale;
  return {
    zoom, x: wide <= box.width + 1 ? 0 : Math.min(0, Math.max(box.width - wide, x)),
    y: high <= box.height + 1 ? (box.height - high) / 2 : Math.min(0, Math.max(box.height - high, y)),
  };
}

/**
 * Fitted: the root at the left, and where the tree is too high even so, the spine in the middle.
 * @param {Layout} spot
 * @param {Box} box
 * @returns {Camera}
 */
export const fitted = (spot, box) => held({ zoom: 1, x: 0, y: box.height / 2 - Number(spot.y[0]) * spot.scale }, spot, box);

/**
 * What is fitted on request: of a ladder its path down to the bonus, small enough to be in sight as a whole; what stands beside
 * it is moved into sight.
 * @param {Layout} spot
 * @param {Box} box
 * @returns {Camera}
 */
export function fittedPath(spot, box) {
  if (!spot.down) return fitted(spot, box);
  const { y, high } = spot.bonus[0] ?? { y: spot.height, high: 0 };
  return held({ zoom: Math.max(SMALLEST_ZOOM, Math.min(1, (box.height - MARGIN) / ((y + high / 2) * spot.scale))), x: 0, y: 0 }, spot, box);
}

/**
 * Enlarged by `factor`, with the place at `x`, `y` of the box where it was.
 * @param {Camera} camera
 * @param {number} factor
 * @param {number} x
 * @param {number} y
 * @returns {Camera}
 */
export function zoomed(camera, factor, x, y) {
  const zoom = Math.min(LARGEST_ZOOM, Math.max(SMALLEST_ZOOM, camera.zoom * factor)), by = zoom / camera.zoom;
  return { zoom, x: x - (x - camera.x) * by, y: y - (y - camera.y) * by };
}

/**
 * Moved as little as brings a place of the tree into the box.
 * @param {Camera} camera
 * @param {Hit} hit
 * @param {Layout} spot
 * @param {Box} box
 * @returns {Camera}
 */
export function showing(camera, hit, spot, box) {
  const scale = spot.scale * camera.zoom;
  const moved = (/** @type {number} */ by, /** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ room) =>
    from * scale + by < MARGIN ? MARGIN - from * scale : to * scale + by > room - MARGIN ? room - MARGIN - to * scale : by;
  return held({ zoom: camera.zoom, x: moved(camera.x, hit.left, hit.right, box.width), y: moved(camera.y, hit.top, hit.bottom, box.height) }, spot, box);
}

/**
 * @param {{treeBox: HTMLElement, tree: SVGSVGElement, scene: {world: SVGElement}, over: HTMLElement, fit: HTMLElement, larger: HTMLElement, smaller: HTMLElement}} ui
 * @param {State} state
 * @param {() => void} moved what else has to follow
 */
export function makeCamera(ui, state, moved) {
  /** @returns {Box} */
  const box = () => ({ width: ui.treeBox.clientWidth || 900, height: ui.treeBox.clientHeight || 420 });

  /**
   * @param {Camera} camera
   * @param {boolean} [gently]
   */
  function set(camera, gently = false) {
    const { spot } = state;
    if (!spot) return;
    state.camera = held(camera, spot, state.box);
    const { zoom, x, y } = state.camera, scale = spot.scale * zoom, isWider = spot.width * scale > state.box.width + 1, isHigher = spot.height * scale > state.box.height + 1;
    ui.treeBox.classList.toggle("sv-gently", gently);
    ui.treeBox.classList.toggle("sv-draggable", isWider || isHigher);
    ui.treeBox.classList.toggle("sv-higher", isHigher); // a finger moves the page up and down as long as the tree does not need it
    ui.scene.world.style.transform = ui.over.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    const said = spot.down ? "Fit path" : zoom === 1 ? "Fit" : `${Math.round(100 * zoom)}%`;
    if (ui.fit.textContent !== said) ui.fit.textContent = said;
    ui.fit.title = spot.down ? FIT_PATH : FIT;
    moved();
  }

  const fit = () => state.spot && set(fittedPath(state.spot, state.box), true);
  /** @param {number} factor */
  const zoom = (factor) => set(zoomed(state.camera, factor, state.box.width / 2, state.box.height / 2), true);

  /** @param {number | null | undefined} node */
  function show(node) {
    const hit = state.hits.find((one) => one.node === node && one.stub === undefined);
    if (hit && state.spot) set(showing(state.camera, hit, state.spot, state.box));
  }

  ui.fit.onclick = fit;
  ui.larger.onclick = () => zoom(ZOOM_STEP);
  ui.smaller.onclick = () => zoom(1 / ZOOM_STEP);
  ui.treeBox.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const at = ui.treeBox.getBoundingClientRect();
    set(zoomed(state.camera, Math.exp(-WHEEL * Math.max(-200, Math.min(200, event.deltaY * (event.deltaMode ? 30 : 1)))), event.clientX - at.left, event.clientY - at.top));
  }, { passive: false });

  /** @type {{x: number, y: number, camera: Camera, far: boolean} | null} */
  let drag = null;
  ui.tree.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag = { x: event.clientX, y: event.clientY, camera: state.camera, far: false };
  });
  ui.tree.addEventListener("pointermove", (event) => {
    if (!drag || !event.buttons) return;
    const x = event.clientX - drag.x, y = event.clientY - drag.y;
    if (!drag.far && Math.hypot(x, y) < DRAG) return;
    if (!drag.far) ui.tree.setPointerCapture(event.pointerId);
    drag.far = true;
    set({ ...drag.camera, x: drag.camera.x + x, y: drag.camera.y + y });
  });
  // The click that ends a drag selects nothing.
  ui.tree.addEventListener("click", (event) => {
    if (drag?.far) event.stopImmediatePropagation();
    drag = null;
  }, { capture: true });

  return { box, set, fit, zoom, show };
}
