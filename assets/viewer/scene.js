/* Expands a frame's columns into the coordinates of a few Plotly traces.
 *
 * Python sends the traces' looks once (specviz/figures/looks.py) and columns of numbers per step; here cards become
 * rectangles, edges become curves, and colour roles become colours. Units are CSS pixels at scale 1, y downwards.
 * No probability is computed here, and no text becomes HTML: labels arrive escaped for Plotly's own label syntax.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const SAMPLES = 12, BAR = 4.4, PIP = 9;
  const CONFIG = { staticPlot: true, displayModeBar: false, typesetMath: false, responsive: false };

  /* ------------------------------------------------------------------------------------------------ colours */

  /** Colour of every role, read from the CSS variables --sv-<role> that hold for `element` now. */
  function palette(element) {
    const probe = document.createElement("span");
    probe.style.display = "none";
    element.appendChild(probe);
    const style = getComputedStyle(probe);
    const known = new Map();
    const colour = (role) => {
      if (!role || role === "none") return "rgba(0,0,0,0)";
      if (!known.has(role)) {
        probe.style.color = `var(--sv-${role})`; // resolved by the browser: whatever the theme's syntax, we get rgb()
        known.set(role, style.color);
      }
      return known.get(role);
    };
    const font = (family) => {
      probe.style.fontFamily = `var(--sv-font-${family})`;
      return style.fontFamily;
    };
    const result = { colour, mono: font("mono"), sans: font("sans"), done: () => probe.remove() };
    return result;
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
      if (y0 === y1) {
        this.x.push(x0, x1);
        this.y.push(y0 + shift, y1 + shift);
        return this;
      }
      for (let i = 0; i <= SAMPLES; i++) {
        const t = i / SAMPLES, s = t * t * (3 - 2 * t);
        const dx = x1 - x0, dy = 6 * t * (1 - t) * (y1 - y0), length = Math.hypot(dx, dy) || 1;
        this.x.push(round(x0 + dx * t - (shift * dy) / length));
        this.y.push(round(y0 + (y1 - y0) * s + (shift * dx) / length));
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

  const round = (value) => Math.round(value * 10) / 10;

  /** Copies of the template's traces with scaled strokes and real colours, to be filled by name. */
  function traces(template, colours, scale) {
    const byName = new Map();
    for (const source of template.data) {
      const trace = { type: "scatter", name: source.name, mode: source.mode, hoverinfo: "skip", x: [], y: [] };
      const meta = source.meta || {};
      if (source.line) {
        const dash = String(source.line.dash || "solid").replace(/[\d.]+(?=px)/g, (n) => round(n * scale));
        trace.line = { width: source.line.width * scale, dash, color: colours.colour(meta.line) };
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

  function mark(trace, x, y, symbol, size, color, scale) {
    trace.x.push(x);
    trace.y.push(y);
    trace.marker.symbol.push(symbol);
    trace.marker.size.push(size * scale);
    trace.marker.color.push(color);
    trace.marker.line.color.push(color);
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

  /* -------------------------------------------------------------------------------------------------- tree */

  /** Heights after the reader opened folds: the same rule as specviz/figures/layout.py, for another set of nodes. */
  function place(tree, geometry, open) {
    const size = tree.parent.length;
    const children = Array.from({ length: size }, () => []);
    const visible = tree.y.map((y, node) => y !== null || open.has(node));
    let all = 0;
    for (let node = 1; node < size; node++) {
      visible[node] = visible[node] && visible[tree.parent[node]];
      children[tree.parent[node]].push(node);
      all += visible[node] ? 1 : 0;
    }
    const extras = new Map();
    for (const card of tree.bonus) extras.set(card.node, [...(extras.get(card.node) || []), card.verifier]);
    const y = new Array(size).fill(null), bonus = {}, stubs = [];
    let cursor = geometry.top, columns = 1;
    const stack = [[0, 0]];
    while (stack.length) {
      const frame = stack[stack.length - 1];
      const node = frame[0], shown = children[node].filter((child) => visible[child]);
      if (frame[1] < shown.length) {
        stack.push([shown[frame[1]++], 0]);
        continue;
      }
      stack.pop();
      const depth = Math.round((tree.x[node] - tree.x[0]) / geometry.column);
      const stub = shown.length < children[node].length, names = extras.get(node) || [];
      const height = geometry.extraRow * (names.length + (stub ? 1 : 0));
      columns = Math.max(columns, depth + 1 + (stub ? 1 : 0));
      let top = cursor;
      if (shown.length) {
        y[node] = (y[shown[0]] + y[shown[shown.length - 1]]) / 2;
        cursor += height;
      } else {
        const own = Math.max(geometry.row, height);
        y[node] = cursor + own / 2;
        top = cursor + (own - height) / 2;
        cursor += own;
      }
      if (stub) {
        stubs.push([node, top + geometry.extraRow / 2]);
        top += geometry.extraRow;
      }
      names.forEach((name, i) => (bonus[name] = top + geometry.extraRow * (i + 0.5)));
    }
    return {
      y, stubs, columns, folded: size - 1 - all, bonus: tree.bonus.map((c) => Object.assign({}, c, { y: bonus[c.verifier] })),
      width: 2 * geometry.left + geometry.column * columns + geometry.bonusWidth, height: Math.floor(cursor) + 6,
    };
  }

  /** How many nodes hide behind the stub of `parent`. */
  function hiddenBelow(tree, y, parent) {
    let count = 0;
    const below = new Set();
    for (let node = 1; node < tree.parent.length; node++) {
      const up = tree.parent[node];
      if (y[node] === null && (up === parent || below.has(up))) {
        below.add(node);
        count++;
      }
    }
    return [count, below];
  }

  /**
   * Draw one step's tree.
   * view: {lens, shown: Set of verifier names, selected: node or null, open: Set of unfolded nodes, scale}
   * Returns what can be hit: [{left, top, right, bottom, node | stub | bonus}].
   */
  function drawTree(div, run, frame, view) {
    const g = run.geometry, tree = frame.tree, colours = palette(div), scale = view.scale;
    const spot = view.open.size ? place(tree, g, view.open) : tree;
    const byName = traces(run.figures.tree, colours, scale);
    const verifiers = run.verifiers.filter((v) => view.shown.has(v.name) && tree.states[v.name]);
    const halfWidth = g.cardWidth / 2, halfHeight = g.cardHeight / 2, hits = [];
    const pens = new Map();
    const pen = (name) => pens.get(name) || pens.set(name, new Pen()).get(name);
    const lens = tree.states[view.lens] || "";
    const barRoom = g.cardWidth - 20 - PIP * Math.max(3, verifiers.length);

    const onPath = verifiers.map((v) => new Set(frame.verdicts.find((d) => d.verifier === v.name).path));
    for (let node = 0; node < spot.y.length; node++) {
      const y = spot.y[node];
      if (y === null) continue;
      const x = tree.x[node], left = x - halfWidth, state = lens[node] || ".";
      const taken = verifiers.some((v) => tree.states[v.name][node] === "a");
      const look = state === "a" ? "accepted" : state === "r" ? "rejected" : state === "p" || taken ? "passed" : "unexamined";
      pen(`card.${look}`).rect(left, y - halfHeight, g.cardWidth, g.cardHeight);
      hits.push({ left, top: y - halfHeight, right: left + g.cardWidth, bottom: y + halfHeight, node });
      const strong = state !== "." || taken;
      write(byName.get("token"), left + 5, node ? y - 7 : y, tree.label[node], colours.colour(strong ? "ink" : "muted"));
      if (node) {
        write(byName.get("digits"), x + halfWidth - 4, y - 7, tree.digits[node], colours.colour(strong ? "ink" : "muted"));
        pen("bar.rail").rect(left + 8, y + 2, barRoom, BAR);
        pen("bar.rail").rect(left + 8, y + 8, barRoom, BAR);
        if (tree.draft[node]) pen("bar.draft").rect(left + 8, y + 2, round((barRoom * tree.draft[node]) / 1000), BAR);
        if (tree.target[node]) pen("bar.target").rect(left + 8, y + 8, round((barRoom * tree.target[node]) / 1000), BAR);
        edge(node, x, y, left);
        pips(node, x + halfWidth - 9, y + 7);
        if (state === "r") mark(byName.get("cross"), left - 5, y, "x", 9, colours.colour("bad"), scale);
      }
      if (node === view.selected) pen("selected").rect(left - 4, y - halfHeight - 3, g.cardWidth + 8, g.cardHeight + 6);
    }

    function edge(node, x, y, left) {
      const parent = tree.parent[node], from = tree.x[parent] + halfWidth, height = spot.y[parent];
      pen(`edge.${tree.edge[node]}`).curve(from, height, left, y, 0).lift();
      const users = verifiers.filter((_, i) => onPath[i].has(node));
      users.forEach((v, i) => {
        pen(`path.${v.name}`).curve(from, height, left, y, (i - (users.length - 1) / 2) * 4.4).lift();
      });
    }

    function pips(node, right, y) {
      verifiers.forEach((v, i) => {
        const state = tree.states[v.name][node], x = right - PIP * (verifiers.length - 1 - i);
        const colour = colours.colour(state === "." ? "line-faint" : v.role);
        const shape = { a: ["circle", 7], r: ["x-thin", 6.5], p: ["circle-open", 6], ".": ["circle", 1.6] }[state];
        mark(byName.get("pip"), x, y, shape[0], shape[1], colour, scale);
      });
    }

    const bonusLeft = g.left + g.column * spot.columns;
    for (const card of spot.bonus) {
      const v = verifiers.find((known) => known.name === card.verifier);
      if (!v || spot.y[card.node] === null || card.y === undefined) continue;
      const from = tree.x[card.node] + halfWidth;
      pen(`path.${v.name}`).curve(from, spot.y[card.node], tree.x[card.node] + g.column - halfWidth, card.y, 0).to(bonusLeft, card.y).lift();
      pen(`bonus.${v.name}`).rect(bonusLeft, card.y - 9.5, g.bonusWidth, 19);
      hits.push({ left: bonusLeft, top: card.y - 10, right: bonusLeft + g.bonusWidth, bottom: card.y + 10, bonus: v.name });
      write(byName.get("bonus.token"), bonusLeft + 5, card.y, card.label, colours.colour("ink"));
      write(byName.get("bonus.note"), bonusLeft + g.bonusWidth - 5, card.y, card.note, colours.colour("muted"));
    }
    for (const [parent, y] of spot.stubs) {
      const left = tree.x[parent] + g.column - halfWidth, [count] = hiddenBelow(tree, spot.y, parent);
      pen("edge.stub").curve(tree.x[parent] + halfWidth, spot.y[parent], left, y, 0).lift();
      pen("card.stub").rect(left, y - 9, 96, 18);
      hits.push({ left, top: y - 9, right: left + 96, bottom: y + 9, stub: parent });
      write(byName.get("digits"), left + 90, y, `+ ${count} folded`, colours.colour("muted"));
    }
    if (tree.parts !== null && verifiers.length > 1 && spot.y[tree.parts] !== null)
      mark(byName.get("parting"), tree.x[tree.parts] + halfWidth, spot.y[tree.parts], "diamond", 10, colours.colour("ink"), scale);
    const titles = ["last token", ...Array.from({ length: spot.columns - 1 }, (_, i) => `depth ${i + 1}`)];
    titles.forEach((title, i) => write(byName.get("title"), g.left + g.column * i, 12, title, colours.colour("muted")));
    write(byName.get("title"), bonusLeft - 3, 12, "bonus token", colours.colour("muted"));

    for (const [name, drawn] of pens) Object.assign(byName.get(name), { x: drawn.x, y: drawn.y });
    paint(div, run.figures.tree, byName, spot.width, spot.height, scale);
    colours.done();
    return { hits, width: spot.width, height: spot.height, folded: spot.folded };
  }

  /* ------------------------------------------------------------------------------------------------ caches */

  const CELL = 50, CELL_WIDTH = 46, CELL_HEIGHT = 40, STRIP = 150, LONG_RUN = 6, MANY = 64;

  /** Both models' strips: the slots written in this step above, what is left of them below. */
  function drawCache(div, run, frame, view) {
    const colours = palette(div), scale = view.cacheScale || 1, byName = traces(run.figures.cache, colours, scale);
    const pens = new Map(), hits = [];
    const pen = (name) => pens.get(name) || pens.set(name, new Pen()).get(name);
    let width = 0;
    ["target", "draft"].forEach((model, m) => {
      const cache = frame.caches[model], top = m * (STRIP + 26) + 22, below = top + 92;
      const ink = colours.colour("ink"), muted = colours.colour("muted");
      write(byName.get("title"), 2, top - 13, `<b>${model}</b> with the tree: ${cache.slot.length} slots written`, ink);
      write(byName.get("title"), 2, below - 13, `${model} after the update: ${cache.after.length} kept, length ${cache.length}`, ink);
      const xs = columnsOf(cache), shift = CELL + 18;
      const cell = (x, y, look, lines, hit) => {
        pen(`slot.${look}`).rect(x, y, CELL_WIDTH, CELL_HEIGHT);
        const tint = look === "dropped" ? muted : ink;
        write(byName.get("number"), x + 2, y + 8, lines[0], muted);
        write(byName.get("token"), x + 2, y + 20, lines[1], tint);
        write(byName.get("where"), x + 2, y + 32, lines[2], muted);
        if (hit) hits.push(Object.assign({ left: x, top: y, right: x + CELL_WIDTH, bottom: y + CELL_HEIGHT }, hit));
      };
      for (const y of [top, below]) cell(4, y, "before", ["slots", `0–${Math.max(0, cache.before - 1)}`, cache.before ? "before" : "none"], null);
      cache.slot.forEach((slot, i) => {
        if (xs.at[i] === null) return;
        const x = shift + xs.at[i] * CELL, node = cache.node[i];
        const look = { k: "kept", m: "moved", d: "dropped" }[cache.state[i]];
        cell(x, top, look, [`#${slot}`, cache.label[i], `p${cache.position[i]}${node === null ? "" : ` n${node}`}`], { slot: [model, i], node });
        if (node !== null && node === view.selected) pen("selected").rect(x - 2, top - 2, CELL_WIDTH + 4, CELL_HEIGHT + 4);
        width = Math.max(width, x + CELL);
      });
      for (const [at, count] of xs.gaps) write(byName.get("number"), shift + at * CELL, top + 20, `… ${count}`, muted);
      cache.after.forEach(([slot, index, print, good], k) => {
        const x = shift + k * CELL, node = index === null ? null : cache.node[index];
        const look = !good ? "wrong" : cache.state[index] === "m" ? "moved" : "kept";
        cell(x, below, look, [`#${slot}`, index === null ? "?" : cache.label[index], good ? `= ${print.slice(0, 5)}` : "≠ differs"], { slot: [model, index], node });
        if (index !== null && xs.at[index] !== null) {
          const from = shift + xs.at[index] * CELL + CELL_WIDTH / 2;
          vertical(pen(cache.state[index] === "m" ? "move" : "stay"), from, top + CELL_HEIGHT, x + CELL_WIDTH / 2, below);
        }
        if (node !== null && node === view.selected) pen("selected").rect(x - 2, below - 2, CELL_WIDTH + 4, CELL_HEIGHT + 4);
        width = Math.max(width, x + CELL);
      });
    });
    const height = 2 * (STRIP + 26) - 8;
    width = Math.max(width + 6, 330);
    for (const [name, drawn] of pens) Object.assign(byName.get(name), { x: drawn.x, y: drawn.y });
    paint(div, run.figures.cache, byName, width, height, scale);
    colours.done();
    return { hits, width, height };
  }

  /** Column of every written slot; long runs of dropped slots of a large tree share one column. */
  function columnsOf(cache) {
    const at = [], gaps = [];
    let next = 0, run = 0;
    cache.slot.forEach((_, i) => {
      run = cache.state[i] === "d" ? run + 1 : 0;
      if (cache.slot.length > MANY && run > LONG_RUN) {
        at.push(null);
        if (run === LONG_RUN + 1) gaps.push([next++, 1]);
        else gaps[gaps.length - 1][1]++;
      } else at.push(next++);
    });
    return { at, gaps };
  }

  function vertical(drawn, x0, y0, x1, y1) {
    for (let i = 0; i <= SAMPLES; i++) {
      const t = i / SAMPLES, s = t * t * (3 - 2 * t);
      drawn.to(round(x0 + (x1 - x0) * s), round(y0 + (y1 - y0) * t));
    }
    drawn.lift();
  }

  ns.scene = { drawTree, drawCache, place, hiddenBelow };
})(window);
