/* What if: change a coin, force a node, take other options or another verifier, and see the outcome beside the recorded one.
 *
 * The server answers; here is the form, the comparison (whatif_answer.js), and what differs drawn over the tree. One
 * question a step is kept while the page is open. Without a server (an exported file) there is no such panel.
 */

import { decisionsOf } from "../core/columns.js";
import { digits } from "../core/digits.js";
import { el, token } from "../core/dom.js";
import { askable, CALLS } from "../core/recorded.js";
import { frameDrawn, frameNow, runDrawn } from "../core/state.js";
import { verdictBy } from "../core/words.js";
import { turningCoin } from "./turning_coin.js";
import { answerLines } from "./whatif_answer.js";

/** @import { Block, Frame, OptionField, VerifierChoice, WhatIf } from "../core/frame.d.ts" */
/** @import { Act, Handlers, State, Tool } from "../core/state.js" */
/** @import { Ui } from "../parts.js" */

const WAIT_MS = 250;

/**
 * @typedef {object} Question
 * @property {string} verifier
 * @property {Record<string, any>} options
 * @property {Record<number, number>} coins
 * @property {Record<number, boolean>} forced
 * @property {number | null} bonus
 * @property {WhatIf | null} answer
 * @property {number} [id]
 */

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {Act} act
 * @param {Handlers} handlers
 * @returns {Tool}
 */
