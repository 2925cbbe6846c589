/* Lessons: a panel above the tree that explains a step of a recorded run and asks for a node in it.
 *
 * A block's `lessons` opens the list, its `lesson` one of them. The learner answers by selecting a node, in whatever way:
 * with a click, in a table, or with the keys of the tree.
 */

import { el } from "../core/dom.js";

/** @import { Block, Lesson, LessonName } from "../core/frame.d.ts" */
/** @import { Act, Handlers, State, Tool } from "../core/state.js" */

/**
 * @param {{top: HTMLElement}} ui
 * @param {State} state
 * @param {Act} act
 * @param {Handlers} handlers
 * @returns {Tool}
 */
export function makeLessons(ui, state, act, { ask }) {
  /** @type {Set<string>} */
  const done = new Set();
  /** @type {HTMLElement | null} */
  let panel = null;
  /** @type {{lesson: Lesson, status: HTMLElement} | null} */
  let open = null;
  /** The node that was judged last. @type {number | null} */
  let answered = null;
  /** @type {LessonName[]} */
  let known = [];
  let walked = false;

  const button = (/** @type {string} */ text, /** @type {string} */ name, /** @type {() => void} */ click) => el("button", { type: "button", "data-act": `lesson-${name}`, onclick: click }, text);
  const wish = (/** @type {string} */ name) => ask?.("lesson", { name });

  /** @param {Block} block */
  function take(block) {
    if (block.lessons) {
      known = block.lessons;
      if (!open) list();
    }
    if (block.lesson) begin(block.lesson);
  }

  function close() {
    panel?.remove();
    panel = open = null;
  }

  /**
   * @param {string} name
   * @param {...any} content
   */
  function put(name, ...content) {
    close();
    panel = el("section", { class: "sv-panel sv-lesson", "aria-label": name }, content);
    ui.top.prepend(panel);
  }

  /** @param {HTMLElement} title */
  const head = (title) => el("div", { class: "sv-panelhead" }, title, el("button", { type: "button", "data-act": "lesson-close", "aria-label": "Close the lessons", onclick: close }, "×"));
  const heading = (/** @type {string} */ text) => el("h3", { tabindex: -1 }, text);

  function list() {
    put("Lessons", head(heading("Lessons")), el("ol", { class: "sv-lessonlist" }, known.map((one) =>
      el("li", {}, button(one.title, `open-${one.name}`, () => wish(one.name)), done.has(one.name) ? el("span", { class: "sv-good" }, " ✓ done") : null))));
  }

  /** @param {Lesson} lesson */
  function begin(lesson) {
    const title = heading(`${lesson.number} of ${lesson.count}: ${lesson.title}`), status = el("div", { class: "sv-lesson-answer", role: "status" });
    put(`Lesson ${lesson.number}`, head(title),
      lesson.paragraphs.map((text) => el("p", {}, text)),
      el("div", { class: "sv-lesson-ask" }, el("p", {}, el("strong", {}, lesson.question)), status,
        el("p", { class: "sv-lesson-buttons" },
          button("To the tree", "tree", toTheTree),
          button("Hint", "hint", () => say("hint", lesson.hint)),
          button("Show me", "show", showAnswer),
          known.length ? button("All lessons", "list", list) : null)));
    open = { lesson, status };
    answered = null;
    walked = false;
    act.show(lesson.step); // out of its phases, too
    if (state.selected !== null) act.select(null); // or it would be taken for an answer
    if (state.hidden.has(lesson.verifier)) act.toggle(lesson.verifier);
    if (state.lens !== lesson.verifier) act.watch(lesson.verifier);
    title.focus();
  }

  /** Whether the lesson's step is in sight. */
  const isHere = () => open !== null && state.run?.id === open.lesson.run && state.step === open.lesson.step;

  function toTheTree() {
    if (open && !isHere()) act.show(open.lesson.step);
    act.focusTree(walked ? null : 0);
    walked = true;
  }

  function showAnswer() {
    if (!open) return;
    if (!isHere()) act.show(open.lesson.step);
    answered = open.lesson.nodes[0];
    act.select(answered, true);
    solved(`Shown: node ${answered}. `);
  }

  /**
   * @param {string} kind
   * @param {string} text
   * @param {...Node} more
   */
  function say(kind, text, ...more) {
    if (!open) return;
    open.status.className = `sv-lesson-answer sv-lesson-${kind}`;
    open.status.replaceChildren(el("p", {}, text), ...more);
  }

  /** @param {string} before */
  function solved(before) {
    if (!open) return;
    const { lesson } = open, { next } = lesson;
    done.add(lesson.name);
    say("right", `${before}${lesson.solved}`, el("p", {}, next ? button("Next lesson", "next", () => wish(next)) : "That was the last lesson."));
  }

  function moved() {
    if (!open || !isHere() || state.selected === answered) return;
    const { lesson, status } = open;
    answered = state.selected;
    if (answered === null || answered === 0) return;
    if (lesson.nodes.includes(answered)) {
      solved("✓ Right. ");
      status.scrollIntoView({ block: "nearest" });
      status.querySelector("button")?.focus({ preventScroll: true });
    } else {
      say("wrong", `✕ Node ${answered} is not the one. ${done.has(lesson.name) ? "" : lesson.hint}`);
      status.scrollIntoView({ block: "nearest" });
    }
  }

  // A lesson is about one run: it leaves with it, and is in the list of lessons again.
  function run() {
    if (open && state.run?.id !== open.lesson.run) close();
  }

  return { take, run, moved };
}
