/* The KV cache of both models in three strips each: before the step, with the tree, after the update.
 *
 * Expands the columns of specviz/figures/cache.py. A slot keeps its column in all three strips, so a move is a slanted
 * line. Fates differ in frame, hatching and word; what does not fit is red, framed and says what it holds instead.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el, token, table, cells, nodeButton } = ns.panels;
  const CELL = 56, WIDTH = 51, HEIGHT = 53, SHORT = 28, BLOCK = 70, GAP = 36, LONG_RUN = 6, MANY = 64, NARROW = 560;
  const FATES = { k: "kept", m: "moved", d: "dropped", l: "cut off" };

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
    return { at, gaps, count: next };
  }

  /** Written slots that had to be kept and are not where they had to be -> the slot that waits for them. */
  const misplacedIn = (cache) => new Map(cache.after.filter((row) => !row[3] && row[1] !== null).map((row) => [row[1], row[0]]));

  /** What a slot that is left says of itself. */
  function verdictOf(cache, [, due, , good, held]) {
    if (good) return cache.state[due] === "m" ? `← #${cache.slot[due]}` : "= kept";
    if (held === null) return "✕ unknown";
    return cache.node[held] === null ? `✕ has #${cache.slot[held]}` : `✕ has n${cache.node[held]}`;
  }

  function drawStrips(div, run, frame) {
    const colours = ns.scene.palette(div), byName = ns.scene.traces(run.figures.cache, colours, 1), labels = new ns.Labels();
    const pens = new Map(), hits = [];
    const pen = (name) => pens.get(name) || pens.set(name, new ns.scene.Pen()).get(name);
    let width = 330, top = 0;

    function cell(x, y, look, lines, hit, height, odd) {
      const tall = height || HEIGHT, tint = look === "wrong" || odd ? "bad" : ["dropped", "stale"].includes(look) ? "muted" : "";
      pen(`slot.${look}`).rect(x, y, WIDTH, tall);
      if (look === "dropped") pen("strike").to(x, y + tall).to(x + WIDTH, y).lift();
      if (look === "stale") for (const part of [1, 2, 3]) pen("hatch").to(x, y + (tall * part) / 3).to(x + (WIDTH * part) / 3, y).lift();
      labels.write("number", x + 3, y + 8, lines[0], "muted");
      labels.write("token", x + 3, y + 20, lines[1], tint);
      if (lines[2]) labels.write("number", x + 3, y + 32, lines[2], look === "wrong" ? "bad" : "muted");
      if (lines[3]) labels.write("fate", x + 3, y + 44, lines[3], tint);
      if (hit) hits.push(Object.assign({ left: x, top: y, right: x + WIDTH, bottom: y + tall }, hit));
      width = Math.max(width, x + CELL + 4);
    }
    function settled(cache, y, height) {
      // On a narrow screen the slots of this step are what the room is for.
      const texts = root.innerWidth < NARROW ? cache.settled.slice(-1) : cache.settled, named = texts.length, rest = cache.before - named;
      pen("slot.before").rect(4, y, BLOCK - 9, height);
      labels.write("number", 7, y + 8, rest > 0 ? `#0 – #${rest - 1}` : "no slot", "muted");
      labels.write("fate", 7, y + 20, rest > 0 ? "settled" : "before", "muted");
      texts.forEach(([text, left], i) => {
        const short = text === null ? "?" : [...text].slice(0, 6).join("") + ([...text].length > 6 ? "…" : "");
        const wrong = left !== null, fate = wrong ? `✕ step ${left + 1}` : "settled";
        cell(BLOCK + i * CELL, y, "before", [`#${rest + i}`, short, height > SHORT ? (wrong ? "not due" : `p${rest + i}`) : null, height > SHORT ? fate : null], null, height, wrong);
      });
      return BLOCK + named * CELL;
    }

    for (const model of ["target", "draft"]) {
      const cache = frame.caches[model], before = top + 18, tree = before + SHORT + 20, after = tree + HEIGHT + GAP;
      const left = settled(cache, before, SHORT), xs = columnsOf(cache), due = new Map(cache.mask.due);
      const misplaced = misplacedIn(cache), strays = new Set(cache.after.filter((row) => !row[3] && row[4] !== null).map((row) => row[4]));
      const title = (y, text) => labels.write("title", 2, y, text);
      title(before - 9, `${model} before the step: length ${cache.before}`);
      title(tree - 9, cache.slot.length ? `${model} with the tree: ${cache.slot.length} slots written` : `${model}: ran nothing in this step`);
      const stale = Math.max(0, cache.before + cache.slot.length - cache.length);
      const kept = cache.after.filter((row) => row[4] !== null).length, unknown = cache.after.length - kept;
      const wrong = `${strays.size ? `, ${strays.size} of them not due there` : ""}${unknown ? `, ${unknown} left with what no slot of this step held` : ""}`;
      title(after - 9, `${model} after the update: ${kept} kept${wrong}, ${stale} stale, length ${cache.length}`);

      pen("slot.free").rect(left, before, Math.max(1, xs.count) * CELL - 5, SHORT);
      labels.write("fate", left + 6, before + SHORT / 2, "free", "muted");
      settled(cache, tree, HEIGHT);
      settled(cache, after, HEIGHT);

      cache.slot.forEach((slot, i) => {
        if (xs.at[i] === null) return;
        const x = left + xs.at[i] * CELL, node = cache.node[i], place = misplaced.get(i), stray = strays.has(i), wrong = due.has(i) || place !== undefined || stray;
        const where = due.has(i) ? `p${cache.position[i]} not ${due.get(i)}` : `p${cache.position[i]}${node === null ? { c: " late", p: " pruned" }[cache.role[i]] : ` n${node}`}`;
        const fate = place !== undefined ? `due #${place}` : stray ? "✕ stays" : cache.state[i] === "m" ? `→ #${cache.to[i]}` : FATES[cache.state[i]];
        cell(x, tree, wrong ? "wrong" : { k: "kept", m: "moved", d: "dropped", l: "dropped" }[cache.state[i]], [`#${slot}`, cache.label[i], where, fate], { slot: [model, i], node });
      });
      for (const [at, count] of xs.gaps) labels.write("fate", left + at * CELL, tree + 24, `… ${count}`, "muted");
      for (const [at] of xs.gaps) labels.write("fate", left + at * CELL, tree + 38, "dropped", "muted");

      cache.after.forEach((row, k) => {
        const [slot, index, , good, held] = row, x = left + k * CELL, shown = good ? index : held;
        const node = shown === null ? null : cache.node[shown];
        const want = index === null ? "nothing due" : cache.node[index] === null ? "due: late" : `due: n${cache.node[index]}`;
        const here = good ? `p${cache.position[index]}${node === null ? "" : ` n${node}`}` : want;
        const look = !good ? "wrong" : cache.state[index] === "m" ? "moved" : "kept";
        cell(x, after, look, [`#${slot}`, shown === null ? "?" : cache.label[shown], here, verdictOf(cache, row)], { slot: [model, shown], node });
        if (good && xs.at[index] !== null) fall(pen(look === "moved" ? "move" : "stay"), left + xs.at[index] * CELL + WIDTH / 2, tree + HEIGHT, x + WIDTH / 2, after);
      });
      remains(cache, left, after, stale);
      top = after + HEIGHT + 18;
    }

    /** Slots beyond the length that still hold what the forward wrote. */
    function remains(cache, left, y, stale) {
      const first = cache.length - cache.before;
      if (!stale) return;
      if (cache.slot.length > MANY) {
        pen("slot.stale").rect(left + first * CELL, y, 3 * CELL, HEIGHT);
        labels.write("fate", left + first * CELL + 4, y + 20, `#${cache.length} – #${cache.before + cache.slot.length - 1}`, "muted");
        labels.write("fate", left + first * CELL + 4, y + 36, `${stale} stale slots`, "muted");
        width = Math.max(width, left + (first + 3) * CELL + 8);
        return;
      }
      for (let i = first; i < cache.slot.length; i++)
        cell(left + i * CELL, y, "stale", [`#${cache.slot[i]}`, cache.label[i], cache.node[i] === null ? "" : `n${cache.node[i]}`, "stale"], null);
    }

    for (const [name, drawn] of pens) Object.assign(byName.get(name), { x: drawn.x, y: drawn.y });
    ns.scene.paint(div, run.figures.cache, byName, width, top, 1);
    labels.lay(div);
    colours.done();
    return hits;
  }

  /** A line from a slot down to the slot it was kept in, level at neither end. */
  function fall(pen, x0, y0, x1, y1) {
    for (let i = 0; i <= 10; i++) {
      const t = i / 10, s = t * t * (3 - 2 * t);
      pen.to(ns.scene.round(x0 + (x1 - x0) * s), ns.scene.round(y0 + (y1 - y0) * t));
    }
    pen.lift();
  }

  /** What is wrong in the caches of a step, or that nothing is. */
  function tellFaults(box, run, frame, tale, act) {
    const models = ["target", "draft"], audited = models.filter((m) => frame.caches[m].audit);
    const faults = models.flatMap((model) => frame.caches[model].faults.map((fault) => `${model}: ${fault}`));
    const kinds = Object.fromEntries(tale.found.map((one) => [one.name, one.kind])), mine = models.some((model) => ["first", "again"].includes(kinds[`${model} cache`]));
    const begun = [...new Set(models.map((model) => tale.before[`${model} cache`]).filter((step) => step !== undefined))];
    const back = begun.flatMap((step) => [" ", el("button", { type: "button", class: "sv-node", onclick: () => act.show(step) }, `step ${step + 1}`)]);
    box.className = faults.length ? (mine ? "sv-alarm" : "sv-alarm sv-after") : "sv-fine";
    const head = !mine ? "↳ This step's own update fits, but the cache is still what an earlier step left wrong:"
      : begun.length ? "✕ This step's caches are not what the verdict demands, and they were not before it:" : "✕ This step's caches are not what the verdict demands. It is the first such step.";
    const said = ["✓ Every kept slot has the fingerprint it had after the forward; positions and masks fit the tree."];
    for (const model of audited) said.push(` ${model} within ${ns.panels.digits(frame.caches[model].audit.worst, 2)} of a recompute.`);
    if (begun.length) said.push(" An earlier step left these caches wrong:", ...back);
    box.replaceChildren(...(faults.length ? [el("b", {}, head), ...back, el("ul", {}, faults.map((fault) => el("li", {}, fault)))] : said));
  }

  function slotTable(frame, model, act) {
    const c = frame.caches[model], due = new Map(c.mask.due), misplaced = misplacedIn(c), strays = new Set(c.after.filter((row) => !row[3] && row[4] !== null).map((row) => row[4]));
    const lines = c.slot.map((slot, i) => el("tr", { class: due.has(i) || misplaced.has(i) ? "sv-bad" : null }, cells([
      String(slot), token(c.text[i]), due.has(i) ? `${c.position[i]} ✕ not ${due.get(i)}` : String(c.position[i]),
      c.node[i] === null ? { c: "fed late", p: "pruned" }[c.role[i]] : nodeButton(c.node[i], `${c.node[i]}`, act),
      misplaced.has(i) ? `✕ due in slot ${misplaced.get(i)}` : strays.has(i) ? `✕ stays in slot ${c.to[i]}, not due` : c.state[i] === "m" ? `moved to ${c.to[i]}` : FATES[c.state[i]], c.prints[i],
    ])));
    const left = c.after.map(([slot, index, print, good, held]) => el("tr", { class: good ? null : "sv-bad" }, cells([
      String(slot), index === null ? "nothing" : token(c.text[index]), index === null || c.node[index] === null ? "–" : nodeButton(c.node[index], `${c.node[index]}`, act),
      print, good ? "✓ as kept" : held === null ? "✕ written in no slot of this step" : ["✕ is slot ", String(c.slot[held]), ", ", token(c.text[held])],
    ])));
    return [
      el("h4", {}, `${model}: written with the tree`),
      table(`Slots the ${model} wrote in this step`, ["Slot", "Token", "Position", "Node", "Fate", "Fingerprint after the forward"], lines),
      el("h4", {}, `${model}: left by the update`),
      table(`Slots of the ${model} after the update`, ["Slot", "Must hold", "Node", "Fingerprint after the update", "Holds"], left),
    ];
  }

  /** Fill the KV panel; returns what can be hit in its picture. */
  function draw(ui, run, frame, tale, act) {
    tellFaults(ui.faults, run, frame, tale, act);
    ui.cache.setAttribute("aria-label", `KV caches: target length ${frame.caches.target.length}, draft length ${frame.caches.draft.length}; the table below has every slot.`);
    return drawStrips(ui.cache, run, frame);
  }

  ns.caches = { draw, slotTable, columnsOf, FATES };
})(window);
