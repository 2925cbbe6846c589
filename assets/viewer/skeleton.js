/* The viewer's empty page: every part that is filled later, by name. */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el } = ns.panels;

  function skeleton() {
    const ui = {};
    const button = (name, label, sign) => (ui[name] = el("button", { type: "button", "aria-label": label, title: label, "data-act": name }, sign));
    ui.range = el("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Step" });
    const part = (name, tag, attributes, ...children) => (ui[name] = el(tag, attributes, ...children));
    ui.root = el("div", { class: "sv-root" },
      part("notice", "div", { hidden: true }),
      el("div", { class: "sv-bar" },
        el("div", { class: "sv-transport", role: "group", "aria-label": "Steps" },
          button("first", "First step", "⇤"), button("back", "Back", "←"), button("play", "Play", "►"), button("next", "Forward", "→"), button("last", "Last step", "⇥")),
        ui.range, part("where", "output", { class: "sv-where" }), part("timeline", "div", { class: "sv-timeline", role: "group", "aria-label": "Accepted tokens of every step" }),
        button("helpButton", "Keys", "?")),
      el("section", { class: "sv-textbox", "aria-label": "Text" },
        part("text", "div", { class: "sv-text", tabindex: 0, role: "region", "aria-label": "Generated text; click a token to open its step" }),
        el("p", { class: "sv-note sv-key" }, part("models", "span", { class: "sv-models" }), el("span", { class: "sv-prompt" }, "prompt"), el("span", { class: "sv-word sv-a" }, "accepted draft"), el("span", { class: "sv-word sv-b" }, "bonus token"))),
      part("empty", "p", { class: "sv-empty" }, "No run is open."),
      part("body", "div", { hidden: true },
        part("summary", "p", { class: "sv-summary", "aria-live": "polite" }),
        el("div", { class: "sv-columns" },
          el("section", { class: "sv-panel", "aria-label": "Draft tree" },
            el("div", { class: "sv-panelhead" }, part("legend", "div", { class: "sv-legend" }),
              el("div", { class: "sv-zoom" }, button("smaller", "Smaller", "−"), button("larger", "Larger", "+"))),
            part("treeBox", "div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": "Draft tree, scrollable" }, part("tree", "div", { role: "img", "data-picture": "tree" })),
            part("folded", "p", { class: "sv-note" }),
            el("p", { class: "sv-note sv-key" }, markKey("draft", "draft"), markKey("target", "target"), el("span", {}, "edge width = target probability"),
              el("span", {}, "● accepted"), el("span", {}, "✕ rejected"), el("span", {}, "○ passed, not chosen"), el("span", {}, "· not examined"), el("span", {}, "◆ paths part here"))),
          part("inspector", "aside", { class: "sv-panel sv-inspector", tabindex: 0, "aria-label": "Node" })),
        el("section", { class: "sv-panel", "aria-label": "Verdicts" }, el("h3", {}, "Verdicts"), part("verdicts", "div", {})),
        el("section", { class: "sv-panel", "aria-label": "KV cache" }, el("h3", {}, "KV cache, before and after the update"),
          el("p", { class: "sv-note" }, "Upper strip: slots written by this step's forward. Lower strip: what the update left. p = position, n = node; dotted = dropped, blue = moved."),
          part("faults", "div", {}), el("div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": "KV cache, scrollable" }, part("cache", "div", { role: "img", "data-picture": "cache" }))),
        part("slotTable", "details", { class: "sv-panel" }, el("summary", {}, "Cache slots as a table")),
        part("nodeTable", "details", { class: "sv-panel" }, el("summary", {}, "Draft tree as a table"))),
      part("tip", "div", { class: "sv-tip", hidden: true }),
      part("help", "dialog", { class: "sv-help", "aria-label": "Keys" }, el("h3", {}, "Keys"),
        el("dl", {}, [["← →", "one step back, forward"], ["Home, End", "first, last step"], ["Space", "play, pause"], ["Esc", "deselect the node"], ["?", "this list"]].map(([key, what]) => [el("dt", {}, key), el("dd", {}, what)])),
        el("form", { method: "dialog" }, el("button", {}, "Close"))));
    return ui;
  }

  function markKey(role, name) {
    const sample = el("i", { class: "sv-sample" });
    sample.style.background = `var(--sv-${role})`;
    return el("span", {}, sample, ` ${name} probability`);
  }

  ns.skeleton = skeleton;
})(window);
