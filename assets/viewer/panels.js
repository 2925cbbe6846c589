/* The tables and words beside the pictures. Every string of the run is written with textContent: token text is data. */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const SVG = "http://www.w3.org/2000/svg";
  const OUTCOMES = {
    a: ["✓", "accepted"],
    r: ["✕", "rejected"],
    p: ["○", "passed, not chosen"],
    ".": ["·", "not examined"],
  };

  /** el("td", {class: "n", onclick: f}, "text", child): strings become text nodes, never markup. */
  function el(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat(2)) if (child !== null && child !== undefined) made.append(child);
    return made;
  }

  /** A short line in a verifier's colour and dash. */
  function swatch(verifier) {
    const svg = document.createElementNS(SVG, "svg");
    for (const [k, v] of Object.entries({ width: 30, height: 10, "aria-hidden": "true", class: "sv-swatch" })) svg.setAttribute(k, v);
    const line = document.createElementNS(SVG, "line");
    const dash = verifier.dash === "solid" ? "none" : verifier.dash.replace(/px/g, "");
    for (const [k, v] of Object.entries({ x1: 1, x2: 29, y1: 5, y2: 5, "stroke-width": 3.4, "stroke-dasharray": dash })) line.setAttribute(k, v);
    line.style.stroke = `var(--sv-${verifier.role})`;
    svg.append(line);
    return svg;
  }

  const token = (text) => el("code", { class: "sv-token", dir: "auto" }, text);

  function table(caption, heads, rows) {
    return el(
      "div",
      { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": caption },
      el(
        "table",
        {},
        el("caption", { class: "sv-hidden" }, caption),
        el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
        el("tbody", {}, rows),
      ),
    );
  }

  const cells = (values) => values.map((value) => el("td", {}, value === null || value === undefined ? "–" : value));

  /** A number with enough digits to be compared with the page's other numbers. */
  function digits(value, count) {
    if (value === null || value === undefined) return "–";
    if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(2);
    return String(Number(value.toPrecision(count || 4)));
  }

  const percent = (value) => (value >= 0.0995 ? `${(100 * value).toFixed(0)} %` : value >= 0.001 ? `${(100 * value).toFixed(1)} %` : value > 0 ? "<0.1 %" : "0 %");

  /* ---------------------------------------------------------------------------------------------- verdicts */

  function verdictTable(run, frame, view, act) {
    const rows = frame.verdicts.map((verdict) => {
      const looks = run.verifiers.find((v) => v.name === verdict.verifier);
      const options = Object.entries(verdict.options).map(([k, v]) => `${k} ${v}`).join(", ");
      const faded = !view.shown.has(verdict.verifier);
      return el(
        "tr",
        { class: faded ? "sv-off" : null, "data-verifier": verdict.verifier },
        el("th", { scope: "row" }, swatch(looks), " ", verdict.verifier,
          verdict.verifier === frame.driver ? el("span", { class: "sv-badge", title: "its verdict is committed" }, "driver") : null,
          options ? el("small", {}, options) : null),
        el("td", { class: "sv-number" }, String(verdict.path.length)),
        el("td", {}, verdict.pathText.length ? verdict.pathText.map((text, i) => [nodeButton(verdict.path[i], text, act), " "]) : el("em", {}, "nothing")),
        el("td", {}, token(verdict.bonus.text)),
        el("td", {}, `${verdict.bonus.source}, at node ${verdict.bonus.node}`),
        el("td", {}, { yes: "✓ lossless", no: "✕ lossy" }[verdict.lossless] || `✓ for ${verdict.lossless}`),
      );
    });
    return table("Verdicts of all verifiers on this tree", ["Verifier", "Accepted", "Accepted path", "Bonus token", "Drawn from", "Output law"], rows);
  }

  function nodeButton(node, text, act) {
    return el("button", { type: "button", class: "sv-node", "data-node": node, dir: "auto", onclick: () => act.select(node) }, text);
  }

  /* -------------------------------------------------------------------------------------------------- node */

  function nodePanel(run, frame, node, view, act) {
    const nodes = frame.nodes, parent = frame.tree.parent[node];
    const siblings = frame.tree.parent.filter((up) => up === parent).length;
    const head = [
      el("h3", {}, `Node ${node} `, token(nodes.text[node])),
      el("p", { class: "sv-note" }, node === 0
        ? `The last committed token (id ${nodes.token[0]}); the tree grows from it.`
        : `depth ${nodes.depth[node]}, drawn ${ordinal(nodes.rank[node] + 1)} of ${siblings} below `,
        node === 0 ? null : nodeButton(parent, nodes.text[parent], act), node === 0 ? null : ` · token id ${nodes.token[node]}`),
    ];
    if (node) {
      head.push(el("div", { class: "sv-pair" },
        bar("draft", nodes.q[node], "draft"), bar("target", nodes.p[node], "target")));
      head.push(el("h4", {}, "Decisions"), ...frame.verdicts.filter((v) => view.shown.has(v.verifier)).flatMap((v) => decision(run, frame, v, node)));
    }
    const drawn = frame.verdicts.filter((v) => v.bonus.node === node && view.shown.has(v.verifier));
    if (drawn.length) head.push(el("h4", {}, "Bonus drawn here"), ...drawn.map((v) => bonus(run, frame, v)));
    head.push(el("h4", {}, "What may follow this token"), rows(frame, "target", nodes.target[node], 0));
    head.push(nodes.draft[node] ? rows(frame, "draft", nodes.draft[node], 0) : el("p", { class: "sv-note" }, "The draft did not run this node: it was not expanded."));
    if (nodes.limits[0] !== nodes.limits[1])
      head.push(el("p", { class: "sv-note" }, `Large tree: ${nodes.limits[0]} entries are shown for nodes in sight, ${nodes.limits[1]} for folded ones.`));
    return head;
  }

  const ordinal = (n) => `${n}${n % 100 > 10 && n % 100 < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[n % 10] || "th"}`;

  function bar(name, value, role) {
    const fill = el("span", { class: "sv-fill" });
    fill.style.width = `${100 * Math.min(1, value || 0)}%`;
    fill.style.background = `var(--sv-${role})`;
    return [el("span", {}, name), el("span", { class: "sv-rail" }, fill), el("b", { class: "sv-number" }, digits(value))];
  }

  function decision(run, frame, verdict, node) {
    const looks = run.verifiers.find((v) => v.name === verdict.verifier);
    const taken = verdict.decisions.filter((row) => row[0] === node);
    const title = (state) => el("div", { class: "sv-who" }, swatch(looks), ` ${verdict.verifier} `,
      el("b", { class: `sv-state-${state === "." ? "none" : state}` }, OUTCOMES[state].join(" ")));
    if (!taken.length) {
      return el("div", { class: "sv-decision", "data-verifier": verdict.verifier }, title(frame.tree.states[verdict.verifier][node]),
        el("p", { class: "sv-note" }, `Its threshold here is ${digits(verdict.thresholds[node])}; the walk did not come by.`));
    }
    return taken.map((row) => {
      const [, state, rule, comparison, uniform, p, q, expected, , reason, residual] = row;
      const threshold = row.length > 8 ? row[8] : verdict.thresholds[node];
      const [line, holds] = arithmetic(frame, node, comparison, uniform, p, expected, threshold);
      const box = el("div", { class: "sv-decision", "data-verifier": verdict.verifier }, title(state), el("p", { class: "sv-sum" }, line));
      if (holds !== null && holds !== (state !== "r")) box.append(el("p", { class: "sv-bad" }, "These numbers do not give this outcome."));
      const used = [p === null ? null : `p ${digits(p, 6)}`, q === null ? null : `q ${digits(q, 6)}`].filter(Boolean).join(", ");
      box.append(el("p", { class: "sv-note" }, "rule ", el("code", {}, verdict.rules[rule]), used ? ` · used ${used}` : ""));
      if (reason) box.append(el("p", {}, reason));
      if (residual) box.append(more(`Residual after it: mass ${digits(residual[0])}`, () => bars(frame, residual[1], residual[2], null, "target")));
      return box;
    });
  }

  /** The comparison with its two sides, and whether it holds (null for what cannot be told from the numbers). */
  function arithmetic(frame, node, comparison, uniform, p, expected, threshold) {
    if (comparison < 2) {
      const left = comparison === 0 ? uniform : p, name = comparison === 0 ? "u" : "p";
      if (left === null || left === undefined) return [`threshold ${digits(threshold, 7)}`, null];
      const holds = comparison === 0 ? left < threshold : left > threshold;
      const sign = comparison === 0 ? (holds ? "<" : "≥") : holds ? ">" : "≤";
      return [`${name} ${digits(left, 7)} ${sign} ${digits(threshold, 7)} threshold`, holds];
    }
    const own = frame.nodes.token[node], name = comparison === 2 ? "drawn" : "argmax";
    if (expected === null) return [`no token was ${name}`, null];
    return [`${frame.nodes.text[node]} ${own === expected ? "=" : "≠"} ${frame.tokens[expected]} ${name}`, own === expected];
  }

  function bonus(run, frame, verdict) {
    const looks = run.verifiers.find((v) => v.name === verdict.verifier), b = verdict.bonus;
    return el("div", { class: "sv-decision", "data-bonus": verdict.verifier },
      el("div", { class: "sv-who" }, swatch(looks), ` ${verdict.verifier} `, token(b.text)),
      el("p", { class: "sv-note" }, `from the ${b.source}${b.uniform === null ? "" : `, u ${digits(b.uniform, 7)}`}`),
      more("The distribution it was drawn from", () => bars(frame, b.top[0], b.top[1], b.token, "target")));
  }

  function rows(frame, model, row) {
    const [entropy, raw, processed] = row, shown = processed || raw;
    const box = el("div", { class: "sv-row" }, el("p", { class: "sv-note" }, `${model}: entropy ${digits(entropy)} nats`),
      bars(frame, shown[0], shown[1], null, model));
    if (processed) box.append(more("Before the sampling parameters", () => bars(frame, raw[0], raw[1], null, model)));
    return box;
  }

  /** Bars of a distribution's top entries and of the rest. */
  function bars(frame, ids, probs, marked, role) {
    const rest = Math.max(0, 1 - probs.reduce((sum, p) => sum + p, 0));
    const line = (label, p, hit) => {
      const fill = el("span", { class: "sv-fill" });
      fill.style.width = `${100 * Math.min(1, p)}%`;
      fill.style.background = `var(--sv-${role})`;
      return el("tr", { class: hit ? "sv-hit" : null }, el("th", { scope: "row" }, label), el("td", {}, el("span", { class: "sv-rail" }, fill)),
        el("td", { class: "sv-number" }, digits(p, 3)));
    };
    const list = ids.map((id, i) => line(token(frame.tokens[id]), probs[i], id === marked));
    if (rest > 5e-4) list.push(line(el("em", {}, "the rest"), rest, false));
    return el("table", { class: "sv-bars" }, el("tbody", {}, list));
  }

  /** A disclosure whose content is made when it is first opened. */
  function more(title, make) {
    const box = el("details", {}, el("summary", {}, title));
    box.addEventListener("toggle", () => box.open && box.children.length === 1 && box.append(make()));
    return box;
  }

  /* ------------------------------------------------------------------------------------------- step tables */

  function stepPanel(run, frame) {
    const t = frame.timings, ms = (s) => `${(1000 * s).toFixed(s < 0.01 ? 1 : 0)} ms`;
    const facts = [
      ["Tree", `${frame.tree.parent.length - 1} drafted tokens, ${frame.builder}, ${frame.proposal.replace(/_/g, " ")}`],
      ["Context", `${frame.context} tokens before this step`],
      ["Committed", `${frame.commit.length} tokens`],
      ["Forwards", `draft ${ms(t.draft)}, target ${ms(t.target)}`],
      ["specviz", `build ${ms(t.build)}, verify ${ms(t.verify)}, commit ${ms(t.commit)}, record ${ms(t.record)}${t.audit ? `, audit ${ms(t.audit)}` : ""}`],
    ];
    if (frame.prefilled) facts.push(["Prefilled", `${frame.prefilled} tokens before this step: the caches were rebuilt`]);
    if (frame.endReason) facts.push(["Ended", frame.endReason]);
    return [
      el("h3", {}, "This step"),
      el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
      el("p", { class: "sv-hint" }, "Click a card, or a token in a table, to read how every verifier decided about it."),
    ];
  }

  function nodeTable(run, frame, act) {
    const n = frame.nodes, verifiers = run.verifiers.filter((v) => frame.tree.states[v.name]);
    const lines = n.text.map((text, node) => el("tr", {}, cells([
      nodeButton(node, `${node}`, act), token(text), frame.tree.parent[node] < 0 ? "–" : String(frame.tree.parent[node]), String(n.depth[node]), String(n.rank[node]),
      digits(n.q[node]), digits(n.p[node]), ...verifiers.map((v) => OUTCOMES[frame.tree.states[v.name][node]].join(" ")),
    ])));
    return table("All nodes of the draft tree", ["Node", "Token", "Parent", "Depth", "Draw rank", "Draft prob.", "Target prob.", ...verifiers.map((v) => v.name)], lines);
  }

  function cacheTable(frame, model, act) {
    const c = frame.caches[model], fate = { k: "kept", m: "moved", d: "dropped" };
    const after = new Map(c.after.map((row) => [row[0], row]));
    const lines = c.slot.map((slot, i) => {
      const row = c.to[i] === null ? null : after.get(c.to[i]);
      const same = !row ? "–" : row[3] ? `${row[2]} ✓` : `${row[2]} ≠ differs`;
      return el("tr", { class: row && !row[3] ? "sv-bad" : null }, cells([
        String(slot), token(c.text[i]), String(c.position[i]), c.node[i] === null ? { c: "late context", p: "pruned" }[c.role[i]] || "–" : nodeButton(c.node[i], `${c.node[i]}`, act),
        c.state[i] === "m" ? `moved to ${c.to[i]}` : fate[c.state[i]], c.prints[i], same,
      ]));
    });
    return table(`Slots the ${model} wrote in this step`, ["Slot", "Token", "Position", "Node", "Fate", "Fingerprint before", "Fingerprint after"], lines);
  }

  ns.panels = { el, swatch, token, digits, percent, verdictTable, nodePanel, stepPanel, nodeTable, cacheTable, more, OUTCOMES };
})(window);
