/* What moves after a step or a phase: never what has to be waited for. The new picture is there at once, and its parts come to
 * their places by transform and opacity alone.
 *
 * Nothing moves where less motion is asked for, while a key is held, or where one move follows another within QUICK_MS: what
 * is still moving then ends at once.
 */

const REDUCED = "(prefers-reduced-motion: reduce)", QUICK_MS = 250, EASE = "cubic-bezier(0.2, 0.7, 0.3, 1)";

/** @typedef {ReturnType<typeof makeMotion>} Motion */
/** @typedef {{transform?: string, opacity?: number}} Pose */

/**
 * Whether a move follows the one before so closely that nothing is to move.
 * @param {number} now in milliseconds
 * @param {number} last
 */
export const isQuick = (now, last) => now - last < QUICK_MS;

/** @param {HTMLElement} root is marked while nothing is to move; styles look at that */
export function makeMotion(root) {
  const reduced = matchMedia(REDUCED), listening = new AbortController();
  /** @type {Set<Animation>} */
  const running = new Set();
  let last = -Infinity, isHeld = false, hurried = false, isDue = false;
  document.addEventListener("keydown", (event) => (isHeld = event.repeat), { capture: true, signal: listening.signal });
  document.addEventListener("keyup", () => (isHeld = false), { capture: true, signal: listening.signal });

  const isStill = () => reduced.matches || isHeld || (hurried && isQuick(performance.now(), last));

  /** A reader goes somewhere: what still moves is at its place. */
  function begin() {
    const now = performance.now();
    hurried = isQuick(now, last);
    last = now;
    for (const one of [...running]) one.cancel();
    isDue = !isStill();
    root.classList.toggle("sv-still", !isDue);
  }

  /** Whether what is drawn now is where a reader just went, and may move; once for every move. */
  function due() {
    const was = isDue;
    isDue = false;
    return was;
  }

  /**
   * Bring an element from a pose to the one it has.
   * @param {Element | null | undefined} element
   * @param {string} name
   * @param {Pose} from
   * @param {number} ms
   * @param {() => void} [after] called when it is there, or was stopped
   */
  function run(element, name, from, ms, after) {
    if (!element || isStill()) return after?.();
    const to = { ...(from.transform === undefined ? {} : { transform: "none" }), ...(from.opacity === undefined ? {} : { opacity: 1 }) };
    const made = element.animate([/** @type {any} */ (from), to], { id: name, duration: ms, easing: EASE });
    const end = () => {
      running.delete(made);
      after?.();
    };
    running.add(made);
    made.onfinish = made.oncancel = end;
  }

  function dispose() {
    listening.abort();
    for (const one of [...running]) one.cancel();
  }

  return { begin, due, run, dispose };
}
