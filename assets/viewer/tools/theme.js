/* Light, dark, or as the system has it. The choice stands in the address, where Gradio looks when the page opens; nothing is stored. */

const KEY = "__theme";
/** @typedef {"system" | "light" | "dark"} Theme */
/** @type {Record<Theme, {sign: string, next: Theme}>} */
const THEMES = { system: { sign: "◐", next: "light" }, light: { sign: "☼", next: "dark" }, dark: { sign: "☾", next: "system" } };

/**
 * @param {string | null} asked for in the address
 * @returns {Theme}
 */
export const themeOf = (asked) => (asked === "light" || asked === "dark" ? asked : "system");

/**
 * Make a button go from one to the next.
 * @param {HTMLButtonElement} button
 */
export function makeTheme(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const now = () => themeOf(new URLSearchParams(window.location.search).get(KEY));

  function show() {
    const theme = now(), said = `Theme: ${theme}; press for ${THEMES[theme].next}`;
    document.body.classList.toggle("dark", theme === "dark" || (theme === "system" && system.matches));
    button.textContent = THEMES[theme].sign;
    button.setAttribute("aria-label", said);
    button.title = said;
  }

  button.onclick = () => {
    const url = new URL(window.location.href), { next } = THEMES[now()];
    if (next === "system") url.searchParams.delete(KEY);
    else url.searchParams.set(KEY, next);
    window.history.replaceState(window.history.state, "", url);
    show();
  };
  system.addEventListener("change", show);
  show();
}
