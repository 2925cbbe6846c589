/* An exported file: its run stands in the page as JSON (specviz/figures/export.py). */

import { addGoTo } from "./tools/goto.js";
import { lookOf } from "./tools/share.js";
import { mount, mounted } from "./viewer.js";

addGoTo();
window.specvizViewer = { mount, mounted };
const viewer = mount(/** @type {HTMLElement} */ (document.getElementById("viewer")));
viewer.update(/** @type {HTMLElement} */ (document.getElementById("run")).textContent);
const look = lookOf(window.location.search, viewer.state.run?.steps || 0);
if (look) viewer.update({ look });
