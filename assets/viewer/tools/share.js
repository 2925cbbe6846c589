/* Links and forks: the address bar says which run, step, node and verifier is looked at, and two buttons act on them.
 *
 * Only runs that the server can open again have an address: recorded ones, and those it was asked to hold. A block may
 * carry `look` (where to stand) and `link` (what a run is called).
 */

import { el } from "../core/dom.js";
import { frameNow, runDrawn } from "../core/state.js";

/** @import { Block, Link, Look } from "../core/frame.d.ts" */
/** @import { Act, Handlers, State, Tool } from "../core/state.js" */

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
  let moving = false;
  // The address stays as it was typed until the reader does something, or the link in it was followed.
  const begin = () => (moving = true);
  for (const kind of ["pointerdown", "keydown"]) window.addEventListener(kind, begin, { once: true, capture: true });

  const link = el("button", { type: "button", "data-act": "link", title: "Copy a link to this step, node and verifier", onclick: share }, "Link");
  const fork = el("button", { type: "button", "data-act": "fork", title: "Run this step anew as a new run, with the settings as they are now", onclick: branch }, "Fork");
  if (ask) ui.tools.append(fork, link);

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
    fork.disabled = link.disabled = !frame;
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
    if (state.selected !== null) url.searchParams.set("node", String(state.selected));
    if (state.lens) url.searchParams.set("verifier", state.lens);
    return url;
  }

  function write() {
    if (!ask || !moving || wanted || !state.run) return;
    const url = String(address());
    if (url !== window.location.href) window.history.replaceState(window.history.state, "", url);
  }

  function share() {
    if (named()) return copy();
    act.notice({ kind: "working", text: "Keeping this run on the server, so that the link can open it …", fraction: null });
    ask?.("hold", { run: runDrawn(state).id });
  }

  async function copy() {
    const url = String(address());
    try {
      await window.navigator.clipboard.writeText(url);
      act.notice({ kind: "info", text: `Link copied: ${url}` });
    } catch {
      act.notice({ kind: "info", text: `This is the link: ${url}` }); // no clipboard without https, or without leave
    }
  }

  function branch() {
    act.notice({ kind: "working", text: `Running step ${state.step + 1} anew …`, fraction: null });
    ask?.("fork", { run: runDrawn(state).id, step: state.step });
  }

  return { take, moved };
}
