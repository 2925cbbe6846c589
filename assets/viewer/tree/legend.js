/* Who judged the tree: the verifier that is watched, whose path is the spine, and the others, each a switch. */

import { el, note, svg, swatch } from "../core/dom.js";

/** @import { Frame, Run } from "../core/frame.d.ts" */
/** @import { Act, State, View } from "../core/state.js" */
/** @import { Menu } from "./more.js" */

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
 * @param {{legend: HTMLElement, compare: HTMLElement, everyone: Menu, tools: HTMLElement}} ui
 * @param {State} state
 * @param {Act} act
 */
export function makeLegend(ui, state, act) {
  const { box, button, list, open } = ui.everyone;
  const item = el("button", { type: "button", "data-act": "verifiers", title: "Whose dot on a card is whose; show and hide them", onclick: open }, "Verifiers");
  ui.tools.append(item); // in sight where the row has no room for the menu's own button
  let drawn = "", judges = 0;
  // Names that do not fit beside one another wrap out of sight; then the menu is offered, which has them all.
  const beyond = new IntersectionObserver((entries) => {
    for (const { target, intersectionRatio } of entries) target.classList.toggle("sv-beyond", intersectionRatio < 0.9);
    const left = ui.legend.querySelectorAll(".sv-beyond").length;
    box.hidden = !left && Boolean(list.hidden);
    button.textContent = left === judges - 1 ? `${judges} verifiers` : `+${left}`;
  }, { root: ui.legend, threshold: [0.9] });

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
    judges = judged.length;
    ui.compare.hidden = item.hidden = judged.length < 2;
    ui.compare.setAttribute("aria-pressed", String(compare));
    const active = /** @type {HTMLElement | null} */ (document.activeElement), place = [ui.legend, list].find((one) => active && one.contains(active)), focused = active?.dataset.verifier || "lens";
    const choice = el("select", { "aria-label": "The spine of the tree and the coins on its cards are those of", onchange: () => act.watch(choice.value) },
      frame.verdicts.map((v) => el("option", { value: v.verifier, selected: v.verifier === lens }, v.verifier)));
    const short = shortNames(judged.map((v) => v.name)), watched = judged.find((v) => v.name === lens), sign = (/** @type {Run["verifiers"][number]} */ v) => (compare ? swatch(v) : disc(v.role));
    const others = judged.map((v, i) => ({ v, length: lengths[i] })).filter(({ v }) => v.name !== lens), badge = (/** @type {string} */ name) => (name === frame.driver ? el("span", { class: "sv-badge" }, "driver") : null);
    const chips = others.map(({ v, length }) =>
      el("button", {
        type: "button", class: "sv-chip", "data-verifier": v.name, "aria-pressed": String(!state.hidden.has(v.name)), onclick: () => act.toggle(v.name),
        title: `${v.name}${v.name === frame.driver ? ", whose verdict is committed" : ""}${length ? ` accepted ${length}` : ""}. Show or hide it.`,
      }, sign(v), el("span", { class: "sv-chipname" }, ` ${short.get(v.name)}`), badge(v.name), length ? el("b", {}, length) : null));
    const switches = others.map(({ v, length }) =>
      el("button", { type: "button", role: "menuitemcheckbox", tabindex: -1, "data-verifier": v.name, "aria-checked": String(!state.hidden.has(v.name)), onclick: () => act.toggle(v.name) },
        sign(v), el("span", {}, v.name), badge(v.name), length ? el("span", { class: "sv-note" }, `accepted ${length}`) : null));
    beyond.disconnect();
    if (place === list) button.focus(); // the menu closes when the focus leaves it, as it does with what is replaced
    ui.legend.replaceChildren(el("label", { class: "sv-lens" }, watched ? swatch(watched) : "", choice, el("span", { class: "sv-drives" }, lens === frame.driver ? "drives" : "is watched")), ...chips);
    list.replaceChildren(...switches, note(compare ? "A line of its colour and dash is the path of a verifier; a click on a name hides it." : "A dot of its colour on a card: this verifier accepted the node, too. A click on a name hides its dots."));
    if (!chips.length) box.hidden = true;
    for (const chip of chips) beyond.observe(chip);
    if (place === list) (switches.find((one) => one.dataset.verifier === focused) || switches[0])?.focus();
    else if (place) (focused === "lens" ? choice : chips.find((chip) => chip.dataset.verifier === focused))?.focus();
  };
}
