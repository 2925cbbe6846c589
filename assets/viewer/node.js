/* One node's arithmetic in full: both distributions where it was judged and after it, every verifier's comparison, what
 * each rejection left, and where a bonus token came from. All numbers were recorded; nothing is computed but the rest.
 * Inside a step only what is known after its phase is told (view.known, see phases.js).
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el, swatch, token, digits, more, nodeButton, outcome } = ns.panels;
  const ordinal = (n) => `${n}${n % 100 > 10 && n % 100 < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[n % 10] || "th"}`;
  const looksOf = (run, name) => run.verifiers.find((v) => v.name === name);

  function nodePanel(run, frame, node, view, act) {
    const nodes = frame.nodes, parent = frame.tree.parent[node], known = view.known, verdicts = frame.verdicts.filter((v) => view.shown.has(v.verifier));
    const judges = verdicts.filter((v) => known.states[v.verifier]);
    const made = [el("h3", {}, `Node ${node} `, token(nodes.text[node]))];
    if (node === 0) made.push(el("p", { class: "sv-note" }, `The last committed token (id ${nodes.token[0]}); the tree grows from it, and no verifier judges it.`));
    else {
      const siblings = frame.tree.parent.filter((up) => up === parent).length;
      made.push(el("p", { class: "sv-note" }, `depth ${nodes.depth[node]}, ${frame.proposal === "top_k" ? "" : "drawn "}${ordinal(nodes.rank[node] + 1)} of ${siblings} after `, nodeButton(parent, nodes.text[parent], act), ` · token id ${nodes.token[node]}`),
        el("div", { class: "sv-pair" }, bar("draft", nodes.q[node], "draft"), known.target ? bar("target", nodes.p[node], "target") : null),
        el("h4", {}, "Decisions"), ...judges.flatMap((v) => decisions(run, frame, v, node, known)));
      if (!judges.length) made.push(el("p", { class: "sv-note" }, known.judged ? "No verifier that has judged is shown." : "No verifier has judged the tree yet."));
    }
    const drawn = verdicts.filter((v) => v.bonus.node === node && known.bonus.has(v.verifier));
    if (drawn.length) made.push(el("h4", {}, "Bonus token drawn here"), ...drawn.map((v) => bonusBox(run, frame, v)));
    if (node) {
      made.push(el("h4", {}, "Where it was judged: after ", nodeButton(parent, nodes.text[parent], act)));
      if (known.target) made.push(distribution(frame, "target", nodes.target[parent], { token: nodes.token[node], prob: nodes.p[node] }));
      made.push(nodes.draft[parent] ? distribution(frame, "draft", nodes.draft[parent], { token: nodes.token[node], prob: nodes.q[node] }) : el("p", { class: "sv-note" }, "The draft's row there was not recorded."));
    }
    made.push(el("h4", {}, "What may follow it"));
    if (known.target) made.push(distribution(frame, "target", nodes.target[node], null));
    if (nodes.depth[node] >= known.depth) made.push(el("p", { class: "sv-note" }, "Neither model has run this node yet."));
    else made.push(nodes.draft[node] ? distribution(frame, "draft", nodes.draft[node], null) : el("p", { class: "sv-note" }, frame.caches.draft.slot.length ? "The draft did not run this node: it was not expanded." : "No draft model ran in this step."));
    if (nodes.limits[0] !== nodes.limits[1])
      made.push(el("p", { class: "sv-note" }, `Large tree: ${nodes.limits[0]} entries of a distribution are carried for nodes in sight, ${nodes.limits[1]} for folded ones.`));
    return made;
  }

  function bar(name, value, role) {
    return [el("span", {}, name), rail(value || 0, role), el("b", { class: "sv-number" }, digits(value))];
  }

  function rail(share, role) {
    const fill = el("span", { class: "sv-fill" });
    fill.style.width = `${100 * Math.min(1, share)}%`;
    fill.style.background = `var(--sv-${role})`;
    return el("span", { class: "sv-rail" }, fill);
  }

  /* --------------------------------------------------------------------------------------------- decisions */

  function decisions(run, frame, verdict, node, known) {
    const taken = verdict.decisions.slice(0, known.taken).filter((row) => row[0] === node), state = known.states[verdict.verifier][node];
    // Inside the step a rule that chooses at its end has only let the node pass so far.
    const late = state === "a" ? ns.panels.unwritten(frame, verdict, verdict.path.indexOf(node)) : null, note = late && el("p", { class: "sv-note" }, late);
    if (taken.length) return [...taken.map((row) => decision(run, frame, verdict, row, row[1] === "a" && state === "p" ? "p" : row[1])), note].filter(Boolean);
    const why = state === "a" ? "Accepted with the path below it: this rule accepts whole paths."
      : `Its threshold here is ${digits(verdict.thresholds[node])}; the walk ${known.taken < verdict.decisions.length ? "has not come by yet" : "did not come by"}.`;
    return [el("div", { class: "sv-decision", "data-verifier": verdict.verifier }, who(run, verdict.verifier, state), el("p", { class: "sv-note" }, why), note)];
  }

  const who = (run, name, state) => el("div", { class: "sv-who" }, swatch(looksOf(run, name)), ` ${name} `,
    el("b", { class: `sv-state-${state === "." ? "none" : state}` }, outcome(state)));

  function decision(run, frame, verdict, row, state) {
    const [node, , rule, , , p, q, , , reason, residual] = row;
    const [line, holds] = arithmetic(frame, verdict, row), named = verdict.rules[rule];
    const box = el("div", { class: "sv-decision", "data-verifier": verdict.verifier }, who(run, verdict.verifier, state), el("p", { class: "sv-sum" }, line));
    if (holds !== null && holds !== (state !== "r")) box.append(el("p", { class: "sv-bad" }, "✕ These numbers do not give this outcome."));
    const used = [p === null ? null : `p ${digits(p, 6)}`, q === null ? null : `q ${digits(q, 6)}`].filter(Boolean);
    box.append(el("p", { class: "sv-note" }, "rule ", el("code", {}, named), used.length ? ` · used ${used.join(named.includes("p/q") ? " / " : ", ")}` : ""));
    if (reason) box.append(el("p", {}, `because ${reason}`));
    if (row.length <= 8) box.append(el("p", { class: "sv-note" }, "Folded in a large tree: its reason and residual are not carried."));
    const elder = elders(frame, verdict, row);
    if (elder.length) box.append(more(`${elder.length} elder sibling${elder.length > 1 ? "s" : ""} came first`, () => el("ol", { class: "sv-elders" }, elder.map((one) => elderLine(frame, verdict, one)))));
    if (residual) box.append(residualBox(frame, residual, "Residual after it"));
    return box;
  }

  /** Earlier decisions about children of the same parent, which is what shaped the p and q that were used. */
  function elders(frame, verdict, row) {
    const parent = frame.tree.parent[row[0]];
    return verdict.decisions.slice(0, verdict.decisions.indexOf(row)).filter((one) => frame.tree.parent[one[0]] === parent);
  }

  function elderLine(frame, verdict, row) {
    const residual = row.length > 10 ? row[10] : null;
    return el("li", {}, token(frame.nodes.text[row[0]]), ` ${outcome(row[1])}: `, el("span", { class: "sv-sum" }, arithmetic(frame, verdict, row)[0]),
      residual ? residualBox(frame, residual, "left") : null);
  }

  const residualBox = (frame, residual, title) => more(`${title}: mass ${digits(residual[0])}`, () => [
    el("p", { class: "sv-note" }, "What the target still lacks after this rejection, scaled to 1: a further sibling is judged by it, or the bonus is drawn from it."), bars(frame, residual[1], residual[2], null, "target")]);

  /** The comparison with its two sides, and whether it holds (null for what cannot be told from the numbers). */
  function arithmetic(frame, verdict, row) {
    const [node, , , comparison, uniform, p, , expected] = row, threshold = row.length > 8 ? row[8] : verdict.thresholds[node];
    if (comparison < 2) {
      const left = comparison === 0 ? uniform : p, name = comparison === 0 ? "u" : "p";
      if (left === null || left === undefined) return [`threshold ${digits(threshold, 7)}`, null];
      // Both sides are sent rounded: where they read the same, only the outcome tells which is larger.
      const equal = left === threshold, passed = row[1] !== "r";
      const holds = equal ? passed : comparison === 0 ? left < threshold : left > threshold;
      const sign = comparison === 0 ? (holds ? "<" : "≥") : holds ? ">" : "≤";
      return [`${name} ${digits(left, 7)} ${sign} ${digits(threshold, 7)} threshold`, holds];
    }
    const own = frame.nodes.token[node], name = comparison === 2 ? "drawn" : "argmax";
    const coin = uniform === null ? "" : ` with u ${digits(uniform, 7)}`;
    if (expected === null) return [`no token was ${name}`, null];
    return [`${frame.nodes.text[node]} ${own === expected ? "=" : "≠"} ${frame.tokens[expected]} ${name}${coin}`, own === expected];
  }

  /* ----------------------------------------------------------------------------------------- distributions */

  function bonusBox(run, frame, verdict) {
    const b = verdict.bonus;
    return el("div", { class: "sv-decision", "data-bonus": verdict.verifier },
      el("div", { class: "sv-who" }, swatch(looksOf(run, verdict.verifier)), ` ${verdict.verifier} `, token(b.text)),
      el("p", { class: "sv-note" }, [`from the ${b.source} at node ${b.node}${b.uniform === null ? "" : `, u ${digits(b.uniform, 7)}`}`, ns.panels.unwritten(frame, verdict, verdict.path.length)].filter(Boolean).join("; ")),
      b.fault ? el("p", { class: "sv-finding" }, `✕ ${b.fault}`) : null,
      more("The distribution it was drawn from", () => bars(frame, b.top[0], b.top[1], b.token, "target")));
  }

  /** One model's row: raw and processed side by side, the rest as one bar each. `marked` is the judged token. */
  function distribution(frame, model, row, marked) {
    const [entropy, raw, processed] = row, role = model, same = !processed;
    const kept = new Map((same ? raw : processed)[0].map((id, i) => [id, (same ? raw : processed)[1][i]]));
    const amount = (p, said) => el("td", { class: "sv-amount" }, el("span", { class: "sv-number" }, said || (p === null ? "cut" : digits(p))), rail(p || 0, role));
    const who = model === "draft" && !frame.caches.draft.slot.length ? frame.builder : model;
    const line = (label, first, second, hit) => el("tr", { class: hit ? "sv-hit" : null }, el("th", { scope: "row" }, label), amount(first), same ? null : amount(second));
    const lines = raw[0].map((id, i) => line(token(frame.tokens[id]), raw[1][i], kept.has(id) ? kept.get(id) : null, marked && id === marked.token));
    if (marked && !raw[0].includes(marked.token) && marked.prob !== null)
      lines.push(el("tr", { class: "sv-hit" }, el("th", { scope: "row" }, token(frame.tokens[marked.token] || "this token")), same ? null : el("td", { class: "sv-note" }, "below these"), amount(marked.prob)));
    const rests = [raw[1], [...kept.values()]].map(restOf);
    lines.push(el("tr", {}, el("th", { scope: "row" }, el("em", {}, "the rest")), amount(rests[0], saidOfRest(rests[0])), same ? null : amount(rests[1], saidOfRest(rests[1]))));
    return el("div", { class: "sv-row", "data-model": model }, el("p", { class: "sv-note" }, `${who}: entropy ${digits(entropy)} nats`),
      el("table", { class: "sv-bars" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "token"), ...(same ? ["raw = processed"] : ["raw", "processed"]).map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, lines)));
  }

  const restOf = (probs) => Math.max(0, 1 - probs.reduce((sum, p) => sum + p, 0));

  /** What is left of 1, no finer than the five digits that the listed probabilities are sent with. */
  const saidOfRest = (rest) => (rest === 0 ? "0" : rest < 1e-5 ? "<10⁻⁵" : digits(rest, rest < 1e-4 ? 1 : rest < 1e-3 ? 2 : 3));

  /** Bars of a distribution's top entries and of the rest. */
  function bars(frame, ids, probs, marked, role) {
    const rest = restOf(probs);
    const line = (label, p, hit, said) => el("tr", { class: hit ? "sv-hit" : null }, el("th", { scope: "row" }, label), el("td", { class: "sv-amount" }, el("span", { class: "sv-number" }, said || digits(p)), rail(p, role)));
    const lines = ids.map((id, i) => line(token(frame.tokens[id]), probs[i], id === marked));
    if (rest > 5e-4) lines.push(line(el("em", {}, "the rest"), rest, marked !== null && !ids.includes(marked), saidOfRest(rest)));
    return el("table", { class: "sv-bars" }, el("tbody", {}, lines));
  }

  Object.assign(ns.panels, { nodePanel, bonusBox, arithmetic });
})(window);
