/* Everything that the page's components mount (specviz/app/viewer_component.py): a viewer, the command bar above it, and the
 * board of the Compare tab. */

import { makeBoard } from "./tools/board.js";
import { makeCommand } from "./tools/command.js";
import { mount, mounted } from "./viewer.js";

/** @type {import("./tools/command.js").Command | null} */
let bar = null;

window.specvizViewer = {
  mount, mounted, board: makeBoard, command: (/** @type {HTMLElement} */ place, /** @type {(asked: number) => void} */ ask) => (bar = makeCommand(place, ask)),
  onBlock: (/** @type {import("./core/frame.d.ts").Block} */ block) => bar?.take(block),
  onWorking: (/** @type {import("./core/state.js").NoticeShown | null} */ notice) => bar?.working(notice),
  done: () => bar?.done(),
};
