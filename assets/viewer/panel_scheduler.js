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
    const run = state.run, tale = story(state.frames, run.steps).get(frame.step), masks = () => ns.masks.draw(ui, state, frame, view, act);
    const waits = frame.caches.target.slot.length > LARGE && outOfSight(ui["mask.target"]);
    const tasks = [
      () => (state.cacheHits = ns.caches.draw(ui, run, frame, tale, act)),
      () => ns.totals.draw(ui, run),
      ...(waits ? [] : [masks]),
      () => ns.audits.draw(ui, run, frame, tale),
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

  /** What does not fit in a step: [name, name of the part of the page that shows it, how many, how many arose in it]. */
  const findings = (frame) => [
    ["bonus token", "verdicts", ...Array(2).fill(frame.verdicts.filter((v) => v.bonus.fault).length)],
    ...MODELS.map((model) => [`${model} cache`, "faults", frame.caches[model].faults.length, frame.caches[model].fresh]),
  ].filter(([, , count]) => count);

  /** Where each thing went wrong first. Step -> {found: [{name, place, count, kind, first}], before: {name: step}}.
   *
   * A cache that an earlier step left wrong stays wrong until it is rebuilt. `kind` is "first"; "again" where something
   * arose in the step itself; else "after": what is found follows from step `first`. `before` has the first steps of
   * what was wrong before this one. Steps that were not loaded yet are unknown.
   */
  function story(frames, steps) {
    const told = new Map();
    let before = {};
    for (let step = 0; step < steps; step++) {
      const frame = frames.get(step);
      if (!frame) continue;
      if (frame.prefilled) before = Object.fromEntries(Object.entries(before).filter(([name]) => name === "bonus token"));
      const found = findings(frame).map(([name, place, count, fresh]) => {
        const known = before[name] !== undefined;
        return { name, place, count, first: known ? before[name] : step, kind: known ? (fresh ? "again" : "after") : "first" };
      });
      told.set(step, { found, before });
      before = { ...before, ...Object.fromEntries(found.map((one) => [one.name, one.first])) };
    }
    return told;
  }

  const KINDS = ["first", "again", "after"];

  /** The gravest kind of what was found in a step, or null. */
  const kindOf = (tale) => KINDS.find((kind) => tale.found.some((one) => one.kind === kind)) || null;

  const saidOf = ({ name, count, kind, first }) =>
    `${name}, ${count} finding${count > 1 ? "s" : ""}${{ first: ", the first", again: `, anew after step ${first + 1}`, after: `, a consequence of step ${first + 1}` }[kind]}`;

  /** One line under the summary that says what is wrong further down, and goes there, and to where it began. */
  function alarm(ui, frame, state, act) {
    const { el } = ns.panels, tale = story(state.frames, state.run.steps).get(frame.step), kind = kindOf(tale);
    const begun = [...new Set(tale.found.filter((one) => one.kind !== "first").map((one) => one.first))];
    ui.alarm.hidden = !kind;
    ui.alarm.classList.toggle("sv-after", kind === "after");
    ui.alarm.replaceChildren(...(kind ? [{ first: "✕ Here something does not fit for the first time: ", again: "✕ Something in this step does not fit: ", after: "↳ Nothing new, but the cache is still wrong: " }[kind]] : []),
      ...tale.found.flatMap((found) => [el("button", { type: "button", onclick: () => (act.leaveFocus(), ui[found.place].scrollIntoView({ block: "center" })) }, saidOf(found)), " "]),
      ...begun.flatMap((step) => [el("button", { type: "button", "data-act": "first-finding", onclick: () => act.show(step) }, `go to step ${step + 1}`), " "]));
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

  ns.panelScheduler = { draw, cancel, alarm, story, kindOf, saidOf };
})(window);
