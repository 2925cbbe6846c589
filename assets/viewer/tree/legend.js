/* Who judged the tree: the verifier that is watched, whose path is the spine, and the others, each a switch. */

import { el, svg, swatch } from "../core/dom.js";

/** @import { Frame, Run } from "../core/frame.d.ts" */
/** @import { Act, State, View } from "../core/state.js" */

const LONG = 9;

/**
 * Names as short as still tells them apart, cut at underscores: longest for longest_path.
 * @param {string[]} names
 * @returns {Map<string, string>}
 */
export function shortNames(names) {
  const heads = names.map((name) => name.split("_")[0]);
  return new Map(names.map((name, i) => [name, name.length > LONG && heads[i] && heads.filter((head) => head === heads[i]).length === 1 ? heads[i] : name]));
}

/** @param {string} role */
function disc(role) {
  const picture = svg("svg", { width: 9, height: 9, "aria-hidden": "true" }), dot = svg("circle", { class: "sv-pip sv-pip-a", cx: 4.5, cy: 4.5, r: 4 });
  dot.setAttribute("style", `--sv-own: var(--sv-${role})`);
  picture.append(dot);
  return picture;
}

/**
 * @param {{legend: HTMLElement, compare: HTMLElement}} ui
 * @param {State} state
 * @param {Act} act
 */
export function makeLegend(ui, state, act) {
  let drawn = "";

  /**
   * @param {Run} run
   * @param {Frame} frame
   * @param {View} view
   */
  return function legend(run, frame, view) {
    const { known, lens, compare } = view, judged = run.verifiers.filter((v) => frame.tree.states[v.name]);
    // How far the others came is not said before it is known.
    const lengths = judged.map((v) => (known.bonus.has(v.name) ? String(known.paths[v.name].size) : ""));
    const key = [run.id, judged.map((v) => v.name), [...view.shown], lens, frame.driver, compare, lengths].join();
    if (key === drawn) return;
    drawn = key;
    ui.compare.hidden = judged.length < 2;
    ui.compare.setAttribute("aria-pressed", String(compare));
    const active = /** @type {HTMLElement | null} */ (document.activeElement), focused = active && ui.legend.contains(active) ? active.dataset.verifier || "lens" : null;
    const choice = el("select", { "aria-label": "The spine of the tree and the coins on its cards are those of", onchange: () => act.watch(choice.value) },
      frame.verdicts.map((v) => el("option", { value: v.verifier, selected: v.verifier === lens }, v.verifier)));
    const short = shortNames(judged.map((v) => v.name)), watched = judged.find((v) => v.name === lens);
    const chips = judged.map((v, i) => ({ v, length: lengths[i] })).filter(({ v }) => v.name !== lens).map(({ v, length }) =>
      el("button", {
        type: "button", class: "sv-chip", "data-verifier": v.name, "aria-pressed": String(!state.hidden.has(v.name)), onclick: () => act.toggle(v.name),
        title: `${v.name}${v.name === frame.driver ? ", whose verdict is committed" : ""}${length ? ` accepted ${length}` : ""}. Show or hide it.`,
      }, compare ? swatch(v) : disc(v.role), el("span", { class: "sv-chipname" }, ` ${short.get(v.name)}`), v.name === frame.driver ? el("span", { class: "sv-badge" }, "driver") : null, length ? el("b", {}, length) : null));
    ui.legend.replaceChildren(el("label", { class: "sv-lens" }, watched ? swatch(watched) : "", choice, el("span", { class: "sv-drives" }, lens === frame.driver ? "drives" : "is watched")), ...chips);
    if (focused) (focused === "lens" ? choice : chips.find((chip) => chip.dataset.verifier === focused))?.focus();
  };
}
