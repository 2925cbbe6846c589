/* Colours, pens and the one call that paints: how columns of numbers become a few Plotly traces.
 *
 * Python sends the traces' looks once (specviz/figures/figure_style.py); colour roles become colours here. Units are
 * CSS pixels at scale 1, y downwards. No probability is computed here.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  ns.tools = [];
  const SAMPLES = 10;
  const CONFIG = { staticPlot: true, displayModeBar: false, typesetMath: false, responsive: false };
  const round = (value) => Math.round(value * 10) / 10;

  /* ------------------------------------------------------------------------------------------------ colours */

  /** Reading a colour makes the browser resolve styles, so what was read is kept until the theme changes. */
  const resolved = new Map();
  const forgetColours = () => resolved.clear();

  /** Colour of every role, read from the CSS variables --sv-<role> that hold for `element` now. */
  function palette(element) {
    let probe = null;
    const read = (property, value) => {
      if (!resolved.has(value)) {
        if (!probe) {
          probe = document.createElement("span");
          probe.style.display = "none";
          element.appendChild(probe);
        }
        probe.style[property] = value; // resolved by the browser: whatever the theme's syntax, we get rgb()
        resolved.set(value, getComputedStyle(probe)[property]);
      }
      return resolved.get(value);
    };
    const colour = (role) => (!role || role === "none" ? "rgba(0,0,0,0)" : read("color", `var(--sv-${role})`));
    const font = (family) => read("fontFamily", `var(--sv-font-${family})`);
    return { colour, mono: font("mono"), sans: font("sans"), done: () => probe && probe.remove() };
  }

  /* ---------------------------------------------------------------------------------------------- geometry */

  class Pen {
    constructor() {
      this.x = [];
      this.y = [];
    }
    rect(left, top, width, height) {
      const right = left + width, bottom = top + height;
      this.x.push(left, right, right, left, left, null);
      this.y.push(top, top, bottom, bottom, top, null);
    }
    /** An S-curve with level ends, `shift` pixels beside its centre line, so that ribbons run parallel. */
    curve(x0, y0, x1, y1, shift) {
      if (y0 === y1) return this.to(x0, y0 + shift).to(x1, y1 + shift);
      for (let i = 0; i <= SAMPLES; i++) {
        const t = i / SAMPLES, s = t * t * (3 - 2 * t);
        const dx = x1 - x0, dy = 6 * t * (1 - t) * (y1 - y0), length = Math.hypot(dx, dy) || 1;
        this.to(round(x0 + dx * t - (shift * dy) / length), round(y0 + (y1 - y0) * s + (shift * dx) / length));
      }
      return this;
    }
    to(x, y) {
      this.x.push(x);
      this.y.push(y);
      return this;
    }
    lift() {
      this.x.push(null);
      this.y.push(null);
    }
  }

  /* ------------------------------------------------------------------------------------------------ traces */

  /** Copies of the template's traces with scaled strokes and real colours, to be filled by name. */
  function traces(template, colours, scale) {
    const byName = new Map();
    for (const source of template.data) {
      const trace = { type: "scatter", name: source.name, mode: source.mode, hoverinfo: "skip", x: [], y: [] };
      const meta = source.meta || {};
      if (source.line) {
        const dash = String(source.line.dash || "solid").replace(/[\d.]+(?=px)/g, (n) => round(n * scale));
        trace.line = { width: source.line.width * scale, dash, color: colours.colour(meta.line), simplify: false };
        trace.cliponaxis = false;
      }
      if (source.fill) {
        trace.fill = source.fill;
        trace.fillcolor = colours.colour(meta.fill);
      }
      if (meta.marker) trace.marker = { size: [], symbol: [], color: [], line: { width: 1.4 * scale, color: [] } };
      if (meta.font) {
        trace.textposition = source.textposition;
        trace.textfont = { size: source.textfont.size * scale, family: colours[meta.font], color: [] };
        trace.text = [];
        trace.cliponaxis = false;
      }
      byName.set(source.name, trace);
    }
    return byName;
  }

  function write(trace, x, y, text, color) {
    trace.x.push(x);
    trace.y.push(y);
    trace.text.push(text);
    trace.textfont.color.push(color);
  }

  function paint(div, template, byName, width, height, scale) {
    const layout = Object.assign({}, template.layout, {
      width: Math.round(width * scale),
      height: Math.round(height * scale),
      xaxis: Object.assign({}, template.layout.xaxis, { range: [0, width] }),
      yaxis: Object.assign({}, template.layout.yaxis, { range: [height, 0] }),
    });
    const data = [...byName.values()].filter((trace) => trace.x.length);
    return root.Plotly.react(div, data, layout, CONFIG);
  }

  ns.scene = { palette, forgetColours, Pen, traces, write, paint, round };
})(window);
