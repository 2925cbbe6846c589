/* The audit as a heat map: what the cache holds against a fresh recompute, layers downwards, slots to the right.
 *
 * Shades are whole powers of ten (specviz/figures/audit.py); what lies beyond the tolerance has a red frame and a mark.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el, table, cells } = ns.panels;
  const WIDTH = 44, HEIGHT = 12, SCALE = 34;
  const PARTS = ["keys", "values"];

  /** Recorded for what is no finite number (INFINITE_DIFFERENCE in specviz/trace/values.py). */
  const INFINITE = 1e308;
  const short = (value) => (value >= INFINITE ? "∞" : value === 0 ? "0" : value >= 0.095 ? value.toFixed(1) : value.toExponential(0).replace("e-", "e−"));
  const digits = (value) => (value >= INFINITE ? "no finite number" : ns.panels.digits(value, 2));

  function draw(ui, run, frame, tale) {
    const models = ["target", "draft"].filter((model) => frame.caches[model].audit);
    ui.auditBox.hidden = !models.length;
    ui.auditEmpty.hidden = models.length > 0;
    ui.auditSaid.replaceChildren();
    if (!models.length) return;
    const colours = ns.scene.palette(ui.audit), byName = ns.scene.traces(run.figures.audit, colours, 1), labels = new ns.Labels();
    const pens = new Map(), pen = (name) => pens.get(name) || pens.set(name, new ns.scene.Pen()).get(name);
    const dark = run.decades.length / 2;
    let x = 0, height = 0, width = 0;

    for (const model of models) {
      const audit = frame.caches[model].audit, tolerance = frame.tolerance[model], layers = audit.keys.length, columns = audit.keys[0] ? audit.keys[0].length : 0;
      labels.write("title", x + 2, 8, `${model} · tolerance ${ns.digits(tolerance, 1)}`);
      PARTS.forEach((part, p) => {
        const left = x + 28 + p * (columns * WIDTH + 12), shades = audit.shades[p].split("/");
        labels.write("title", left, 24, part, "muted");
        for (let column = 0; column < columns; column++)
          labels.write("number", left + column * WIDTH, 38, column ? `#${audit.first + column - 1}` : "earlier", "muted");
        for (let layer = 0; layer < layers; layer++) {
          const y = 46 + layer * HEIGHT;
          if (!p) labels.write("layer", x + 24, y + HEIGHT / 2, String(layer), "muted");
          for (let column = 0; column < columns; column++) {
            const value = audit[part][layer][column], shade = Number(shades[layer][column]), at = left + column * WIDTH;
            pen(`heat.${shade}`).rect(at, y, WIDTH - 1, HEIGHT - 1);
            if (value > tolerance) pen("beyond").rect(at + 1, y + 1, WIDTH - 3, HEIGHT - 3);
            labels.write("glyph", at + WIDTH / 2, y + HEIGHT / 2, `${value > tolerance ? "! " : ""}${short(value)}`, shade > dark ? "panel" : "");
          }
        }
      });
      height = Math.max(height, 46 + layers * HEIGHT);
      x += 28 + 2 * (columns * WIDTH + 12) + 16;
      width = Math.max(width, x);
    }
    width = Math.max(width, 400);
    scale(height + 8, Math.min(...models.map((model) => frame.tolerance[model])));

    /** The colour scale, one box a power of ten, with the tolerance as a red line. */
    function scale(y, tolerance) {
      const boxes = run.decades.length + 1;
      labels.write("number", 2, y + 8, "scale", "muted");
      for (let i = 0; i < boxes; i++) {
        pen(`heat.${i}`).rect(44 + i * SCALE, y + 2, SCALE, 12);
        if (i) labels.write("number", 44 + i * SCALE - 12, y + 24, `1e−${-run.decades[i - 1]}`, "muted");
      }
      const at = 44 + SCALE * Math.max(0, Math.min(boxes, Math.log10(tolerance) - run.decades[0] + 1));
      pen("tolerance").to(at, y - 2).to(at, y + 18).lift();
      labels.write("number", 44 + boxes * SCALE + 6, y + 8, "red line: tolerance", "bad");
      width = Math.max(width, 44 + boxes * SCALE + 120);
    }

    for (const [name, drawn] of pens) Object.assign(byName.get(name), { x: drawn.x, y: drawn.y });
    ns.scene.paint(ui.audit, run.figures.audit, byName, width, height + 40, 1);
    labels.lay(ui.audit);
    colours.done();
    ui.audit.setAttribute("aria-label", models.map((model) => `${model}: worst relative difference ${digits(frame.caches[model].audit.worst)}`).join("; "));
    ui.auditSaid.replaceChildren(...models.map((model) => said(model, frame.caches[model].audit, frame.tolerance[model], tale.before[`${model} cache`])));
  }

  /** `before` is the step in which something in this cache did not fit first, where that was an earlier one. */
  function said(model, audit, tolerance, before) {
    const off = audit.worst > tolerance;
    const logits = audit.logits === null ? "the context is full: no next-token logits" : `next-token logits ${digits(audit.logits)}`;
    return el("p", { class: off ? "sv-bad" : "sv-good" },
      `${off ? "✕" : "✓"} ${model}: worst ${digits(audit.worst)} where ${ns.panels.digits(tolerance, 1)} is allowed; ${audit.wrong} cells beyond it; ${logits}.${off && before !== undefined ? ` This cache was wrong before: step ${before + 1} is where it began.` : ""}`);
  }

  function auditTable(run, frame, model) {
    const audit = frame.caches[model].audit;
    if (!audit) return [el("p", { class: "sv-note" }, `The ${model} was not audited.`)];
    const columns = audit.keys[0] ? audit.keys[0].map((_, c) => (c ? `slot ${audit.first + c - 1}` : "earlier slots")) : [];
    const cell = (value) => (value > frame.tolerance[model] ? el("b", { class: "sv-bad" }, `${value >= INFINITE ? digits(value) : value} ✕`) : String(value));
    const lines = PARTS.flatMap((part) => audit[part].map((row, layer) => el("tr", {}, cells([part, String(layer), ...row.map(cell)]))));
    return [el("h4", {}, model), table(`Audit of the ${model}, relative differences`, ["Part", "Layer", ...columns], lines)];
  }

  ns.audits = { draw, auditTable };
})(window);
