/* What if: change a coin, force a node, take other options or another verifier, and see the outcome beside the recorded one.
 *
 * The server answers; here is the form, the comparison, and what differs drawn over the tree. One question a step is kept
 * while the page is open. Without a server (an exported file) there is no such panel.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el, table, token, digits, nodeButton } = ns.panels;
  const WAIT_MS = 250;

  ns.tools.push((ui, state, act, handlers) => {
    if (!handlers.ask) return {};
    let choices = [], questions = new Map(), count = 0, timer = null, shownFor = null;
    const form = el("div", { class: "sv-whatif-form" }), changes = el("div", { class: "sv-whatif-changes" }), answer = el("div", { class: "sv-whatif-answer", "aria-live": "polite" });
    const panel = el("details", { class: "sv-panel sv-whatif", ontoggle: () => panel.open && (build(), ask()) }, el("summary", {}, "What if …"),
      el("p", { class: "sv-note" }, "Change a coin, force a node, take other options or another verifier: the outcome stands beside the recorded one, which stays as it is."), form, changes, answer);
    const overlay = el("div", { class: "sv-whatif-overlay", "aria-hidden": "true" });
    ui.under.append(panel);
    ui.stage.append(overlay);

    const frameNow = () => state.frames.get(state.step);
    const keyNow = () => `${state.run.id}/${state.step}`;
    const chosen = (name) => choices.find((one) => one.name === name);
    const recordedBy = (name) => frameNow().verdicts.find((verdict) => verdict.verifier === name);

    /** The question about the step in sight; asked with the options that were recorded until they are changed. */
    function question() {
      const key = keyNow();
      if (!questions.has(key)) {
        const lens = state.lens && chosen(state.lens) && recordedBy(state.lens) ? state.lens : frameNow().driver;
        questions.set(key, fresh(chosen(lens) ? lens : choices[0].name));
      }
      return questions.get(key);
    }

    function fresh(name) {
      const recorded = recordedBy(name), options = {};
      for (const option of chosen(name).options) options[option.name] = recorded && option.name in recorded.options ? recorded.options[option.name] : option.default;
      return { verifier: name, options, coins: {}, forced: {}, bonus: null, answer: null };
    }

    function take(block) {
      if (block.verifiers) choices = block.verifiers;
      const found = block.whatif;
      if (!found || !state.run || found.run !== state.run.id) return;
      const asked = questions.get(`${found.run}/${found.step}`);
      if (!asked || asked.id !== found.id) return; // an answer to an older question
      asked.answer = found;
      if (found.step === state.step) show();
    }

    function ask(models) {
      clearTimeout(timer);
      const about = question(), { verifier, options, forced, bonus } = about;
      const coins = chosen(verifier).coins ? about.coins : {}; // what a rule has no use for is not asked, but told
      const send = () => handlers.ask(models ? "what_if_models" : "what_if", { run: state.run.id, step: state.step, id: (about.id = ++count), verifier, options, coins, forced, bonus });
      if (models) send();
      else timer = setTimeout(send, WAIT_MS);
    }

    function changed() {
      build();
      ask();
    }

    /* --------------------------------------------------------------------------------------------------- form */

    function build() {
      const frame = frameNow();
      if (!frame || !choices.length) return;
      const about = question(), rule = chosen(about.verifier), held = form.contains(document.activeElement) ? document.activeElement.dataset.field : null;
      const pick = el("select", { "data-field": "verifier", onchange: () => (questions.set(keyNow(), { ...fresh(pick.value), forced: about.forced, coins: about.coins, bonus: about.bonus }), changed()) },
        choices.map((one) => el("option", { value: one.name, selected: one.name === about.verifier }, recordedBy(one.name) ? one.name : `${one.name} (did not judge this tree)`)));
      form.replaceChildren(
        el("div", { class: "sv-whatif-line" }, el("label", {}, "Verifier ", pick), ...rule.options.map((option) => field(option, about))),
        el("div", { class: "sv-whatif-line" }, ...nodeFields(frame, about, rule)),
        el("div", { class: "sv-whatif-line" }, number("Bonus coin", "bonus", about.bonus, (value) => (about.bonus = value)),
          el("button", { type: "button", "data-act": "whatif-reset", onclick: () => (questions.delete(keyNow()), changed()) }, "Reset")));
      list(frame, about);
      if (held) form.querySelector(`[data-field="${held}"]`)?.focus();
    }

    function field(option, about) {
      const set = (value) => ((about.options[option.name] = value), ask());
      const value = about.options[option.name], attributes = { "data-field": `option-${option.name}`, title: option.note };
      if (option.kind === "choice") return el("label", {}, `${option.name} `, el("select", { ...attributes, onchange: (event) => set(event.target.value) }, option.choices.map((one) => el("option", { value: one, selected: one === value }, one))));
      if (option.kind === "yes") return el("label", {}, el("input", { ...attributes, type: "checkbox", checked: Boolean(value), onchange: (event) => set(event.target.checked) }), ` ${option.name}`);
      if (option.kind === "text") return el("label", {}, `${option.name} `, el("input", { ...attributes, value, onchange: (event) => set(event.target.value) }));
      return el("label", {}, `${option.name} `, el("input", { ...attributes, type: "number", step: option.kind === "whole" ? 1 : "any", value, oninput: (event) => event.target.value !== "" && set(Number(event.target.value)) }));
    }

    /** A number in (0, 1) as a field; empty takes the change away. */
    function number(label, name, value, set) {
      const put = (event) => {
        const text = event.target.value;
        set(text === "" ? null : Number(text));
        list(frameNow(), question());
        ask();
      };
      return el("label", {}, `${label} `, el("input", { type: "number", min: 0, max: 1, step: "any", "data-field": name, value: value === null || value === undefined ? "" : value, oninput: put }));
    }

    function nodeFields(frame, about, rule) {
      const node = state.selected;
      if (!node) return [el("span", { class: "sv-note" }, "Select a drafted node in the tree to change its coin or to force it.")];
      const name = el("span", {}, `Node ${node} `, token(frame.nodes.text[node]));
      const force = (how, label) => el("button", { type: "button", "data-act": `whatif-${label}`, "aria-pressed": String(about.forced[node] === how), onclick: () => (about.forced[node] === how ? delete about.forced[node] : (about.forced[node] = how), changed()) }, label);
      const made = [name, force(true, "accept"), force(false, "reject")];
      if (!rule.coins) return [...made, el("span", { class: "sv-note" }, `${rule.name} flips no coin at a node.`)];
      const recorded = coinOf(frame, node), now = node in about.coins ? about.coins[node] : null, recordedRule = recordedBy(about.verifier);
      const set = (value) => (value === null ? delete about.coins[node] : (about.coins[node] = value));
      const typed = number("its coin", "coin", now, (value) => (set(value), (slide.value = value === null ? recorded ?? 0.5 : value)));
      const slide = el("input", { type: "range", min: 0.001, max: 0.999, step: 0.001, value: now ?? recorded ?? 0.5, "data-field": "slide", "aria-label": `Coin of node ${node}`, oninput: (event) => {
        set(Number(event.target.value));
        typed.querySelector("input").value = event.target.value;
        list(frame, about);
        ask();
      } });
      const threshold = recordedRule ? `threshold ${digits(recordedRule.thresholds[node])}` : "";
      return [...made, typed, slide, el("span", { class: "sv-note" }, [recorded === null ? "coin not flipped" : `recorded coin ${digits(recorded)}`, threshold].filter(Boolean).join(", "))];
    }

    /** The coin that was flipped at a node, by whichever verifier. */
    function coinOf(frame, node) {
      for (const verdict of frame.verdicts) for (const row of verdict.decisions) if (row[0] === node && row[3] === 0 && row[4] !== null) return row[4];
      return null;
    }

    function list(frame, about) {
      const made = [];
      const entry = (text, undo) => el("li", {}, text, " ", el("button", { type: "button", "aria-label": `Undo: ${text}`, onclick: () => (undo(), changed()) }, "×"));
      for (const [node, how] of Object.entries(about.forced)) made.push(entry(`node ${node} ${how ? "accepted" : "rejected"}`, () => delete about.forced[node]));
      for (const [node, coin] of Object.entries(about.coins)) made.push(entry(`coin of node ${node} = ${coin}`, () => delete about.coins[node]));
      if (about.bonus !== null) made.push(entry(`bonus coin = ${about.bonus}`, () => (about.bonus = null)));
      changes.replaceChildren(made.length ? el("ul", {}, made) : "");
    }

    /* ------------------------------------------------------------------------------------------------- answer */

    function show() {
      const found = question().answer;
      const models = found && found.needs ? el("button", { type: "button", "data-act": "whatif-models", onclick: () => ask(true) }, "Score again with the models") : null;
      if (!found) answer.replaceChildren();
      else if (found.error) answer.replaceChildren(el("p", { class: "sv-bad" }, found.error));
      else if (!found.rows) answer.replaceChildren(el("p", {}, found.needs), models);
      else answer.replaceChildren(...outcome(found, models).filter(Boolean));
      const idle = unused(found);
      if (idle.length) answer.prepend(el("ul", { class: "sv-whatif-unused" }, idle.map((text) => el("li", {}, text))));
      draw();
    }

    /** Changes that the answer does not depend on. */
    function unused(found) {
      const about = question(), rule = chosen(about.verifier), coins = rule.coins ? [] : Object.keys(about.coins);
      return [...coins.map((node) => `The coin of node ${node} “${frameNow().nodes.text[node]}” was not looked at: ${rule.name} flips no coin at a node.`), ...((found && found.unused) || [])];
    }

    function outcome(found, models) {
      const by = found.by === "trace" ? "From the trace alone: the recorded thresholds and coins suffice."
        : `By the models, which scored the recorded tree again; their probabilities of the drafted tokens are within ${digits(found.difference, 2)} of the recorded ones.${found.caveat ? ` ${found.caveat}` : ""}`;
      const mark = (same, ...content) => (same ? content : el("span", { class: "sv-whatif-changed" }, "≠ ", ...content));
      const path = (nodes) => (nodes.length ? nodes.map(([node, text]) => [nodeButton(node, text, act), " "]).flat() : [el("em", {}, "nothing")]);
      const bonus = (b) => (b ? [token(b.text), ` ${b.source}, at node ${b.node}`] : [el("em", {}, "not known")]);
      const row = (name, same, before, after) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, ...before), el("td", {}, ...[].concat(mark(same, ...after))));
      const cell = (decision) => (decision ? `${ns.panels.outcome(decision[0])}: ${decision[1]}` : ns.outcomes["."].words);
      const lines = [
        row("Accepted", found.paths[0].length === found.paths[1].length, [String(found.paths[0].length)], [String(found.paths[1].length)]),
        row("Accepted path", found.samePath, path(found.paths[0]), path(found.paths[1])),
        row("Bonus token", found.sameBonus, bonus(found.bonuses[0]), bonus(found.bonuses[1])),
        ...found.rows.map(([node, text, before, after, differs]) => el("tr", { "data-differs": String(differs) }, el("th", { scope: "row" }, nodeButton(node, `${node} ${text}`, act)), el("td", {}, cell(before)), el("td", {}, ...[].concat(mark(!differs, cell(after)))))),
      ];
      const beside = found.beside === found.verifier ? "as recorded" : `recorded: ${found.beside}`;
      return [el("p", { class: "sv-whatif-by" }, by), found.needs ? el("p", {}, found.needs, " ") : null, models,
        table("What if, beside what was recorded", ["", beside, `what if: ${found.verifier}`], lines)];
    }

    /** Over the tree: the path that would have been taken, and the nodes whose outcome differs. */
    function draw() {
      const found = panel.open && frameNow() && questions.has(keyNow()) ? question().answer : null, marks = [];
      overlay.style.cssText = ui.layer.style.cssText;
      if (found && found.rows && state.phase === null) {
        const path = new Set(found.paths[1].map(([node]) => node)), differing = new Set(found.differing);
        for (const hit of state.hits) {
          if (hit.node === undefined || !(path.has(hit.node) || differing.has(hit.node))) continue;
          const box = el("div", { class: `sv-whatif-mark${path.has(hit.node) ? " sv-on-path" : ""}`, "data-node": hit.node }, differing.has(hit.node) ? "≠" : "");
          box.style.cssText = `left:${hit.left - 3}px;top:${hit.top - 3}px;width:${hit.right - hit.left + 6}px;height:${hit.bottom - hit.top + 6}px`;
          marks.push(box);
        }
      }
      overlay.replaceChildren(...marks);
    }

    function moved() {
      const frame = frameNow();
      panel.hidden = !frame || !choices.length || state.phase !== null;
      if (panel.hidden || !panel.open) return draw();
      const at = [keyNow(), state.selected, state.lens].join();
      if (at === shownFor) return draw();
      const other = !shownFor || !shownFor.startsWith(`${keyNow()},`);
      shownFor = at;
      build();
      if (other && !question().answer) ask();
      show();
    }

    function run() {
      questions = new Map();
      shownFor = null;
    }

    return { take, run, moved };
  });
})(window);
