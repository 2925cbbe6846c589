/* The command bar of the page: what is being done, said beside the prompt. A click changes it at once, before the server answers.
 *
 * The buttons and the prompt are Gradio's; here they are watched, and marked by `data-busy` on their bar. Gradio says when one
 * of its events goes to the server (`begun`) and when its answer is complete (`done`). A click on Step, Run or New run before
 * that waits for it: it is begun when all answers are there, and with them the state of the page on the server.
 */

import { newerRun } from "../core/blocks.js";
import { el } from "../core/dom.js";
import { listenForKeys } from "../core/keys.js";

/** @import { Block, Following, Run } from "../core/frame.d.ts" */
/** @import { NoticeShown } from "../core/state.js" */

/** @typedef {ReturnType<typeof makeCommand>} Command */

const SHOWN_AFTER_S = 0.3, TICK_MS = 100, ASK_MS = 400, LATE_MS = 3000, FILLED_MS = 50;
/** The buttons whose click can wait, and what they are called. @type {Record<string, string>} */
const WAITING = { step: "Step", run: "Run", new: "New run" };
/** What Gradio itself asks for to see whether its server is there. */
const IS_THERE = "gradio_api/app_id";

/** @param {number} count @param {string} word */
const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/**
 * Words for a run that nothing is done to.
 * @param {Run | null} run
 * @returns {[string, string]} what stands out, and the rest
 */
export function saidOf(run) {
  if (!run) return ["No run yet", ""];
  if (run.engine) return ["Recorded", counted(run.steps, "step")];
  if (run.failed) return [`Step ${run.failed.step + 1} failed`, run.steps ? `the ${counted(run.steps, "step")} before it stay` : ""];
  const head = run.endReason && run.endReason !== "stopped" ? "Finished" : run.steps ? "Paused" : "Ready";
  return [head, counted(run.steps, "step")];
}

/**
 * The part of a run that is done: of the tokens that it may write, with a part of the step that it is in.
 * @param {Run | null} run null before its first step
 * @param {number} step the part of the step that is done
 */
export function partOf(run, step) {
  const most = run?.settings?.max_new_tokens;
  if (!run || !most || !run.steps) return 0;
  const { tokens } = run.totals;
  return Math.min(1, (tokens + (step * tokens) / run.steps) / most);
}

/**
 * @param {HTMLElement} place of the words
 * @param {(asked: number) => void} ask the server what is being done; `hear` takes its answer
 * @param {{await: () => void, starting: (prompt: string | null) => void, open: (run: string, step: number) => void, order: (act: string) => void}} viewer which is told that a step was asked for, opens a run
 *   at a step, and tells a loop that waits for this page to step, run or stop
 */
