/* The figure of the step in sight (key e): what it says and shows is chosen beside a picture of it, then it is saved. The same
 * figure is what is printed.
 */

import { saveFile } from "../core/files.js";
import { el } from "../core/dom.js";
import { frameDrawn, frameNow, runDrawn } from "../core/state.js";
import { verdictBy } from "../core/words.js";
import { story } from "../panels/findings.js";
import { headlineOf } from "../panels/headline.js";
import { faultHeadline } from "../panels/why.js";
import { knownIn } from "../tree/phases.js";
import { HEIGHT, makeFigure, WIDTH } from "./figure.js";
import { pngFile, svgFile } from "./pictures.js";

/** @import { Act, State, Tool, View } from "../core/state.js" */
/** @import { Part } from "../panels/decision.js" */
/** @import { Ui } from "../parts.js" */

const CAPTION_CHARACTERS = 200;

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {Act} act
 * @returns {Tool}
 */
export function makeFigureDialog(ui, state, act) {
  const button = (/** @type {string} */ name, /** @type {string} */ words, /** @type {() => any} */ onclick, title = "") => el("button", { type: "button", "data-act": name, title: title || null, onclick }, words);
  const picture = el("img", { class: "sv-figurepicture", width: WIDTH, height: HEIGHT, alt: "" }), place = el("div", { class: "sv-figureplace" });
  const caption = el("input", { type: "text", maxlength: CAPTION_CHARACTERS, oninput: () => draw() });
  const theme = el("select", { onchange: () => draw() }, el("option", { value: "light" }, "light"), el("option", { value: "dark" }, "dark"));
  const paths = el("input", { type: "checkbox", onchange: () => draw() }), verifiers = el("fieldset", {});
  const embed = button("embed", "Copy iframe", () => (dialog.close(), act.embed?.()), "Copy the HTML that shows this step inside another page");
  const dialog = el("dialog", { class: "sv-help sv-figuredialog", "aria-label": "Figure", onclose: forget },
    el("h3", {}, "Figure of this step"), place,
    el("div", { class: "sv-figureform" }, el("label", {}, "Caption ", caption), el("label", {}, "Colours ", theme), el("label", {}, paths, " all paths"), verifiers),
    el("div", { class: "sv-figureways" }, button("save-svg", "SVG", () => keep("svg")), button("save-png", "PNG", () => keep("png")), embed, button("close-figure", "Close", () => dialog.close())));
  ui.root.append(dialog);
  ui.tools.append(button("figure", "Figure", open, "A figure of this step, as SVG or PNG (e)"));
  act.figure = open;

  const isDark = () => document.body.classList.contains("dark") || document.documentElement.dataset.theme === "dark";
  const lensNow = () => (state.lens && frameDrawn(state).tree.states[state.lens] ? state.lens : frameDrawn(state).driver);
  /** A fault is the headline of the figure as it is of the page. */
  function captionNow() {
    const frame = frameDrawn(state), fault = state.phase === null ? faultHeadline(frame, story(state.frames, runDrawn(state).steps)) : null;
    return fault ? [fault.title, inWords(fault.sub.slice(0, -1)).replace(/ · $/, "")].filter(Boolean).join(": ") : headlineOf(frame, lensNow(), state.phase).head;
  }

  const inWords = (/** @type {Part[]} */ parts) => parts.map((part) => (typeof part === "string" ? part : "token" in part ? part.token : "")).join("");

  /** @param {Set<string>} shown verifiers
   * @param {boolean} compare
   * @returns {View} */
  function viewOf(shown, compare) {
    const lens = lensNow(), known = knownIn(frameDrawn(state), lens, state.phase);
    return { lens, shown, selected: null, open: new Set(state.open.get(state.step) || []), compare, found: null, proofs: {}, known };
  }

  const chosen = () => new Set([.../** @type {NodeListOf<HTMLInputElement>} */ (verifiers.querySelectorAll("input:checked"))].map((one) => one.value));
  const figure = () => makeFigure(ui.root, runDrawn(state), frameDrawn(state), viewOf(chosen(), paths.checked), { caption: caption.value.trim() || captionNow(), theme: theme.value });

  function open() {
    if (!frameNow(state) || dialog.open) return;
    const frame = frameDrawn(state), lens = lensNow();
    caption.value = captionNow();
    theme.value = isDark() ? "dark" : "light";
    paths.checked = state.compare;
    embed.hidden = !act.embed;
    verifiers.replaceChildren(el("legend", {}, "Verifiers"), ...runDrawn(state).verifiers.filter((v) => verdictBy(frame, v.name)).map(({ name }) =>
      el("label", {}, el("input", { type: "checkbox", value: name, checked: name === lens || !state.hidden.has(name), disabled: name === lens, onchange: () => draw() }), ` ${name}`)));
    place.replaceChildren(picture);
    dialog.showModal();
    draw();
  }

  function forget() {
    URL.revokeObjectURL(picture.src);
    picture.removeAttribute("src");
    picture.remove();
  }

  function draw() {
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(svgFile(figure()));
    picture.alt = `${caption.value}. ${frameDrawn(state).summary}`;
  }

  /** @param {"svg" | "png"} kind */
  async function keep(kind) {
    const name = `specviz-${runDrawn(state).id}-step-${state.step + 1}.${kind}`;
    try {
      saveFile(name, kind === "svg" ? svgFile(figure()) : await pngFile(figure(), WIDTH, HEIGHT));
    } catch (error) {
      act.notice({ kind: "error", text: "The picture could not be made; save it as SVG, or with fewer nodes unfolded." });
      throw error;
    }
  }

  /* A print is the figure of the step, light, on one page. */
  const sheet = el("div", { class: "sv-print" });

  function beforePrint() {
    if (!ui.root.isConnected || !frameNow(state)) return;
    const shown = new Set(runDrawn(state).verifiers.map((v) => v.name).filter((name) => !state.hidden.has(name)));
    sheet.replaceChildren(/** @type {any} */ (makeFigure(ui.root, runDrawn(state), frameDrawn(state), viewOf(shown, state.compare), { caption: captionNow(), theme: "light" })));
    document.body.append(sheet);
  }
  const afterPrint = () => sheet.remove();
  window.addEventListener("beforeprint", beforePrint);
  window.addEventListener("afterprint", afterPrint);

  function dispose() {
    window.removeEventListener("beforeprint", beforePrint);
    window.removeEventListener("afterprint", afterPrint);
  }
  return { dispose };
}
