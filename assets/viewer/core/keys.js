/* The keys of the page. They are ignored while something else has a use for them: a field, a menu, an open dialog. */

const BUSY = "input:not([type=range]), textarea, select, [contenteditable], [role=slider], [role=listbox], [role=combobox]";
/** Keys that a button, or one of several tabs, has a use for itself. */
const PRESS = [" "], TURN = ["ArrowLeft", "ArrowRight", "Home", "End", " ", "Enter"];
/** A dialog that was closed keeps the focus until the next frame; what is in it has no use for keys any more. */
const SHUT = "dialog:not([open])";
const SHIFTED = ["ArrowLeft", "ArrowRight", "Home", "End"];

/**
 * A key by its name here: with Shift held, arrows and the like are keys of their own.
 * @param {KeyboardEvent} event
 */
const nameOf = ({ key, shiftKey }) => (shiftKey && SHIFTED.includes(key) ? `Shift ${key}` : key);

/**
 * Call what belongs to a key when it is pressed; returns what ends that.
 * @param {Record<string, () => void>} keys
 * @param {(key: string) => boolean} isFree whether the key may be taken now
 * @returns {() => void}
 */
export function listenForKeys(keys, isFree) {
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const name = nameOf(event);
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !keys[name]) return;
    const at = event.target instanceof Element && !event.target.closest(SHUT) ? event.target : null;
    if (at && (at.closest(BUSY) || (at.matches("input") && TURN.includes(name)) || (PRESS.includes(event.key) && at.closest("button, summary, a")) || (TURN.includes(event.key) && at.closest("[role=tab]")))) return;
    if (!isFree(event.key)) return;
    event.preventDefault();
    keys[name]();
  }
  document.addEventListener("keydown", onKey);
  return () => document.removeEventListener("keydown", onKey);
}
