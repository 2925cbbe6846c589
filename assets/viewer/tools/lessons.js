/* Lessons: a column beside the tree that explains a step of a recorded run and asks for a node in it.
 *
 * A block's `lessons` opens the list, its `lesson` one of them. The learner answers by selecting a node, in whatever way: with
 * a click, in a table, with the keys of the tree, or by typing its number. Where the step has to be found, too, the frames
 * of the run are shown without marks until it is.
 */

import { el } from "../core/dom.js";
import { listenForKeys } from "../core/keys.js";
import { NARROW } from "../panels/dock.js";
import { unmarkedFrame } from "../panels/unmarked.js";
import { makeColumn } from "./column.js";
import { lessonText, linkNodes } from "./lesson_text.js";

/** @import { Block, Frame, Lesson, LessonName } from "../core/frame.d.ts" */
/** @import { Act, Handlers, State, Tool } from "../core/state.js" */
/** @import { Ui } from "../parts.js" */

const KEPT_BACK = "Kept back: the comparison with a recompute would give the answer away. It is here once the bug is found.";

/**
 * @param {Ui} ui
 * @param {State} state
 * @param {Act} act
 * @param {Handlers} handlers
 * @returns {Tool}
 */
export function makeLessons(ui, state, act, handlers) {
  const column = makeColumn(ui, state, act, handlers, { page: "lessons", kind: "lesson", left });
  const { wish, leave, put, button, close, heading } = column;
  /** @type {Set<string>} */
  const done = new Set();
  /** @type {{lesson: Lesson, question: HTMLElement, status: HTMLElement, typed: HTMLElement} | null} */
  let open = null;
  /** The place that was judged last. */
  let answered = "";
  /** The first digits of a node's number. */
  let typed = "";
  /** @type {LessonName[]} */
  let known = [];
  /** Frames with their marks, while those without are shown. @type {Map<number, Frame> | null} */
  let marked = null;
  const narrow = matchMedia(NARROW);
  const auditSaid = ui.auditEmpty.textContent;

  /** @param {Block} block */
  function take(block) {
    column.meet(block);
    if (marked) keepBack(block.frames || []);
    if (block.lessons) {
      known = block.lessons;
      if (!open) list();
    }
    if (block.lesson) begin(block.lesson);
  }

  /* ----------------------------------------------------------------------------------------------------- marks */

  /** @param {Iterable<Frame>} frames */
  function keepBack(frames) {
    marked ||= new Map();
    for (const frame of frames) {
      marked.set(frame.step, frame);
      state.frames.set(frame.step, unmarkedFrame(frame));
    }
    state.unmarked = true;
    ui.root.dataset.unmarked = "";
    ui.auditEmpty.textContent = KEPT_BACK;
  }

  /** Show the marks again. */
  function giveBack() {
    if (!marked) return;
    if (open && state.run?.id === open.lesson.run) for (const [step, frame] of marked) state.frames.set(step, frame);
    marked = null;
    state.unmarked = false;
    delete ui.root.dataset.unmarked;
    ui.auditEmpty.textContent = auditSaid;
    act.rebuild();
  }

  /* -------------------------------------------------------------------------------------------------- the column */

  function left() {
    giveBack();
    open = null;
    typed = "";
  }

  function list() {
    const title = heading("Lessons");
    put("Lessons", el("div", { class: "sv-lesson-head" }, `${done.size} of ${known.length} done`, close()), title,
      el("p", {}, "Each one takes two or three minutes, on a recorded run beside it."),
      el("ol", { class: "sv-lessonlist" }, known.map((one, i) => el("li", {}, el("button", { type: "button", "data-act": `lesson-open-${one.name}`, onclick: () => wish(one.name) },
        el("span", { class: "sv-nodenumber" }, String(i + 1)), el("span", {}, one.title), done.has(one.name) ? el("span", { class: "sv-good" }, " ✓ done") : null)))));
    title.focus();
  }

  /** @param {Lesson} lesson */
  function begin(lesson) {
    const { number, count, step, next } = lesson, title = heading(lesson.title);
    const question = el("p", { class: "sv-lesson-question" }, lesson.question), status = el("div", { class: "sv-lesson-answer", role: "status" });
    const how = el("p", { class: "sv-note" }, "Click it in the tree, or type its number."), buttons = el("p", { class: "sv-lesson-buttons" });
    put(`Lesson ${number}`,
      el("div", { class: "sv-lesson-head" }, Array.from({ length: count }, (_, i) => el("i", { class: i < number ? "sv-lesson-on" : "", "aria-hidden": "true" })), el("span", {}, `${number} of ${count}`), close()),
      title, lesson.paragraphs.map((pieces) => el("p", {}, lessonText(pieces, state, step, go))),
      el("div", { class: "sv-lesson-ask" }, question, how, status, buttons),
      lesson.aside.length ? el("p", { class: "sv-lesson-aside" }, lessonText(lesson.aside, state, step, go)) : null,
      el("div", { class: "sv-lesson-nav" }, known.length ? button("All lessons", "list", list) : null, next ? button("Next ›", "skip", () => wish(next)) : null));
    buttons.append(button("Hint", "hint", () => say("hint", lesson.hint)), button("Show me", "show", showAnswer));
    open = { lesson, question, status, typed: how };
    answered = "";
    if (lesson.start !== step) keepBack([...state.frames.values()]);
    act.show(lesson.start); // out of its phases, too
    if (state.selected !== null) act.select(null); // or it would be taken for an answer
    if (state.hidden.has(lesson.verifier)) act.toggle(lesson.verifier);
    if (state.lens !== lesson.verifier) act.watch(lesson.verifier);
    act.open(lesson.dock && !narrow.matches ? "cache" : "");
    title.focus();
  }

  /* ----------------------------------------------------------------------------------------------------- answers */

  const inRun = () => open !== null && state.run?.id === open.lesson.run;
  const here = () => `${state.step}/${state.selected}`;
  const isSolved = () => open?.question.dataset.solved !== undefined;

  /**
   * A number of the text was clicked: that is no answer.
   * @param {number} step
   * @param {number} node
   */
  function go(step, node) {
    if (state.step !== step) act.show(step);
    answered = `${step}/${node}`;
    act.select(node, true);
  }

  function showAnswer() {
    if (!open) return;
    const { step, nodes } = open.lesson;
    solve(`Here: node ${nodes[0]}.`);
    go(step, nodes[0]);
  }

  /**
   * @param {string} kind
   * @param {...any} content
   */
  function say(kind, ...content) {
    if (!open) return;
    if (narrow.matches && state.dock) act.open(""); // which stands where the lesson does
    open.status.className = `sv-lesson-answer sv-lesson-${kind}`;
    open.status.replaceChildren(el("p", {}, content));
    open.status.scrollIntoView({ block: "nearest" });
  }

  /** @param {string} head */
  function solve(head) {
    if (!open) return;
    const { lesson, question, status, typed: how } = open, { next } = lesson, buttons = status.nextElementSibling;
    done.add(lesson.name);
    question.dataset.solved = "";
    question.textContent = head;
    how.hidden = true;
    giveBack();
    say("right", lessonText(lesson.solved, state, lesson.step, go));
    buttons?.replaceChildren(next ? button("Next lesson ›", "next", () => wish(next), "sv-lesson-primary") : "That was the last lesson.");
    status.parentElement?.scrollIntoView({ block: "nearest" });
  }

  /** @param {Lesson} lesson */
  function judge(lesson) {
    const { step, selected } = state;
    if (selected === null || selected === 0 || isSolved()) return;
    // Of other steps nothing was asked, unless the step is part of the question.
    if (step !== lesson.step && lesson.start === lesson.step) return;
    if (step === lesson.step && lesson.nodes.includes(selected)) {
      solve(`✓ Yes, node ${selected}.`);
      /** @type {HTMLElement | null | undefined} */ (column.panel()?.querySelector("[data-act=lesson-next]"))?.focus({ preventScroll: true });
      return;
    }
    const why = lesson.wrong.find((one) => one.step === step && one.node === selected);
    say("wrong", `✕ Not node ${selected}. `, why ? lessonText(why.said, state, step, go) : lesson.otherwise);
  }

  function moved() {
    const panel = column.panel();
    if (!open || !panel || !inRun()) return;
    linkNodes(panel, state.step);
    if (here() === answered) return;
    answered = here();
    judge(open.lesson);
  }

  // A lesson is about one run: it leaves with it, and is in the list of lessons again.
  function run() {
    if (open && !inRun()) column.passed();
  }

  /* -------------------------------------------------------------------------------------------------------- keys */

  const count = () => state.frames.get(state.step)?.tree.parent.length ?? 0;

  /** @param {string} digit */
  function type(digit) {
    const next = Number(typed + digit) < count() ? typed + digit : digit;
    if (Number(next) >= count() || Number(next) === 0) return show("");
    // A number that no other one begins with is the answer; else there may be more digits, or Enter.
    if (10 * Number(next) < count()) show(next);
    else answer(Number(next));
  }

  /** @param {number} node */
  function answer(node) {
    show("");
    answered = "";
    act.select(node, true);
  }

  /** @param {string} digits that were typed so far */
  function show(digits) {
    typed = digits;
    if (open) open.typed.textContent = digits ? `Node ${digits}: Enter, or one more digit.` : "Click it in the tree, or type its number.";
  }

  const toggle = () => (column.panel() ? leave() : handlers.onPage?.("lessons", true));
  const stopListening = listenForKeys({
    ...Object.fromEntries([..."0123456789"].map((digit) => [digit, () => type(digit)])), Enter: () => answer(Number(typed)), Escape: () => (typed ? show("") : leave()), l: toggle,
  }, (key) => {
    if (!ui.root.isConnected) stopListening();
    if (!ui.root.isConnected || ui.help.open) return false;
    if (key === "l") return column.panel() !== null || handlers.onPage !== undefined;
    if (key === "Escape") return column.isTop();
    return open !== null && inRun() && !isSolved() && (key !== "Enter" || typed !== "");
  });

  return { take, declines: column.declines, run, moved, leave };
}
