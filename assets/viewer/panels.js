/* The tables and words beside the pictures. Every string of the run is written with textContent: token text is data. */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const SVG = "http://www.w3.org/2000/svg";
  /** Mark and words of an outcome, such as "✕ rejected"; the table is specviz/figures/outcomes.py. */
  const outcome = (letter) => `${ns.outcomes[letter].mark} ${ns.outcomes[letter].words}`;

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

  /** Show an error, a word, or work going on in `place`; null takes the last one away. */
  function showNotice(place, notice) {
    place.hidden = !notice;
    if (!notice) return place.replaceChildren();
    place.className = `sv-notice sv-${notice.kind}`;
    place.setAttribute("role", notice.kind === "error" ? "alert" : "status");
    place.replaceChildren(el("span", {}, notice.text), notice.kind === "working"
      ? el("progress", { "aria-label": "Progress", max: 1, value: notice.fraction })
      : el("button", { type: "button", "aria-label": "Close", onclick: () => showNotice(place, null) }, "×"));
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

  const { digits } = ns;

  /** A share as a whole per cent, or with one decimal below ten; what is less than all never reads 100 %. */
  function percent(value) {
    if (value >= 0.995 && value < 1) return ">99 %";
    return value >= 0.0995 ? `${(100 * value).toFixed(0)} %` : value >= 0.001 ? `${(100 * value).toFixed(1)} %` : value > 0 ? "<0.1 %" : "0 %";
  }

  /** How many tokens of a verdict were not written, bonus included, because the text ended; 0 for who does not drive. */
  const cutOff = (frame, verdict) => (verdict.verifier === frame.driver ? verdict.path.length + 1 - frame.commit.length : 0);

  /** Why a token that a verdict gave is not in the text: its place among path and bonus counts. */
  const unwritten = (frame, verdict, place) =>
    verdict.verifier === frame.driver && place >= frame.commit.length ? `not written: the text ends before it (${frame.endReason})` : null;

  /* ---------------------------------------------------------------------------------------------- verdicts */

  /** What was known of a verifier with its options when the step was recorded. */
  const LAWS = { yes: "✓ lossless", no: "✕ lossy", "greedy decoding": "✓ greedy decoding", "not proved": "? not proved for these options" };

  /** That, and what `check` found since for it with these options on trees proposed like this one. */
  function lawOf(frame, verdict, view) {
    const found = ((view.proofs[verdict.verifier] || {})[verdict.optionsKey] || {})[frame.proposal];
    if (!found) return [LAWS[verdict.lossless]];
    const then = verdict.lossless === "not proved" ? "? not proved when this was recorded" : LAWS[verdict.lossless];
    return [then, el("br"), el("small", {}, `check: ${found}`)];
  }

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
        el("td", { class: "sv-number" }, String(verdict.path.length), cutOff(frame, verdict) > 1 ? el("small", {}, `${frame.commit.length} written`) : null),
        el("td", {}, verdict.path.length ? verdict.path.map((node) => [nodeButton(node, frame.nodes.text[node], act), " "]) : el("em", {}, "nothing")),
        el("td", {}, token(verdict.bonus.text), cutOff(frame, verdict) ? el("small", {}, unwritten(frame, verdict, verdict.path.length)) : null),
        el("td", {}, `${verdict.bonus.source}, at node `, nodeButton(verdict.bonus.node, String(verdict.bonus.node), act), verdict.bonus.fault ? el("p", { class: "sv-bad sv-wide" }, `✕ ${verdict.bonus.fault}`) : null),
        el("td", {}, lawOf(frame, verdict, view)),
      );
    });
    return table("Verdicts of all verifiers on this tree", ["Verifier", "Accepted", "Accepted path", "Bonus token", "Drawn from", "Output law"], rows);
  }

  function nodeButton(node, text, act) {
    return el("button", { type: "button", class: "sv-node", "data-node": node, dir: "auto", onclick: () => act.select(node) }, text);
  }

  /** A disclosure whose content is made when it is first opened. */
  function more(title, make) {
    const box = el("details", {}, el("summary", {}, title));
    box.addEventListener("toggle", () => box.open && box.children.length === 1 && box.append(...[].concat(make())));
    return box;
  }

  /* ------------------------------------------------------------------------------------------- step tables */

  function stepPanel(run, frame, view) {
    const t = frame.timings, cut = cutOff(frame, frame.verdicts.find((v) => v.verifier === frame.driver)), ms = (s) => `${(1000 * s).toFixed(s < 0.01 ? 1 : 0)} ms`;
    const facts = [
      ["Tree", `${frame.tree.parent.length - 1} drafted tokens, ${frame.builder}, ${frame.proposal.replace(/_/g, " ")}`],
      ["Context", `${frame.context} tokens before this step`],
      ["Committed", `${frame.commit.length} token${frame.commit.length > 1 ? "s" : ""}${cut ? ` of the driver's ${frame.commit.length + cut}: the text ends there` : ""}`],
      ["Forwards", `${frame.caches.draft.slot.length ? `draft ${ms(t.draft)}` : "no draft model ran"}, target ${ms(t.target)}`],
      ["specviz", `build ${ms(t.build)}, verify ${ms(t.verify)}, commit ${ms(t.commit)}, record ${ms(t.record)}${frame.caches.target.audit || frame.caches.draft.audit ? `, audit ${ms(t.audit)}` : ""}`],
    ];
    if (frame.prefilled) facts.push(["Prefilled", `${frame.prefilled} tokens before this step: ${frame.step ? "the caches were rebuilt" : "the prompt"}`]);
    if (frame.endReason) facts.push(["Ended", frame.endReason]);
    return [
      el("h3", {}, "This step"),
      el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
      el("h4", {}, "Bonus tokens"),
      ...frame.verdicts.filter((v) => view.shown.has(v.verifier)).map((v) => ns.panels.bonusBox(run, frame, v)),
      el("p", { class: "sv-hint" }, "Click a card, or a token in a table, to read how every verifier decided about it."),
    ];
  }

  function nodeTable(run, frame, act) {
    const n = frame.nodes, verifiers = run.verifiers.filter((v) => frame.tree.states[v.name]);
    const lines = n.text.map((text, node) => el("tr", {}, cells([
      nodeButton(node, `${node}`, act), token(text), frame.tree.parent[node] < 0 ? "–" : String(frame.tree.parent[node]), String(n.depth[node]), node ? String(n.rank[node]) : "–",
      digits(n.q[node]), digits(n.p[node]), ...verifiers.map((v) => outcome(frame.tree.states[v.name][node])),
    ])));
    return table("All nodes of the draft tree", ["Node", "Token", "Parent", "Depth", "Draw rank", "Draft prob.", "Target prob.", ...verifiers.map((v) => v.name)], lines);
  }

  ns.panels = { el, swatch, showNotice, token, table, cells, digits, percent, unwritten, verdictTable, nodeButton, stepPanel, nodeTable, more, outcome };
})(window);
