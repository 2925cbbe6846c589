/* Where the tip of a card stands: beside the pointer, and over nothing that is being read. A pure function. */

/** @typedef {{left: number, top: number, right: number, bottom: number}} Rect */

const RIGHT = 14, LEFT = 12, BELOW = 16, ABOVE = 12, APART = 6;

/**
 * @param {Rect} a
 * @param {Rect} b
 */
const shared = (a, b) => Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));

/**
 * The place nearest to the right and below the pointer at which a tip lies inside the window and covers nothing of `free`, or as little as can be.
 * @param {{x: number, y: number}} pointer
 * @param {{width: number, height: number}} size of the tip
 * @param {Rect} window
 * @param {Rect[]} free what is not to be covered
 * @returns {{x: number, y: number}} its left upper corner
 */
export function placeTip(pointer, size, window, free) {
  const across = [pointer.x + RIGHT, pointer.x - LEFT - size.width, ...free.flatMap((one) => [one.left - APART - size.width, one.right + APART])];
  const down = [pointer.y + BELOW, pointer.y - ABOVE - size.height, ...free.flatMap((one) => [one.top - APART - size.height, one.bottom + APART])];
  let best = { x: 0, y: 0 }, covered = Infinity, far = Infinity;
  for (const wishedX of across)
    for (const wishedY of down) {
      const x = Math.max(window.left, Math.min(window.right - size.width, wishedX)), y = Math.max(window.top, Math.min(window.bottom - size.height, wishedY));
      const place = { left: x, top: y, right: x + size.width, bottom: y + size.height }, sum = free.reduce((all, one) => all + shared(place, one), 0);
      // The pointer is on a card: the tip is not to come under it.
      const under = shared(place, { left: pointer.x - 1, top: pointer.y - 1, right: pointer.x + 1, bottom: pointer.y + 1 }) ? 1000 : 0;
      const away = Math.hypot(x - across[0], y - down[0]) + under;
      if (sum < covered || (sum === covered && away < far)) [best, covered, far] = [{ x, y }, sum, away];
    }
  return best;
}
