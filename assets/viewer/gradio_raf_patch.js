/* Ends one loop of Gradio's (6.31): the start screen counts its seconds in animation frames, and goes on after it has gone,
 * which costs a twentieth of a core for as long as the page is open. It is told from others by three signs: it began
 * before the page was there, it asks for a frame within each of its frames, and each time with a new copy of one function.
 */
(() => {
  "use strict";
  const native = window.requestAnimationFrame, ask = native.bind(window);
  /** @type {{callback: FrameRequestCallback, early: boolean} | null} */
  let running = null;
  const copies = (/** @type {Function} */ one, /** @type {Function} */ other) => one !== other && String(one) === String(other);

  window.requestAnimationFrame = (callback) => {
    const isThere = document.querySelector(".specviz-mount [data-painted]") !== null;
    if (isThere && running && running.early && copies(callback, running.callback)) {
      window.requestAnimationFrame = native;
      return 0;
    }
    const frame = { callback, early: running ? running.early : !isThere };
    return ask((time) => {
      running = frame;
      try {
        callback(time);
      } finally {
        running = null;
      }
    });
  };
})();
