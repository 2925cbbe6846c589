/* Everything that the page's components mount (specviz/app/viewer_component.py): a viewer, the command bar above it with
 * its example prompts, and the board of the Compare tab. */

import { makeBoard } from "./tools/board.js";
import { makeCommand } from "./tools/command.js";
import { makeExamples } from "./tools/examples.js";
import { addGoTo } from "./tools/goto.js";
import { listenForTabs, turnTo } from "./tools/menu.js";
import { makeTheme } from "./tools/theme.js";
import { mount, mounted } from "./viewer.js";

/** @type {import("./tools/command.js").Command | null} */
let bar = null;
/** What was said of a recording that is followed. @type {import("./core/frame.d.ts").Following | undefined} */
let following;

/**
 * The command bar is mounted after the viewer, or before it.
 * @param {HTMLElement} place
 * @param {(asked: number) => void} ask
 */
function command(place, ask) {
  bar = makeCommand(place, ask, {
    await: () => mounted.at(-1)?.await(),
    starting: (prompt) => mounted.at(-1)?.starting(prompt),
    open: (run, step) => mounted.at(-1)?.open(run, step),
    order: (act) => mounted.at(-1)?.ask("order", { act }),
  });
  const run = mounted.at(-1)?.state.run;
  bar.take({ ...(run && { run }), ...(following && { following }) });
  return bar;
}

addGoTo(true);
listenForTabs();
window.specvizViewer = {
  mount, mounted, command, theme: makeTheme, board: makeBoard, examples: makeExamples,
  onBlock: (/** @type {import("./core/frame.d.ts").Block} */ block) => {
    following = block.following ?? following;
    bar?.take(block);
  },
  onAside: (/** @type {import("./core/frame.d.ts").Block} */ block) => bar?.takeAside(block),
  onWorking: (/** @type {import("./core/state.js").NoticeShown | null} */ notice) => bar?.working(notice),
  begun: (/** @type {string} */ name, /** @type {string} */ text, /** @type {boolean} */ stops) => bar?.begun(name, text, stops),
  done: (/** @type {string} */ name, /** @type {boolean} */ failed) => bar?.done(name, failed),
  onPage: turnTo,
  /** The page View is the run without a lesson or a fault. */
  onView: () => mounted.at(-1)?.leave(),
};
