/* A recording that is followed while it is written: asks the server again and again what is new. What it says of it stands in
 * the command bar.
 */

/** @import { Block, Following } from "../core/frame.d.ts" */
/** @import { Act, Handlers, State, Tool } from "../core/state.js" */

const POLL_MS = 300;

/**
 * @param {unknown} _ui
 * @param {State} state
 * @param {Act} _act
 * @param {Handlers} handlers
 * @returns {Tool}
 */
export function makeFollow(_ui, state, _act, { ask }) {
  if (!ask) return {};
  /** @type {Following | null} */
  let known = null;
  /** Its runs, and those of the recordings that it replaced. @type {Set<string>} */
  const own = new Set();
  /** @type {number | undefined} */
  let timer;

  function poll() {
    const run = state.run?.id ?? null;
    ask?.("follow", { run, steps: state.run?.steps ?? 0, version: known?.version ?? 0, follows: run === null || own.has(run) });
  }

  /** @param {Block} block */
  function take({ following }) {
    if (!following) return;
    known = following;
    for (const run of known.runs) own.add(run);
    timer ??= setInterval(poll, POLL_MS);
  }

  return { take, dispose: () => clearInterval(timer) };
}