export function makeWhatIf(ui, state, act, { ask: askServer }) {
  if (!askServer) {
    ui.dock.leaveOut("whatif");
    return {};
  }
  /** @type {VerifierChoice[]} */
  let choices = [];
  /** By run and step. @type {Map<string, Question>} */
  let questions = new Map();
  let count = 0, shownFor = "";
  /** @type {number | undefined} */
  let timer;
  const form = el("div", { class: "sv-whatif-form" }), changes = el("div", { class: "sv-whatif-changes" }), answer = el("div", { class: "sv-whatif-answer", "aria-live": "polite" });
  const panel = el("div", { class: "sv-whatif" }, el("div", { class: "sv-whatif-asked" },
    el("p", { class: "sv-note" }, "Change a coin, force a node, take other options or another verifier: the outcome stands beside the recorded one, which stays as it is."), form, changes), answer);
  const overlay = el("div", { class: "sv-whatif-overlay", "aria-hidden": "true" });
  const cannot = el("p", { class: "sv-note", hidden: true }, `What if cannot be asked of this step: no rule of specviz's judged it, which takes rows and coins (${CALLS.draft}, ${CALLS.target}, ${CALLS.coins}).`);
  ui.under.append(cannot, panel);
  ui.over.append(overlay);
  act.whatIf = () => {
    act.reveal(panel); // which builds the form
    offer();
    panel.scrollIntoView({ block: "nearest" });
    const field = /** @type {HTMLInputElement | null} */ (form.querySelector("[data-field=coin]"));
    if (!field) return /** @type {HTMLElement | null} */ (form.querySelector("[data-field=verifier]"))?.focus({ preventScroll: true });
    field.focus({ preventScroll: true });
    field.select();
  };

  /** Fill in the coin that would just turn the decision of the selected node, unless another one stands there, and ask. */
  function offer() {
    const about = question(), node = state.selected, verdict = recordedBy(about.verifier);
    if (!node || !verdict || !chosen(about.verifier).coins || node in about.coins) return;
    const decision = decisionsOf(verdict).find((one) => one.node === node && one.uniform !== null), threshold = verdict.thresholds[node];
    const coin = threshold === null ? null : turningCoin(threshold, decision !== undefined && Number(decision.uniform) < threshold);
    if (coin === null) return;
    about.coins[node] = coin;
    build();
    ask(false, 0);
  }

  const isOpen = () => state.dock === "whatif";
  const keyNow = () => `${runDrawn(state).id}/${state.step}`;
  const chosen = (/** @type {string} */ name) => choices.find((one) => one.name === name) || choices[0];
  const recordedBy = (/** @type {string} */ name) => verdictBy(frameDrawn(state), name);

  /** The question about the step in sight; asked with the options that were recorded until they are changed. */
  function question() {
    const key = keyNow();
    let about = questions.get(key);
    if (!about) {
      const isChoice = (/** @type {string} */ name) => choices.some((one) => one.name === name);
      const lens = state.lens && isChoice(state.lens) && recordedBy(state.lens) ? state.lens : frameDrawn(state).driver;
      const judged = frameDrawn(state).verdicts.find(({ verifier }) => isChoice(verifier))?.verifier;
      questions.set(key, (about = fresh(isChoice(lens) ? lens : judged ?? choices[0].name)));
    }
    return about;
  }

  /**
   * @param {string} name
   * @returns {Question}
   */
  function fresh(name) {
    const recorded = recordedBy(name);
    /** @type {Question["options"]} */
    const options = {};
    for (const option of chosen(name).options) options[option.name] = recorded && option.name in recorded.options ? recorded.options[option.name] : option.default;
    return { verifier: name, options, coins: {}, forced: {}, bonus: null, answer: null };
  }

  /** @param {Block} block */
  function take(block) {
    if (block.verifiers) choices = block.verifiers;
    const found = block.whatif;
    if (!found || !state.run || found.run !== state.run.id) return;
    const asked = questions.get(`${found.run}/${found.step}`);
    if (!asked || asked.id !== found.id) return; // an answer to an older question
    asked.answer = found;
    if (found.step === state.step) show();
  }

  /**
   * @param {boolean} [models] whether they are to answer, at once
   * @param {number} [wait] milliseconds for more changes
   */
  function ask(models, wait = WAIT_MS) {
    clearTimeout(timer);
    const about = question(), { verifier, options, forced, bonus } = about;
    const coins = chosen(verifier).coins ? about.coins : {}; // what a rule has no use for is not asked, but told
    const send = () => askServer?.(models ? "what_if_models" : "what_if", { run: runDrawn(state).id, step: state.step, id: (about.id = ++count), verifier, options, coins, forced, bonus });
    if (models) send();
    else timer = setTimeout(send, wait);
  }

  function changed() {
    build();
    ask();
  }

  /* --------------------------------------------------------------------------------------------------- form */

  function build() {
    const frame = frameNow(state);
    if (!frame || !choices.length) return;
    const about = question(), rule = chosen(about.verifier), active = /** @type {HTMLElement | null} */ (document.activeElement), held = form.contains(active) ? active?.dataset.field : null;
    const pick = el("select", { "data-field": "verifier", onchange: () => (questions.set(keyNow(), { ...fresh(pick.value), forced: about.forced, coins: about.coins, bonus: about.bonus }), changed()) },
      choices.map((one) => el("option", { value: one.name, selected: one.name === about.verifier }, recordedBy(one.name) ? one.name : `${one.name} (did not judge this tree)`)));
    form.replaceChildren(
      el("div", { class: "sv-whatif-line" }, el("label", {}, "Verifier ", pick), rule.options.map((option) => field(option, about))),
      el("div", { class: "sv-whatif-line" }, nodeFields(frame, about, rule)),
      el("div", { class: "sv-whatif-line" }, number("Bonus coin", "bonus", about.bonus, (value) => (about.bonus = value)).label,
        el("button", { type: "button", "data-act": "whatif-reset", onclick: () => (questions.delete(keyNow()), changed()) }, "Reset")));
    list(about);
    if (held) /** @type {HTMLElement | null} */ (form.querySelector(`[data-field="${held}"]`))?.focus();
  }

  /**
   * @param {OptionField} option
   * @param {Question} about
   */
  function field(option, about) {
    const set = (/** @type {any} */ value) => ((about.options[option.name] = value), ask());
    const value = about.options[option.name], attributes = { "data-field": `option-${option.name}`, title: option.note };
    if (option.kind === "choice") {
      const select = el("select", { ...attributes, onchange: () => set(select.value) }, (option.choices || []).map((one) => el("option", { value: one, selected: one === value }, one)));
      return el("label", {}, `${option.name} `, select);
    }
    if (option.kind === "yes") {
      const box = el("input", { ...attributes, type: "checkbox", checked: Boolean(value), onchange: () => set(box.checked) });
      return el("label", {}, box, ` ${option.name}`);
    }
    const input = option.kind === "text" ? el("input", { ...attributes, value, onchange: () => set(input.value) })
      : el("input", { ...attributes, type: "number", step: option.kind === "whole" ? 1 : "any", value, oninput: () => input.value !== "" && set(Number(input.value)) });
    return el("label", {}, `${option.name} `, input);
  }

  /**
   * A number in (0, 1) as a field; empty takes the change away.
   * @param {string} label
   * @param {string} name
   * @param {number | null} value
   * @param {(value: number | null) => void} set
   */
  function number(label, name, value, set) {
    const put = () => {
      set(input.value === "" ? null : Number(input.value));
      list(question());
      ask();
    };
    const input = el("input", { type: "number", min: 0, max: 1, step: "any", "data-field": name, value: value ?? "", oninput: put });
    return { label: el("label", {}, `${label} `, input), input };
  }

  /**
   * What can be changed at the node that is selected.
   * @param {Frame} frame
   * @param {Question} about
   * @param {VerifierChoice} rule
   */
  function nodeFields(frame, about, rule) {
    const node = state.selected;
    if (!node) return [el("span", { class: "sv-note" }, "Select a drafted node in the tree to change its coin or to force it.")];
    const force = (/** @type {boolean} */ how, /** @type {string} */ label) => el("button", { type: "button", "data-act": `whatif-${label}`, "aria-pressed": String(about.forced[node] === how), onclick: () => {
      if (about.forced[node] === how) delete about.forced[node];
      else about.forced[node] = how;
      changed();
    } }, label);
    const made = [el("span", {}, `Node ${node} `, token(frame.nodes.text[node])), force(true, "accept"), force(false, "reject")];
    if (!rule.coins) return [...made, el("span", { class: "sv-note" }, `${rule.name} flips no coin at a node.`)];
    const recorded = coinOf(frame, node), now = about.coins[node] ?? null, recordedRule = recordedBy(about.verifier);
    const set = (/** @type {number | null} */ value) => {
      if (value === null) delete about.coins[node];
      else about.coins[node] = value;
    };
    const typed = number("its coin", "coin", now, (value) => (set(value), (slide.value = String(value === null ? recorded ?? 0.5 : value))));
    const slide = el("input", { type: "range", min: 0.001, max: 0.999, step: 0.001, value: now ?? recorded ?? 0.5, "data-field": "slide", "aria-label": `Coin of node ${node}`, oninput: () => {
      set(Number(slide.value));
      typed.input.value = slide.value;
      list(about);
      ask();
    } });
    const limit = recordedRule?.thresholds[node] ?? null, always = limit === null || (limit > 0 && limit < 1) ? "" : `: ${limit > 0 ? "every coin accepts" : "no coin accepts"}`;
    const threshold = recordedRule ? `threshold ${digits(limit)}${always}` : "";
    return [...made, typed.label, slide, el("span", { class: "sv-note" }, [recorded === null ? "coin not flipped" : `recorded coin ${digits(recorded)}`, threshold].filter(Boolean).join(", "))];
  }

  /**
   * The changes, each with a button that takes it back.
   * @param {Question} about
   */
  function list(about) {
    const entry = (/** @type {string} */ text, /** @type {() => void} */ undo) => el("li", {}, text, " ", el("button", { type: "button", "aria-label": `Undo: ${text}`, onclick: () => (undo(), changed()) }, "×"));
    const made = [
      ...Object.entries(about.forced).map(([node, how]) => entry(`node ${node} ${how ? "accepted" : "rejected"}`, () => delete about.forced[Number(node)])),
      ...Object.entries(about.coins).map(([node, coin]) => entry(`coin of node ${node} = ${coin}`, () => delete about.coins[Number(node)])),
      ...(about.bonus === null ? [] : [entry(`bonus coin = ${about.bonus}`, () => (about.bonus = null))]),
    ];
    changes.replaceChildren(made.length ? el("ul", {}, made) : "");
  }

  /* ------------------------------------------------------------------------------------------------- answer */

  function show() {
    const about = question(), found = about.answer, idle = unused(about);
    answer.replaceChildren(idle.length ? el("ul", { class: "sv-whatif-unused" }, idle.map((text) => el("li", {}, text))) : "", ...(found ? answerLines(found, act, runDrawn(state).engine ? null : () => ask(true)) : []));
    draw();
  }

  /**
   * Changes that the answer does not depend on.
   * @param {Question} about
   */
  function unused({ verifier, coins, answer: found }) {
    const rule = chosen(verifier), idle = rule.coins ? [] : Object.keys(coins), { text } = frameDrawn(state).nodes;
    return [...idle.map((node) => `The coin of node ${node} “${text[Number(node)]}” was not looked at: ${rule.name} flips no coin at a node.`), ...(found?.unused || [])];
  }

  /** Over the tree: the path that would have been taken, and the nodes whose outcome differs. */
  function draw() {
    const found = isOpen() && frameNow(state) ? questions.get(keyNow())?.answer : null, marks = [];
    if (found?.rows && state.phase === null) {
      const path = new Set(found.path.node), differing = new Set(found.differing);
      for (const { node, left, top, right, bottom } of state.hits) {
        if (typeof node !== "number" || !(path.has(node) || differing.has(node))) continue;
        const box = el("div", { class: `sv-whatif-mark${path.has(node) ? " sv-on-path" : ""}`, "data-node": node }, differing.has(node) ? "≠" : "");
        box.style.cssText = `left:${left - 3}px;top:${top - 3}px;width:${right - left + 6}px;height:${bottom - top + 6}px`;
        marks.push(box);
      }
    }
    overlay.replaceChildren(...marks);
  }

  function moved() {
    const frame = frameNow(state);
    cannot.hidden = !frame || askable(runDrawn(state), frame);
    panel.hidden = !frame || !choices.length || state.phase !== null || !cannot.hidden;
    if (panel.hidden || !isOpen()) return draw();
    const at = [keyNow(), state.selected, state.lens].join();
    if (at === shownFor) return draw();
    const other = !shownFor.startsWith(`${keyNow()},`);
    shownFor = at;
    build();
    if (other && !question().answer) ask();
    show();
  }

  function run() {
    questions = new Map();
    shownFor = "";
  }

  return { take, run, moved };
}

/**
 * The coin that was flipped at a node, by whichever verifier.
 * @param {Frame} frame
 * @param {number} node
 */
function coinOf(frame, node) {
  for (const verdict of frame.verdicts) for (const one of decisionsOf(verdict)) if (one.node === node && one.comparison === "uniform < threshold" && one.uniform !== null) return one.uniform;
  return null;
}
