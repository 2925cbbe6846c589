/* The tree in sight as a picture: one SVG file that needs nothing else, or the same as PNG at twice the size.
 *
 * Plotly gives the shapes; the labels, which are elements over them, are written again as SVG text, each clipped to its box.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el } = ns.panels;
  const SVG = "http://www.w3.org/2000/svg", MARGIN = 10, PNG_SCALE = 2;
  const LABELS = ".sv-columnhead, .sv-cardtoken, .sv-carddigits, .sv-pips > i";

  function make(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
    if (text !== undefined) made.textContent = text;
    return made;
  }

  async function drawing(ui, title) {
    const box = ui.tree.getBoundingClientRect(), width = Math.ceil(box.width), height = Math.ceil(box.height);
    const source = await root.Plotly.toImage(ui.tree, { format: "svg", width, height });
    const shapes = new DOMParser().parseFromString(decodeURIComponent(source.slice(source.indexOf(",") + 1)), "image/svg+xml").documentElement;
    const whole = make("svg", { xmlns: SVG, width: width + 2 * MARGIN, height: height + 2 * MARGIN, viewBox: `${-MARGIN} ${-MARGIN} ${width + 2 * MARGIN} ${height + 2 * MARGIN}`, role: "img" });
    whole.append(make("title", {}, title), make("rect", { x: -MARGIN, y: -MARGIN, width: width + 2 * MARGIN, height: height + 2 * MARGIN, fill: getComputedStyle(ui.treeBox.closest(".sv-panel")).backgroundColor }));
    whole.append(document.importNode(shapes, true));
    for (const label of ui.layer.querySelectorAll(LABELS)) {
      const spot = label.getBoundingClientRect();
      if (!label.textContent || !spot.width) continue;
      const look = getComputedStyle(label), scale = label.offsetHeight ? spot.height / label.offsetHeight : state(ui), size = parseFloat(look.fontSize) * scale;
      const clip = make("svg", { x: spot.left - box.left, y: spot.top - box.top, width: spot.width + 1, height: spot.height, overflow: "hidden" });
      clip.append(make("text", { x: 0, y: spot.height / 2, "dominant-baseline": "central", "font-size": size.toFixed(2), "font-family": look.fontFamily.replace(/"/g, "'"), "font-weight": look.fontWeight, fill: look.color, opacity: faded(label, ui.layer), "xml:space": "preserve" }, label.textContent));
      whole.append(clip);
    }
    return { text: new XMLSerializer().serializeToString(whole), width: width + 2 * MARGIN, height: height + 2 * MARGIN };
  }

  const state = (ui) => Number((/scale\(([\d.]+)\)/.exec(ui.layer.style.transform) || [0, 1])[1]);

  /** Opacity with that of the elements around it. */
  function faded(label, layer) {
    let opacity = 1;
    for (let at = label; at && at !== layer; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    return opacity;
  }

  function save(name, blob) {
    const address = URL.createObjectURL(blob), link = el("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  async function png({ text, width, height }) {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    await image.decode();
    const canvas = el("canvas", { width: width * PNG_SCALE, height: height * PNG_SCALE });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(image.src);
    return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture came out"))), "image/png"));
  }

  ns.tools.push((ui, state_, act) => {
    const button = (kind) => el("button", { type: "button", "data-act": `save-${kind}`, title: `Save the tree in sight as ${kind.toUpperCase()}`, onclick: () => keep(kind) }, kind.toUpperCase());
    ui.tools.append(button("svg"), button("png"));

    async function keep(kind) {
      if (!state_.frames.get(state_.step)) return;
      const name = `specviz-${state_.run.id}-step-${state_.step + 1}.${kind}`;
      try {
        const drawn = await drawing(ui, ui.tree.getAttribute("aria-label") || "Draft tree");
        save(name, kind === "svg" ? new Blob([drawn.text], { type: "image/svg+xml" }) : await png(drawn));
      } catch (error) {
        act.notice({ kind: "error", text: "The picture could not be made; try again, or with fewer nodes unfolded." });
        throw error;
      }
    }
    return {};
  });
})(window);
