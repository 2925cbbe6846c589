/* An exported file: its run stands in the page as packed blocks (specviz/figures/export.py), the first one without frames. */

import { addGoTo } from "./tools/goto.js";
import { lookOf } from "./tools/share.js";
import { mount, mounted } from "./viewer.js";

/** @import { Viewer } from "./viewer.js" */

const TOO_OLD = "This browser cannot unpack the run; open the file in a newer one.";

/** @param {Element} place of a block */
async function unpack(place) {
  const packed = atob(place.textContent || ""), bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  place.remove();
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
}

/**
 * Give a viewer the run, first of all the steps that are packed with the one in sight.
 * @param {Viewer} viewer
 */
async function open({ update, state }) {
  const [head, ...pieces] = document.querySelectorAll(".specviz-block");
  update(await unpack(head));
  const look = lookOf(window.location.search, state.run?.steps || 0);
  if (look) update({ look });
  const at = look?.step ?? state.step, first = pieces.findIndex((piece) => Number(/** @type {HTMLElement} */ (piece).dataset.last) >= at);
  for (const piece of pieces.splice(first, 1)) update(await unpack(piece));
  await new Promise((drawn) => setTimeout(drawn));
  const others = [];
  for (const piece of pieces) others.push(JSON.parse(await unpack(piece)));
  update(others);
}

addGoTo();
window.specvizViewer = { mount, mounted };
const place = /** @type {HTMLElement} */ (document.getElementById("viewer"));
if ("DecompressionStream" in window) open(mount(place));
else place.textContent = TOO_OLD;
