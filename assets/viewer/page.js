/* Everything that the page's components mount (specviz/app/viewer_component.py): a viewer and the board of the Compare tab. */

import { makeBoard } from "./tools/board.js";
import { mount, mounted } from "./viewer.js";

window.specvizViewer = { mount, mounted, board: makeBoard };
