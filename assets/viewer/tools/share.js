/* Links and forks: the address bar says which run, step, node and verifier is looked at, and two buttons act on them.
 *
 * Only runs that the server can open again have an address: recorded ones, and those it was asked to hold. A block may
 * carry `look` (where to stand) and `link` (what a run is called).
 */

import { el } from "../core/dom.js";
import { copyText } from "../core/files.js";
import { frameNow, runDrawn } from "../core/state.js";

/** @import { Block, Link, Look } from "../core/frame.d.ts" */
/** @import { Act, Handlers, State, Tool } from "../core/state.js" */

const FORK = "Run this step anew as a new run, with the settings as they are now";
const FRAME_WIDTH = 1280, FRAME_HEIGHT = 800;

/**
 * Where an address says to stand, in a run of so many steps; null where it says nothing.
 * @param {string} search what follows the address, from its question mark on: `?step=7&node=5&verifier=eta`
 * @param {number} steps
 * @returns {Look | null}
 */
export function lookOf(search, steps) {
  const asked = new URLSearchParams(search);
  const whole = (/** @type {string} */ name) => (/^\d{1,9}$/.test(asked.get(name) || "") ? Number(asked.get(name)) : null);
  const number = whole("step"), node = whole("node"), verifier = asked.get("verifier");
  const step = number !== null && number >= 1 && number <= steps ? number - 1 : null;
  return step === null && node === null && verifier === null ? null : { step, node, verifier };
}

/**
 * The element that shows an address inside another page, as HTML.
 * @param {string} address
 * @param {string} title
 */
export const frameOf = (address, title) =>
  el("iframe", { src: address, title, width: FRAME_WIDTH, height: FRAME_HEIGHT, style: "border: 0; max-width: 100%", loading: "lazy", referrerpolicy: "no-referrer", allow: "clipboard-write" }).outerHTML;

/**
 * @param {{tools: HTMLElement}} ui
 * @param {State} state
 * @param {Act} act
 * @param {Handlers} handlers
 * @returns {Tool}
 */
export function makeShare(ui, state, act, { ask }) {
  /** @type {Map<string, Link>} */
  const links = new Map();
  /** @type {Look | null} */
  let wanted = null;
  let moving = false, embedding = false;
  // The address stays as it was typed until the reader does something, or the link in it was followed.
  const begin = () => (moving = true);
  for (const kind of ["pointerdown", "keydown"]) window.addEventListener(kind, begin, { once: true, capture: true });

  const link = el("button", { type: "button", "data-act": "link", title: "Copy a link to this step, node and verifier", onclick: () => share(false) }, "Link");
  const fork = el("button", { type: "button", "data-act": "fork", title: FORK, onclick: branch }, "Fork");
  if (ask) {
    ui.tools.append(fork, link);
    act.embed = () => share(true);
  }

  /** @param {Block} block */
  function take(block) {
    if (block.link) {
      links.set(block.link.run || "", block.link);
      write();
      if (block.link.copy) copy();
    }
    if (block.look && state.run) stand(block.look);
  }

  /**
   * Go to a step, a verifier and a node, as far as they are there.
   * @param {Look} look
   */
  function stand({ step, node, verifier }) {
    if (typeof step === "number" && Number.isInteger(step) && step !== state.step) act.show(step);
    wanted = { step: state.step, node, verifier };
    moving = true;
    moved();
  }

  function moved() {
    const frame = frameNow(state);
    if (wanted && wanted.step !== state.step) wanted = null;
    if (wanted && frame) {
      const { node, verifier } = wanted;
      wanted = null;
      if (verifier && frame.tree.states[verifier] && verifier !== state.lens) act.watch(verifier);
      if (typeof node === "number" && Number.isInteger(node) && node >= 0 && node < frame.tree.parent.length) act.select(node, true);
    }
    link.disabled = !frame;
    fork.disabled = !frame || Boolean(state.run?.engine);
    fork.title = state.run?.engine ? `No fork: this run was recorded from ${state.run.engine.name}, and specviz cannot run that; Run starts a new run of your own prompt.` : FORK;
    write();
  }

  /** The link that opens the run as it is now. */
  function named() {
    const known = state.run && links.get(state.run.id);
    return known && known.steps === state.run?.steps ? known : null;
  }

  function address() {
    const url = new URL(window.location.href);
    for (const key of ["trace", "step", "node", "verifier"]) url.searchParams.delete(key);
    const known = named();
    if (!known) return url;
    url.searchParams.set("trace", known.name || "");
    url.searchParams.set("step", String(state.step + 1));
    if (state.selected !== null && !state.offered) url.searchParams.set("node", String(state.selected));
    if (state.lens) url.searchParams.set("verifier", state.lens);
    return url;
  }

  function write() {
    if (!ask || !moving || wanted || !state.run) return;
    const url = String(address());
    if (url !== window.location.href) window.history.replaceState(window.history.state, "", url);
  }

  /** @param {boolean} embed whether the HTML of a frame is wanted, and not the link alone */
  function share(embed) {
    embedding = embed;
    if (named()) return copy();
    act.notice(null);
    ask?.("hold", { run: runDrawn(state).id });
  }

  async function copy() {
    const found = address();
    found.searchParams.delete("__theme"); // everybody has their own
    const url = String(found), text = embedding ? frameOf(url, `specviz: step ${state.step + 1}`) : url, name = embedding ? "HTML of a frame" : "Link";
    act.notice({ kind: "info", text: (await copyText(text)) ? `${name} copied: ${text}` : `${name}, to be copied by hand: ${text}` });
  }

  function branch() {
    act.notice(null);
    state.away = false;
    ask?.("fork", { run: runDrawn(state).id, step: state.step });
  }

  return { take, moved };
}