export function makeCommand(place, ask, viewer) {
  const bar = /** @type {HTMLElement} */ (place.closest(".specviz-command"));
  const find = (/** @type {string} */ name) => /** @type {HTMLElement | null} */ (document.getElementById(name));
  const strong = el("b"), rest = el("span"), clock = el("span", { class: "specviz-clock", "aria-hidden": "true" });
  const words = el("span", { role: "status" }, strong, clock, rest);
  const progress = el("i", { class: "specviz-progress" });
  const goTo = el("button", { type: "button", class: "specviz-follow", title: "Show the newest step of the run that goes on", hidden: true, onclick: () => aside && viewer.open(aside.id, aside.steps - 1) }, "Go to it");
  place.replaceChildren(words, goTo, progress);
  /** @type {Run | null} */
  let run = null;
  /** What is said of a recording that is followed. @type {Following | null} */
  let following = null;
  /** The run that went on while the reader turned to another one. @type {Run | null} */
  let aside = null;
  /** Ids of the runs that took a step in this page. @type {Set<string>} */
  const own = new Set();
  /** @type {string | null} */
  let original = null;
  /** What went wrong, and the rest. @type {[string, string] | null} */
  let error = null;
  /** `live` is the run that goes on, once it has a step. @type {{kind: string, since: number, text: string, fraction: number | null, live: Run | null} | null} */
  let busy = null;
  /** @type {number | undefined} */
  let timer;
  /** @type {number | undefined} */
  let looking;
  let asked = 0, count = 0, waits = false, lost = false, waited = false, anew = false;
  /** Names of the events that the server has not answered completely. @type {string[]} */
  let pending = [];
  /** The button whose click waits for them. @type {string | null} */
  let next = null;

  const box = () => /** @type {HTMLTextAreaElement | null} */ (document.querySelector("#prompt textarea, #prompt input"));
  /** Whether the prompt is another one than that of the run in sight: than what stood there before it was written in. */
  const edited = () => original !== null && box()?.value !== original;
  /** Whether the next step is one of a new run, as far as the page knows: a run that came with its end has none. */
  const isNew = () => anew || edited() || !run || Boolean(run.engine) || (!own.has(run.id) && ![null, "stopped"].includes(run.endReason));

  /** What is followed, while it is in sight. */
  const followed = () => (following && (!run || following.runs.includes(run.id)) ? following : null);
  /** Whether the buttons are those of a loop that this page steps. */
  const steps = () => !busy && !edited() && ["waiting", "running"].includes(followed()?.gate ?? "");

  /**
   * @param {string} head
   * @param {string} [more]
   */
  function say(head, more = "") {
    if (strong.textContent !== head) strong.textContent = head;
    const text = more ? ` · ${more}` : "";
    if (rest.textContent !== text) rest.textContent = text;
    place.title = `${head}${text}`;
  }

  /** Whether the prompt is longer than the line it has; measured in the look it has without the focus. */
  function measure() {
    const written = box();
    if (!written) return;
    bar.classList.remove("specviz-long");
    bar.classList.toggle("specviz-long", written.value.includes("\n") || written.scrollWidth > written.clientWidth);
  }

  function show() {
    if (busy) bar.dataset.busy = busy.kind;
    else delete bar.dataset.busy;
    if (steps()) bar.dataset.gate = followed()?.gate;
    else delete bar.dataset.gate;
    bar.classList.toggle("specviz-error", lost || (error !== null && !busy));
    bar.classList.toggle("specviz-aside", aside !== null);
    goTo.hidden = aside === null;
    bar.classList.toggle("specviz-edited", !busy && edited());
    bar.classList.toggle("specviz-follows", followed() !== null);
    bar.classList.toggle("specviz-anew", !busy && anew);
    progress.style.transform = `scaleX(${busy ? busy.fraction ?? 0 : 0})`;
    if (lost) say("Connection lost", "trying again");
    else if (busy && aside && busy.kind !== "stop" && !next) say("The run goes on", `step ${aside.steps}`);
    else if (busy) say(busy.text, next ? `then ${WAITING[next]}` : "");
    else if (error) say(...error);
    else if (edited()) say("New prompt", "Enter starts a new run");
    else if (following && followed()) say(following.head, following.rest);
    else if (anew) say("New run", "Step or Run starts it");
    else say(...saidOf(aside ?? run));
    for (const name of Object.keys(WAITING)) {
      if (busy) find(name)?.setAttribute("aria-pressed", String(next === name));
      else find(name)?.removeAttribute("aria-pressed");
    }
  }

  function tick() {
    const now = performance.now(), seconds = busy ? (now - busy.since) / 1000 : 0;
    clock.textContent = busy && seconds > SHOWN_AFTER_S ? ` ${seconds.toFixed(1)} s` : "";
    if (!busy || now - Math.max(busy.since, asked) < (waits ? LATE_MS : ASK_MS)) return;
    if (waits) look();
    asked = now;
    waits = true;
    ask(++count);
  }

  /** Look whether the server can be reached, until it can; a server on this machine can be without a network, too. */
  async function look() {
    lost = !(await fetch(IS_THERE, { cache: "no-store" }).then(({ ok }) => ok, () => false));
    clearTimeout(looking);
    if (lost || !navigator.onLine) looking = setTimeout(look, LATE_MS);
    show();
  }

  /**
   * Take what the server says is being done.
   * @param {{text?: string, fraction?: number | null}} said nothing where there is nothing to say
   */
  function hear({ text, fraction = null }) {
    waits = lost = false;
    if (!text || !busy || busy.kind === "stop") return;
    Object.assign(busy, { text, fraction: busy.kind === "run" ? partOf(busy.live, fraction ?? 0) : fraction });
    show();
  }

  /**
   * Something was asked for: say so now.
   * @param {string} kind
   * @param {string} text
   */
  function begin(kind, text) {
    busy = { kind, since: performance.now(), text, fraction: null, live: null };
    error = null;
    clearInterval(timer);
    timer = setInterval(tick, TICK_MS);
    tick();
    show();
  }

  /**
   * An event of Gradio's goes to the server.
   * @param {string} name
   * @param {string} text
   * @param {boolean} stops whether Stop ends it
   */
  function begun(name, text, stops) {
    pending.push(name);
    if (!busy) begin(stops ? "work" : "quick", text);
  }

  /**
   * The answer to an event of Gradio's is complete.
   * @param {string} name
   * @param {boolean} [failed] without an answer
   */
  function done(name, failed) {
    const at = pending.indexOf(name);
    if (at >= 0) pending.splice(at, 1);
    if (pending.length) return;
    const click = next;
    busy = next = null;
    viewer.starting(null);
    if (name === "new" && !failed) anew = true;
    clearInterval(timer);
    tick();
    if (click && (error || failed)) error = [error?.[0] ?? "Failed", `${WAITING[click]} was not begun`];
    show();
    waited = true; // the reader left the page, or came back to it, when they clicked
    if (click && !error) find(click)?.click();
    waited = false;
  }

  /**
   * How far something is, in the words of the server; null says nothing of it.
   * @param {NoticeShown | null} notice
   */
  function working(notice) {
    if (!notice || !busy || busy.kind === "stop") return;
    Object.assign(busy, { text: notice.text, fraction: notice.fraction ?? busy.fraction });
    show();
  }

  /** @param {Block} block that came for the viewer */
  function take(block) {
    following = block.following ?? following;
    if (block.run) {
      if (block.live) goesOn(block.run);
      if (!block.fills) anew = false;
      if (block.run.id !== run?.id) setTimeout(forget, FILLED_MS); // its prompt comes beside it
      run = newerRun(run, block);
      if (run?.id === aside?.id) aside = null;
      if (!block.fills) error = null;
    }
    if (block.notice?.kind === "error" && !block.fills && busy) error = ["Failed", ""];
    show();
    if (!block.fills && !block.live && !block.following && (block.run || block.look || block.compare || block.lesson || block.fault)) leavePage();
  }

  /** @param {Run} moved took a step */
  function goesOn(moved) {
    own.add(moved.id);
    if (busy) Object.assign(busy, { live: moved, fraction: busy.kind === "run" ? partOf(moved, 0) : busy.fraction });
  }

  /** @param {Block} block a step of a run that is not in sight */
  function takeAside({ run: other, notice }) {
    aside = other ?? null;
    if (aside) goesOn(aside);
    viewer.starting(null);
    if (notice?.kind === "error") error = ["Failed", ""];
    show();
  }

  /** What stands in the box is the prompt of the run in sight. */
  function forget() {
    original = document.activeElement === box() ? box()?.value ?? null : null;
    show();
  }

  /** Back to the view, where the answer is. */
  function leavePage() {
    const open = document.querySelector("#menu > .tab-wrapper [role=tab][aria-selected=true]");
    if (open && !["menu-view-button", "menu-lessons-button", "menu-faults-button"].includes(open.id)) find("menu-view-button")?.click();
  }

  /** @param {MouseEvent} event */
  function onClick(event) {
    const at = /** @type {HTMLElement} */ (event.target).closest("#step, #run, #new, #stop");
    if (!at) return;
    if (at.id !== "new" && steps()) {
      event.preventDefault();
      event.stopImmediatePropagation();
      error = null;
      viewer.order(at.id);
    } else if (at.id === "stop") {
      next = null;
      if (busy) begin("stop", "Stopping after this step");
    } else if (busy) {
      event.preventDefault();
      event.stopImmediatePropagation();
      next = next === at.id ? null : at.id;
      if (next && next !== "new") leavePage();
      show();
    } else if (at.id !== "new") {
      aside = null;
      const starts = isNew();
      begin(at.id, starts ? "Starting a new run" : "Starting");
      if (!starts) Object.assign(busy ?? {}, { live: run });
      if (starts) viewer.starting(box()?.value ?? "");
      forget();
      viewer.await();
      if (!waited) leavePage();
    }
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.altKey || event.isComposing) return;
    const inPrompt = event.target === box();
    if (!inPrompt && !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat) return;
    box()?.dispatchEvent(new Event("change", { bubbles: true }));
    find("run")?.click();
  }

  document.addEventListener("click", onClick, true);
  document.addEventListener("keydown", onKey, true);
  listenForKeys({ s: () => find("step")?.click(), r: () => find(busy && busy.kind !== "quick" ? "stop" : "run")?.click() }, () => document.querySelector("dialog[open]") === null);
  document.addEventListener("focusin", (event) => event.target === box() && (measure(), (original ??= box()?.value ?? null)));
  document.addEventListener("input", (event) => event.target === box() && (show(), measure()));
  for (const change of ["offline", "online"]) window.addEventListener(change, look);
  show();
  return { take, takeAside, working, hear, begun, done };
}
