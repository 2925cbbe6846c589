/* An exported file: its run stands in the page as JSON (specviz/figures/export.py). */

import { mount, mounted } from "./viewer.js";

window.specvizViewer = { mount, mounted };
mount(/** @type {HTMLElement} */ (document.getElementById("viewer"))).update(/** @type {HTMLElement} */ (document.getElementById("run")).textContent);
