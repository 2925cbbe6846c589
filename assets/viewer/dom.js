/* The viewer's empty page: every part that is filled later, by name. */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el } = ns.panels;

  const KEYS = [
    ["← →  or  [ ]", "one step back, forward"], ["Home  End", "first, last step"], [", .", "inside the step: one phase back, forward"], ["Space", "play, pause"],
    ["t", "into the tree; there ← → ↑ ↓ walk from card to card, Enter selects"], ["f", "the tree alone in the window, and back"],
    ["Esc", "out of the tree, the node, the phases, the full window"], ["?", "this list"],
  ];

  function build() {
    const ui = {};
    const button = (name, label, sign) => (ui[name] = el("button", { type: "button", "aria-label": label, title: label, "data-act": name }, sign));
    ui.range = el("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Step" });
    const part = (name, tag, attributes, ...children) => (ui[name] = el(tag, attributes, ...children));
    const note = (text) => el("p", { class: "sv-note" }, text);
    const scroll = (name, child) => el("div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": `${name}, scrollable` }, child);
    const zoomer = (model, name, sign, factor) => el("button", { type: "button", value: factor, "data-act": `mask-${name}`, "aria-label": `${name} cells, ${model}`, title: `${name} cells` }, sign);
    ui.root = el("div", { class: "sv-root" },
      part("notice", "div", { hidden: true }),
      part("top", "div", { class: "sv-top" }),
      el("div", { class: "sv-bar" },
        el("div", { class: "sv-transport", role: "group", "aria-label": "Steps" },
          button("first", "First step", "⇤"), button("back", "Back", "←"), button("play", "Play", "►"), button("next", "Forward", "→"), button("last", "Last step", "⇥")),
        ui.range, part("where", "output", { class: "sv-where" }), part("timeline", "div", { class: "sv-timeline", role: "group", "aria-label": "Accepted tokens of every step" }),
        button("helpButton", "Keys", "?")),
      el("section", { class: "sv-textbox", "aria-label": "Text" },
        part("text", "div", { class: "sv-text", tabindex: 0, role: "region", "aria-label": "Generated text; click a token to open its step" }),
        el("p", { class: "sv-note sv-key" }, part("models", "span", { class: "sv-models" }), el("span", {}, "what the run wrote; click a word to open its step"), el("span", { class: "sv-prompt" }, "prompt"), el("span", { class: "sv-word sv-accepted" }, "accepted draft"), el("span", { class: "sv-word sv-bonus" }, "bonus token"))),
      part("failed", "section", { class: "sv-panel", "aria-label": "Failed step", hidden: true }),
      part("empty", "div", { class: "sv-empty", role: "status" }, el("b", {}, "No run is open."), el("span", {}, "Open a recorded run under Runs, or press Step to draft a first tree.")),
      part("body", "div", { class: "sv-body", hidden: true },
        el("div", { class: "sv-now-line" },
          el("div", { class: "sv-inside", role: "group", "aria-label": "Inside the step" },
            button("phaseBack", "Step into: the phase before (,)", "◂"), part("phaseWhere", "span", { class: "sv-phasewhere" }, "step into"),
            button("phaseNext", "Step into: the next phase (.)", "▸"), button("phaseLeave", "The whole step at once (Esc)", "×")),
          part("summary", "p", { class: "sv-summary", "aria-live": "polite" })),
        part("alarm", "p", { class: "sv-jump", role: "status", hidden: true }),
        part("columns", "div", { class: "sv-columns" },
          el("section", { class: "sv-panel sv-treepanel", "aria-label": "Draft tree" },
            el("div", { class: "sv-panelhead" }, part("legend", "div", { class: "sv-legend" }), part("tools", "div", { class: "sv-tools" }),
              el("div", { class: "sv-zoom" }, button("smaller", "Smaller", "−"), button("larger", "Larger", "+"), button("focus", "The tree alone in the window (f)", el("i", { class: "sv-frame" })))),
            part("treeBox", "div", { class: "sv-scroll sv-treebox", tabindex: 0, role: "region", "aria-label": "Draft tree, scrollable" },
              part("stage", "div", { class: "sv-stage" }, part("tree", "div", { role: "img", "data-picture": "tree" }), (ui.layer = ns.cards.makeLayer()))),
            part("folded", "p", { class: "sv-note sv-folded" }),
            note("These tokens were drafted, the target scored all of them in one forward, and every verifier then took a path, which may be empty. Click a card for its arithmetic."),
            el("p", { class: "sv-note sv-key" }, markKey("draft", "draft"), markKey("target", "target"), el("span", {}, "edge width = target probability"),
              ["a", "r", "p", "."].map((letter) => el("span", {}, ns.panels.outcome(letter))), el("span", {}, "◆ paths part here"))),
          part("inspector", "aside", { class: "sv-panel sv-inspector", tabindex: 0, "aria-label": "Node" })),
        part("under", "div", { class: "sv-under" }),
        el("section", { class: "sv-panel", "aria-label": "Verdicts", "data-known": "end" }, el("h3", {}, "Verdicts"), note("What each verifier made of this one tree, with the same luck: what it accepted, and the bonus token it drew after that. A rule that draws tokens flips no coins, so it shares only the draws."), part("verdicts", "div", {})),
        el("section", { class: "sv-panel", "aria-label": "The run so far" }, el("h3", {}, "The run so far"),
          note("How often each verifier accepted what was drafted, over the steps that it judged; every figure stands under the formula it is counted by."),
          part("totalsEmpty", "p", { class: "sv-note" }, "No step yet: totals appear with the first one."), part("totals", "div", { class: "sv-totals" }),
          part("totalsTable", "details", {}, el("summary", {}, "Totals as counts")), part("stepsTable", "details", {}, el("summary", {}, "Timeline as a table"))),
        el("section", { class: "sv-panel", "aria-label": "KV cache", "data-known": "cache" }, el("h3", {}, "KV cache"),
          note("The keys and values each model keeps of every token: written for the whole tree; then only the root and the accepted path, as far as it became text, are gathered and stay. p = position, n = node."),
          el("p", { class: "sv-note sv-key" }, ...[["kept", "stayed where it was"], ["moved", "to another slot (→ #)"], ["dropped", "not to be kept"], ["stale", "left behind beyond the length"], ["free", "beyond the length"], ["wrong", "✕ not what must be there"]].map(([name, what]) => el("span", {}, el("i", { class: `sv-slot sv-slot-${name}` }), ` ${name}: ${what}`))),
          part("faults", "div", {}), scroll("KV cache", part("cache", "div", { role: "img", "data-picture": "cache" })),
          part("slotTable", "details", {}, el("summary", {}, "Cache slots as a table"))),
        el("section", { class: "sv-panel", "aria-label": "Mask and positions", "data-known": "target" }, el("h3", {}, "Mask and positions"),
          note("Which slots each new token was allowed to look at, and at which position it ran, as passed to the model; a token may see the text, its ancestors and itself."),
          el("p", { class: "sv-note sv-key" }, ...[["seen", "sees its ancestor, as it must"], ["leak", "+ leak: sees what is no ancestor"], ["missing", "− missing: does not see its ancestor"], ["unknown", "? pruned row: not told"]].map(([name, what]) => el("span", {}, el("i", { class: `sv-slot sv-cell-${name}` }), ` ${what}`))),
          el("div", { class: "sv-masks" }, ["target", "draft"].map((model) => el("div", { class: "sv-mask", "data-model": model },
            el("div", { class: "sv-panelhead" }, part(`maskHead.${model}`, "h4", {}), el("div", { class: "sv-zoom" }, zoomer(model, "smaller", "−", 1 / 1.5), zoomer(model, "larger", "+", 1.5))),
            part(`maskNotes.${model}`, "div", {}), scroll(`Mask of the ${model}`, part(`mask.${model}`, "div", { role: "img", "data-picture": `mask.${model}` })),
            part(`maskSaid.${model}`, "output", { class: "sv-note sv-readout" })))),
          part("maskTable", "details", {}, el("summary", {}, "Mask and positions as a table"))),
        el("section", { class: "sv-panel", "aria-label": "Audit", "data-known": "cache" }, el("h3", {}, "Audit against a recompute"),
          note("Each cached key and value compared with a fresh run over the same text: the largest difference, relative to the layer's largest value (what stands out of its layer is measured by itself). Rounding leaves next to nothing."),
          part("auditEmpty", "p", { class: "sv-empty" }, "This step was not audited. Tick “Audit caches” in the settings, or record with --audit, to see the heat map."),
          part("auditSaid", "div", {}), part("auditBox", "div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": "Audit heat map, scrollable" }, part("audit", "div", { role: "img", "data-picture": "audit" })),
          part("auditTable", "details", {}, el("summary", {}, "Audit as a table"))),
        part("nodeTable", "details", { class: "sv-panel", "data-known": "end" }, el("summary", {}, "Draft tree as a table"))),
      part("tip", "div", { class: "sv-tip", hidden: true }),
      part("help", "dialog", { class: "sv-help", "aria-label": "Keys" }, el("h3", {}, "Keys"),
        el("dl", {}, KEYS.map(([key, what]) => [el("dt", {}, key), el("dd", {}, what)])),
        el("form", { method: "dialog" }, el("button", {}, "Close"))));
    return ui;
  }

  function markKey(role, name) {
    const sample = el("i", { class: "sv-sample" });
    sample.style.background = `var(--sv-${role})`;
    return el("span", {}, sample, ` ${name} probability`);
  }

  ns.dom = { build };
})(window);
