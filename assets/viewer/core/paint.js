/* Colours, pens and the one call that paints: how columns of numbers become a few Plotly traces.
 *
 * Python sends the traces' looks once (specviz/figures/figure_style.py); colour roles become colours here. Units are CSS
 * pixels at scale 1, y downwards. No probability is computed here.
 */

/** @import { PlotlyFigure } from "./frame.d.ts" */

const SAMPLES = 10;
const CONFIG = { staticPlot: true, displayModeBar: false, typesetMath: false, responsive: false };

/** @param {number} value */
export const round = (value) => Math.round(value * 10) / 10;

/* -------------------------------------------------------------------------------------------------- colours */

/** Reading a colour makes the browser resolve styles, so what was read is kept until the theme changes.
 * @type {Map<string, string>} */
const resolved = new Map();
export const forgetColours = () => resolved.clear();

/**
 * Colour of every role, read from the CSS variables --sv-<role> that hold for `element` now.
 * @param {Element} element
 */
function palette(element) {
  /** @type {HTMLElement | null} */
  let probe = null;
  /** @param {string} role */
  const colour = (role) => {
    if (!role || role === "none") return "rgba(0,0,0,0)";
    let found = resolved.get(role);
    if (found === undefined) {
      if (!probe) {
        probe = document.createElement("span");
        probe.style.display = "none";
        element.appendChild(probe);
      }
      probe.style.color = `var(--sv-${role})`; // resolved by the browser: whatever the theme's syntax, we get rgb()
      found = getComputedStyle(probe).color;
      resolved.set(role, found);
    }
    return found;
  };
  return { colour, done: () => probe?.remove() };
}

/* ------------------------------------------------------------------------------------------------- geometry */

/** The points of a trace; null parts its shapes. */
export class Pen {
  constructor() {
    /** @type {(number | null)[]} */
    this.x = [];
    /** @type {(number | null)[]} */
    this.y = [];
  }

  /**
   * @param {number} left
   * @param {number} top
   * @param {number} width
   * @param {number} height
   */
  rect(left, top, width, height) {
    const right = left + width, bottom = top + height;
    this.x.push(left, right, right, left, left, null);
    this.y.push(top, top, bottom, bottom, top, null);
  }

  /**
   * An S-curve with level ends, `shift` pixels beside its centre line, so that ribbons run parallel.
   * @param {number} x0
   * @param {number} y0
   * @param {number} x1
   * @param {number} y1
   * @param {number} shift
   * @returns {this}
   */
  curve(x0, y0, x1, y1, shift) {
    if (y0 === y1) return this.to(x0, y0 + shift).to(x1, y1 + shift);
    for (let i = 0; i <= SAMPLES; i++) {
      const t = i / SAMPLES, s = t * t * (3 - 2 * t);
      const dx = x1 - x0, dy = 6 * t * (1 - t) * (y1 - y0), length = Math.hypot(dx, dy) || 1;
      this.to(round(x0 + dx * t - (shift * dy) / length), round(y0 + (y1 - y0) * s + (shift * dx) / length));
    }
    return this;
  }

  /**
   * @param {number} x
   * @param {number} y
   * @returns {this}
   */
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

/* -------------------------------------------------------------------------------------------------- picture */

/** One picture: a pen for every trace of its figure, by name. */
export class Picture {
  /** @param {PlotlyFigure} figure */
  constructor(figure) {
    this.figure = figure;
    /** @type {Map<string, Pen>} */
    this.pens = new Map();
  }

  /** @param {string} name of a trace */
  pen(name) {
    let pen = this.pens.get(name);
    if (!pen) this.pens.set(name, (pen = new Pen()));
    return pen;
  }

  /**
   * Draw what the pens have drawn, in the order of the figure's traces; those without a point are left out.
   * @param {HTMLElement} place
   * @param {number} width in pixels at scale 1, as is `height`
   * @param {number} height
   * @param {number} [scale]
   */
  paint(place, width, height, scale = 1) {
    const { data, layout } = this.figure, colours = palette(place), drawn = [];
    for (const source of data) {
      const pen = this.pens.get(source.name);
      if (pen?.x.length) drawn.push(trace(source, pen, colours.colour, scale));
    }
    colours.done();
    window.Plotly.react(place, drawn, {
      ...layout, width: Math.round(width * scale), height: Math.round(height * scale),
      xaxis: { ...layout.xaxis, range: [0, width] }, yaxis: { ...layout.yaxis, range: [height, 0] },
    }, CONFIG);
  }
}

/**
 * A copy of a figure's trace with scaled strokes and real colours, through the points of a pen.
 * @param {any} source
 * @param {Pen} pen
 * @param {(role: string) => string} colour
 * @param {number} scale
 */
function trace(source, { x, y }, colour, scale) {
  const dash = String(source.line.dash || "solid").replace(/[\d.]+(?=px)/g, (n) => String(round(Number(n) * scale)));
  const line = { width: source.line.width * scale, dash, color: colour(source.meta.line), simplify: false };
  const made = { type: "scatter", name: source.name, mode: source.mode, hoverinfo: "skip", x, y, line, cliponaxis: false };
  return source.fill ? { ...made, fill: source.fill, fillcolor: colour(source.meta.fill) } : made;
}
