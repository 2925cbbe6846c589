/* Lessons: a panel above the tree that explains a step of a recorded run and asks for a node in it.
 *
 * A block's `lessons` opens the list, its `lesson` one of them. The learner answers by selecting a node, in whatever way:
 * with a click, in a table, or with the keys of the tree.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el } = ns.panels;

  ns.tools.push((ui, state, act, handlers) => {
    const done = new Set();
    let panel = null, lesson = null, status = null, asked = null, known = [], walked = false;

    const button = (text, name, click) => el("button", { type: "button", "data-act": `lesson-${name}`, onclick: click }, text);
    const open = (name) => handlers.ask("lesson", { name });

    function take(block) {
      if (block.lessons) {
        known = block.lessons;
        if (!lesson) list();
      }
      if (block.lesson) begin(block.lesson);
    }

    function close() {
      if (panel) panel.remove();
      panel = lesson = status = null;
    }

    function put(name, ...content) {
      close();
      panel = el("section", { class: "sv-panel sv-lesson", "aria-label": name }, content);
      ui.top.prepend(panel);
    }

    const head = (title) => el("div", { class: "sv-panelhead" }, el("h3", { tabindex: -1 }, title),
      el("button", { type: "button", "data-act": "lesson-close", "aria-label": "Close the lessons", onclick: close }, "×"));

    function list() {
      put("Lessons", head("Lessons"), el("ol", { class: "sv-lessonlist" }, known.map((one) =>
        el("li", {}, button(one.title, `open-${one.name}`, () => open(one.name)), done.has(one.name) ? el("span", { class: "sv-good" }, " ✓ done") : null))));
    }

    function begin(told) {
      const title = head(`${told.number} of ${told.count}: ${told.title}`);
      const answer = el("div", { class: "sv-lesson-answer", role: "status" });
      put(`Lesson ${told.number}`, title,
        told.paragraphs.map((text) => el("p", {}, text)),
        el("div", { class: "sv-lesson-ask" }, el("p", {}, el("strong", {}, told.question)), answer,
          el("p", { class: "sv-lesson-buttons" },
            button("To the tree", "tree", toTheTree),
            button("Hint", "hint", () => say("hint", told.hint)),
            button("Show me", "show", show),
            known.length ? button("All lessons", "list", list) : null)));
      lesson = told;
      status = answer;
      asked = null;
      walked = false;
      act.show(told.step); // out of its phases, too
      if (state.selected !== null) act.select(null); // or it would be taken for an answer
      if (state.hidden.has(told.verifier)) act.toggle(told.verifier);
      if (state.lens !== told.verifier) act.watch(told.verifier);
      title.querySelector("h3").focus();
    }

    const here = () => lesson && state.run && state.run.id === lesson.run && state.step === lesson.step;

    function toTheTree() {
      if (!here()) act.show(lesson.step);
      state.links.focusTree(walked ? null : 0);
      walked = true;
    }

    function show() {
      if (!here()) act.show(lesson.step);
      asked = lesson.nodes[0];
      act.select(asked, true);
      solved(`Shown: node ${asked}. `);
    }

    function say(kind, text, ...more) {
      status.className = `sv-lesson-answer sv-lesson-${kind}`;
      status.replaceChildren(el("p", {}, text), ...more);
    }

    function solved(before) {
      done.add(lesson.name);
      const next = lesson.next;
      say("right", `${before}${lesson.solved}`, el("p", {}, next ? button("Next lesson", "next", () => open(next)) : "That was the last lesson."));
    }

    function moved() {
      if (!here() || state.selected === asked) return;
      asked = state.selected;
      if (asked === null || asked === 0) return;
      if (lesson.nodes.includes(asked)) {
        solved("✓ Right. ");
        status.scrollIntoView({ block: "nearest" });
        const next = status.querySelector("button");
        if (next) next.focus({ preventScroll: true });
      } else {
        say("wrong", `✕ Node ${asked} is not the one. ${done.has(lesson.name) ? "" : lesson.hint}`);
        status.scrollIntoView({ block: "nearest" });
      }
    }

    // A lesson is about one run: it leaves with it, and is in the list of lessons again.
    function run() {
      if (lesson && state.run.id !== lesson.run) close();
    }

    return { take, run, moved };
  });
})(window);
