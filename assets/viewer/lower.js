/* Everything below the tree, one panel a task, so that a key press waits for one of them at most.
 *
 * A new move cancels what is still to be drawn; the masks of a large tree wait longer while they are out of sight.
 * Tables are made when their disclosure is open.
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const MODELS = ["target", "draft"], LARGE = 100, NEAR = 300, AWAY_MS = 500;

  /** Draw the panels of `frame`; `done` is called after the last one. state: {later, frames, cacheHits, maskHits}. */
  function draw(ui, state, frame, view, act, done) {
    const run = state.run, masks = () => ns.masks.draw(ui, state, frame, view, act);
    const waits = frame.caches.target.slot.length > LARGE && outOfSight(ui["mask.target"]);
    const tasks = [
      () => (state.cacheHits = ns.caches.draw(ui, run, frame)),
      () => ns.totals.draw(ui, run),
      ...(waits ? [] : [masks]),
      () => ns.audits.draw(ui, run, frame),
      () => fill(ui.nodeTable, () => [ns.panels.nodeTable(run, frame, act)]),
      () => fill(ui.slotTable, () => MODELS.flatMap((model) => ns.caches.slotTable(frame, model, act))),
      () => fill(ui.maskTable, () => MODELS.flatMap((model) => ns.masks.maskTable(frame, model, act))),
      () => fill(ui.auditTable, () => MODELS.flatMap((model) => ns.audits.auditTable(run, frame, model))),
      () => fill(ui.totalsTable, () => [ns.totals.totalsTable(run)]),
      () => fill(ui.stepsTable, () => [ns.totals.stepsTable(run, state.frames, act)]),
    ];
    cancel(state);
    const next = () => {
      tasks.shift()();
      if (tasks.length) state.later = setTimeout(next, 0);
      else {
        done();
        if (waits) state.later = setTimeout(() => (masks(), done()), AWAY_MS);
      }
    };
    // The picture that was asked for first: the browser paints it before the first of these.
    state.soon = requestAnimationFrame(() => (state.later = setTimeout(next, 0)));
  }

  /** What does not fit in a step: [name, name of the part of the page that shows it, how many]. */
  const findings = (frame) => [
    ["bonus token", "verdicts", frame.verdicts.filter((v) => v.bonus.fault).length],
    ...MODELS.map((model) => [`${model} cache`, "faults", frame.caches[model].faults.length]),
  ].filter(([, , count]) => count);

  const saidOf = ([name, , count]) => `${name}, ${count} finding${count > 1 ? "s" : ""}`;

  /** One line under the summary that says what is wrong further down, and goes there. */
  function alarm(ui, frame, act) {
    const { el } = ns.panels, places = findings(frame);
    ui.alarm.hidden = !places.length;
    ui.alarm.replaceChildren(...(places.length ? ["✕ Something in this step does not fit: "] : []), ...places.flatMap((found) => [
      el("button", { type: "button", onclick: () => (act.leaveFocus(), ui[found[1]].scrollIntoView({ block: "center" })) }, saidOf(found)), " "]));
  }

  function outOfSight(picture) {
    const box = picture.closest("section").getBoundingClientRect();
    return box.top > root.innerHeight + NEAR || box.bottom < -NEAR;
  }

  function cancel(state) {
    cancelAnimationFrame(state.soon);
    clearTimeout(state.later);
  }

  /** Make the content of a disclosure again if it is open, else when it is opened. */
  function fill(box, make) {
    box.ontoggle = () => box.open && box.children.length === 1 && box.append(...make());
    while (box.children.length > 1) box.lastChild.remove();
    if (box.open) box.append(...make());
  }

  ns.lower = { draw, cancel, alarm, findings, saidOf };
})(window);
