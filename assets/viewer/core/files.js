/* What leaves the page: files to save, and text for the clipboard. */

import { el } from "./dom.js";

/**
 * @param {string} name of the file
 * @param {Blob} blob
 */
export function saveFile(name, blob) {
  const address = URL.createObjectURL(blob), link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/**
 * Whether the clipboard took it: there is none without https, or without leave.
 * @param {string} text
 */
export async function copyText(text) {
  try {
    await window.navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
