/* The attention mask that was passed against the one ancestry demands, and positions against length + depth.
 *
 * Expands the columns of specviz/figures/mask.py: `up` gives the line of descent that is demanded, `leaks` and `missing`
 * are where the observed mask differs from it. Rows are written slots, columns what they may look at.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el, token, table, cells, nodeButton } = ns.panels;
  const MOST_ROWS = 288, FOLDED_ROWS = 120, READABLE = 9;

  /** Per row: the set of columns it must see (null where the tree does not tell), leaks, missing, and what is due. */
  function rowsOf(cache) {
    const mask = cache.mask, must = [];
    mask.up.forEach((up, i) => {
      if (up === null) return must.push(null);
      must.push(new Set(up >= 0 && must[up] ? [...must[up], i] : [i]));
    });
    const lay = (told) => new Map(told.map(([row, ...ends]) => {
      const columns = new Set();
      for (let i = 0; i < ends.length; i += 2) for (let column = ends[i]; column <= ends[i + 1]; column++) columns.add(column);
      return [row, columns];
    }));
    const leaks = lay(mask.leaks), missing = lay(mask.missing), unknown = lay(mask.unknown);
    const due = new Map(mask.due), earlier = new Map(mask.earlier), none = new Set();
    return mask.up.map((_, i) => ({
      must: must[i], leaks: leaks.get(i) || none, missing: missing.get(i) || none, unknown: unknown.get(i) || none,
      due: due.has(i) ? due.get(i) : null, earlier: earlier.has(i) ? earlier.get(i) : null,
      wrong: leaks.has(i) || missing.has(i) || due.has(i) || earlier.has(i), cut: mask.cut !== null && i >= mask.cut,
    }));
  }

  /** Rows that are drawn: all, or of a large tree those in sight in the tree and the first wrong ones. */
  function chosenRows(cache, rows, frame, view, selected) {
    if (rows.length <= MOST_ROWS) return rows.map((_, i) => i);
    const chosen = new Set();
    const add = (i) => {
      const line = rows[i].must ? [...rows[i].must] : [i];
      for (const at of [...line, ...[...rows[i].leaks].slice(0, 2)]) if (chosen.size < FOLDED_ROWS) chosen.add(at);
    };
    if (selected !== null && cache.node.includes(selected)) add(cache.node.indexOf(selected));
    rows.forEach((row, i) => row.wrong && chosen.size < FOLDED_ROWS / 2 && add(i));
    rows.forEach((_, i) => {
      const node = cache.node[i];
      if (node === null || frame.tree.y[node] !== null || view.open.has(node)) add(i);
    });
    return [...chosen].sort((a, b) => a - b);
  }

  const sizeOf = (count) => (count <= 40 ? 15 : count <= 70 ? 10 : count <= 130 ? 6 : count <= 200 ? 4.4 : 3.4);

  function drawMask(div, run, frame, model, rows, chosen, zoom) {
    const cache = frame.caches[model], colours = ns.scene.palette(div), byName = ns.scene.traces(run.figures.mask, colours, 1), labels = new ns.Labels(), hits = [], same = [];
    const size = sizeOf(chosen.length) * zoom, readable = size >= READABLE, inset = size >= 6 ? 1.2 : 0.3;
    const label = readable ? 92 : 40, early = readable ? 44 : 14, left = label + early + 4, top = 18, count = chosen.length;
    const at = new Map(chosen.map((row, k) => [row, k])), pens = new Map();
    const pen = (name) => pens.get(name) || pens.set(name, new ns.scene.Pen()).get(name);
    const every = Math.ceil(24 / size), spread = Math.ceil((readable ? 24 : 34) / size);

    pen("grid").rect(left, top, count * size, count * size);
    pen("grid").rect(label, top, early, count * size);
    if (readable)
      for (let k = 1; k < count; k++) {
        pen("rule").to(left, top + k * size).to(left + count * size, top + k * size).lift();
        pen("rule").to(left + k * size, top).to(left + k * size, top + count * size).lift();
      }
    labels.write("column", label + early / 2, 8, readable ? (cache.before ? `#0–${cache.before - 1}` : "none") : "old", "muted");

    const run_ = (name, y, columns) => {
      // Neighbouring cells of one kind are one rectangle: a mask that leaks everywhere stays cheap to draw.
      const places = columns.map((c) => at.get(c)).filter((k) => k !== undefined).sort((a, b) => a - b);
      for (let i = 0, first = 0; i < places.length; i++) {
        if (!readable && i + 1 < places.length && places[i + 1] === places[i] + 1) continue;
        pen(name).rect(left + places[first] * size + inset, y + inset, (places[i] - places[first] + 1) * size - 2 * inset, size - 2 * inset);
        first = i + 1;
      }
      if (readable && name !== "cell.seen")
        for (const k of places)
          labels.write("glyph", left + (k + 0.5) * size, y + size / 2, { "cell.leak": "+", "cell.missing": "−", "cell.unknown": "?" }[name], name === "cell.leak" ? "panel" : name === "cell.missing" ? "bad" : "muted");
    };

    chosen.forEach((index, k) => {
      const row = rows[index], y = top + k * size, node = cache.node[index];
      if (node !== null) hits.push({ left: 3, top: y + 3, right: left + count * size - 3, bottom: y + size - 3, node });
      if (row.must && !row.cut) run_("cell.seen", y, [...row.must].filter((c) => !row.missing.has(c)));
      run_("cell.leak", y, [...row.leaks]);
      run_("cell.missing", y, [...row.missing]);
      run_("cell.unknown", y, [...row.unknown]);
      const fits = row.earlier === null;
      if (fits && cache.before && readable) pen("cell.seen").rect(label + inset, y + inset, early - 2 * inset, size - 2 * inset);
      else if (fits && cache.before) same.push(k);
      else if (!fits) pen(row.earlier > cache.before ? "cell.leak" : "cell.missing").rect(label + inset, y + inset, early - 2 * inset, size - 2 * inset);
      if (readable) {
        const who = node === null ? { c: "late ", p: "pruned " }[cache.role[index]] : `n${node} `;
        labels.write("label", 1, y + size / 2, who + cache.label[index], row.wrong ? "bad" : "");
        labels.write("glyph", label + early / 2, y + size / 2, fits ? `${cache.before}` : `${row.earlier}/${cache.before}`, fits || row.earlier > cache.before ? "panel" : "bad");
        labels.write("number", left + count * size + 4, y + size / 2, positionOf(frame, cache, row, index), row.due === null ? "muted" : "bad");
      } else if (k % every === 0) labels.write("number", 1, y + size / 2, node === null ? "late" : `n${node}`, "muted");
      if (!readable && row.wrong) pen("cell.leak").rect(left + count * size + 4, y, 10, Math.max(1.5, size - 1));
      if (k % spread === 0 && (readable || k)) labels.write("column", left + (k + 0.5) * size, 8, readable ? `${cache.slot[index]}` : node === null ? "" : `n${node}`, "muted");
    });
    for (let i = 0, first = 0; i < same.length; i++) {
      if (same[i + 1] === same[i] + 1) continue;
      pen("cell.seen").rect(label + inset, top + same[first] * size, early - 2 * inset, (same[i] - same[first] + 1) * size);
      first = i + 1;
    }
    for (const [name, drawn] of pens) Object.assign(byName.get(name), { x: drawn.x, y: drawn.y });
    ns.scene.paint(div, run.figures.mask, byName, left + count * size + (readable ? 96 : 20), top + count * size + 4, 1);
    labels.lay(div);
    colours.done();
    const find = (x, y) => {
      const k = Math.floor((y - top) / size), c = Math.floor((x - left) / size);
      if (k < 0 || k >= count) return null;
      return { row: chosen[k], column: c >= 0 && c < count ? chosen[c] : x >= label && x < label + early ? -1 : null };
    };
    return { find, hits };
  }

  function positionOf(frame, cache, row, index) {
    const node = cache.node[index], position = cache.position[index];
    if (node === null) return cache.role[index] === "p" ? `p${position} ?` : row.due === null ? `p${position} ✓` : `p${position} not ${row.due} ✕`;
    return `p${position} ${row.due === null ? "=" : "not"} ${frame.context - 1} + ${frame.nodes.depth[node]} ${row.due === null ? "✓" : "✕"}`;
  }

  const nameOf = (cache, index) => [cache.node[index] === null ? `slot ${cache.slot[index]} ` : `node ${cache.node[index]} `, token(cache.text[index])];

  /** One cell in words. */
  function readCell(frame, cache, rows, found) {
    const row = rows[found.row], c = found.column;
    if (c === null) return [...nameOf(cache, found.row), ` · ${positionOf(frame, cache, row, found.row)}`];
    if (c === -1) return [...nameOf(cache, found.row), ` sees ${row.earlier === null ? cache.before : row.earlier} of ${cache.before} settled slots`, row.earlier === null ? " ✓" : " ✕"];
    const said = row.cut ? [" and ", ": not carried"] : row.must === null ? [row.unknown.has(c) ? " sees " : " does not see ", "; pruned: what it must see is not recorded"]
      : row.leaks.has(c) ? [" sees ", ", which is no ancestor: a leak ✕"]
        : row.missing.has(c) ? [" does not see ", ", its ancestor ✕"]
          : row.must.has(c) ? [" sees ", c === found.row ? ", itself ✓" : ", its ancestor ✓"] : [" does not see ", ", no ancestor ✓"];
    return [...nameOf(cache, found.row), said[0], ...nameOf(cache, c), said[1]];
  }

  function maskTable(frame, model, act) {
    const cache = frame.caches[model], rows = rowsOf(cache);
    const names = (set) => [...set].sort((a, b) => a - b).map((i) => (cache.node[i] === null ? `#${cache.slot[i]}` : String(cache.node[i]))).join(", ") || "–";
    const lines = rows.map((row, i) => el("tr", { class: row.wrong ? "sv-bad" : null }, cells([
      cache.node[i] === null ? `#${cache.slot[i]}` : nodeButton(cache.node[i], String(cache.node[i]), act), token(cache.text[i]),
      row.earlier === null ? `all ${cache.before}` : `${row.earlier} of ${cache.before} ✕`,
      row.cut ? "not carried" : row.must ? names([...row.must].filter((c) => !row.missing.has(c)).concat([...row.leaks])) : names(row.unknown), row.must ? names(row.must) : "not recorded",
      row.leaks.size ? `${names(row.leaks)} ✕` : "–", row.missing.size ? `${names(row.missing)} ✕` : "–",
      positionOf(frame, cache, row, i),
    ])));
    return [el("h4", {}, model), table(`Mask and positions of the ${model}`, ["Row (node)", "Token", "Settled slots seen", "Sees nodes", "Must see", "Leaks", "Missing", "Position = length + depth"], lines)];
  }

  const built = new WeakMap();

  /** What goes with one model's picture, bound to it once. */
  function partsOf(ui, model, picture) {
    if (built.has(picture)) return built.get(picture);
    const parts = { zoom: 1, picture, find: () => null };
    built.set(picture, parts);
    for (const button of ui[`maskHead.${model}`].parentElement.querySelectorAll("button"))
      button.onclick = () => ((parts.zoom = Math.max(1, Math.min(5, parts.zoom * Number(button.value)))), parts.again && parts.again());
    const spot = (event) => {
      const box = picture.getBoundingClientRect();
      return parts.find(event.clientX - box.left, event.clientY - box.top);
    };
    picture.addEventListener("pointermove", (event) => {
      const found = spot(event);
      picture.style.cursor = found ? "pointer" : "";
      if (found) parts.read(found);
    });
    picture.addEventListener("pointerleave", () => parts.leave && parts.leave());
    picture.addEventListener("click", (event) => spot(event) && parts.choose(spot(event)));
    return parts;
  }

  function draw(ui, state, frame, view, act) {
    const run = state.run;
    state.maskHits = {};
    for (const model of ["target", "draft"]) {
      const cache = frame.caches[model], rows = rowsOf(cache), chosen = chosenRows(cache, rows, frame, view, state.selected), wrong = cache.mask.wrong;
      const parts = partsOf(ui, model, ui[`mask.${model}`]);
      ui[`maskHead.${model}`].replaceChildren(`${model}: ${rows.length} rows `, wrong ? el("span", { class: "sv-bad" }, `✕ ${wrong} wrong`) : el("span", { class: "sv-good" }, "✓ mask and positions fit"));
      ui[`maskNotes.${model}`].replaceChildren(...[
        rows.length ? null : "This model wrote no slot in this step.",
        chosen.length < rows.length ? `${chosen.length} of ${rows.length} rows and columns are drawn: wrong ones and those in sight in the tree. The table has all.` : null,
        cache.mask.cut !== null ? `So many cells are wrong that rows after ${cache.mask.cut} are not carried; they are left empty.` : null,
      ].filter(Boolean).map((text) => el("p", { class: "sv-note" }, text)));
      parts.picture.parentElement.hidden = !rows.length;
      parts.picture.setAttribute("aria-label", `Mask of the ${model}: ${wrong} of ${rows.length} rows are wrong; the table below has every row.`);
      ui[`maskSaid.${model}`].replaceChildren(rows.length ? "Point at a cell to read it; click to select the row's node." : "");
      if (!rows.length) continue;
      const drawn = drawMask(parts.picture, run, frame, model, rows, chosen, parts.zoom);
      parts.find = drawn.find;
      state.maskHits[model] = drawn.hits;
      const nodeOf = (found) => cache.node[found.row];
      parts.read = (found) => {
        ui[`maskSaid.${model}`].replaceChildren(...readCell(frame, cache, rows, found));
        state.links.light(nodeOf(found) === null ? null : { node: nodeOf(found) });
      };
      parts.leave = () => state.links.light(null);
      parts.choose = (found) => nodeOf(found) !== null && act.select(nodeOf(found));
      parts.again = () => draw(ui, state, frame, view, act);
    }
  }

  ns.masks = { draw, maskTable, rowsOf };
})(window);
