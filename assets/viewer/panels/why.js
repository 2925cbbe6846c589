/* What does not fit in a step, as a headline and as a chain of causes back: the slot, the move, the decision, the row it was
 * read from, and what follows. Pure functions of the frames; nothing is said that was not recorded.
 */

import { decisionsOf } from "../core/columns.js";
import { cachePath, decisionPath, nodePath } from "../core/python_path.js";
import { NOT_RECORDED } from "../core/recorded.js";
import { MODELS } from "../core/state.js";
import { drawnFrom, driving } from "../core/words.js";
import { capital } from "./decision.js";
import { kindOf, taleOf } from "./findings.js";
import { slotsOf } from "./slots.js";

/** @import { Cache, Frame, Mask } from "../core/frame.d.ts" */
/** @import { ModelName, Place } from "../core/state.js" */
/** @import { Part } from "./decision.js" */
/** @import { Finding, Tale } from "./findings.js" */
/** @import { LeftRow, WholeCache } from "./slots.js" */

/**
 * @typedef {object} Link of the chain
 * @property {string} title
 * @property {Part[]} said
 * @property {Part[][]} [lines] below that, in small type
 * @property {"cause" | "plain" | "after"} tone what went wrong, what is as it should be, what follows from an earlier fault
 * @property {boolean} [first] whether this is where it began in the run
 * @property {Place} [to]
 */

/**
 * The finding that a step is headed by: of the gravest kind, and of those in a cache before a bonus token.
 * @param {Tale} tale
 * @returns {Finding | null}
 */
export function mainFinding(tale) {
  const kind = kindOf(tale), found = tale.found.filter((one) => one.kind === kind);
  return found.find((one) => one.place === "faults") || found[0] || null;
}

/**
 * The cache that a finding is about: what does not fit in it was recorded.
 * @param {Frame} frame
 * @param {ModelName} model
 */
const cacheOf = (frame, model) => /** @type {WholeCache} */ (frame.caches[model]);

/** @param {Finding} finding about a cache */
const modelOf = ({ name }) => MODELS.find((model) => name === `${model} cache`) || null;

/**
 * The first slot that the update left wrong, in the order of the text.
 * @param {Cache} cache
 * @returns {LeftRow | undefined}
 */
const wrongSlot = (cache) => slotsOf(cache).left.find((row) => !row.good);

/**
 * The steps in which something went wrong: those that only inherit it are left out.
 * @param {Map<number, Tale>} tales
 */
export const hitsOf = (tales) => [...tales].filter(([, tale]) => ["first", "again"].includes(String(kindOf(tale)))).map(([step]) => step).sort((a, b) => a - b);

/**
 * The next or the previous of these, seen from a step.
 * @param {number[]} hits
 * @param {number} step
 * @param {-1 | 1} way
 */
export const nextHit = (hits, step, way) => (way > 0 ? hits.find((one) => one > step) : hits.filter((one) => one < step).at(-1));

/**
 * How many steps after `step` found the cache as step `first` left it, and in how many of them something went wrong anew.
 * @param {Map<number, Tale>} tales
 * @param {string} name
 * @param {number} first
 * @param {number} [step]
 */
export function aftermath(tales, name, first, step = first) {
  const later = [...tales].filter(([at, tale]) => at > step && tale.before[name] === first), repeat = later.filter(([, tale]) => tale.found.some((one) => one.name === name && one.kind === "again")).length;
  return { inherit: later.length - repeat, repeat };
}

const steps = (/** @type {number} */ count) => `${count} step${count === 1 ? "" : "s"}`;

/**
 * What a step with findings is headed by. Null where everything fits.
 * @param {Frame} frame
 * @param {Map<number, Tale>} tales
 * @returns {{title: string, sub: Part[], kind: Finding["kind"]} | null}
 */
export function faultHeadline(frame, tales) {
  const tale = taleOf(tales, frame.step), main = mainFinding(tale);
  if (!main) return null;
  const model = modelOf(main), { kind, first, name } = main;
  if (kind === "after") return { title: `The ${name} is still wrong since step ${first + 1}`, sub: [], kind };
  const { inherit, repeat } = aftermath(tales, name, first);
  const stays = model && inherit ? `${steps(inherit)} inherit${inherit === 1 ? "s" : ""} it` : "", anew = repeat ? `${stays ? repeat : steps(repeat)} repeat${repeat === 1 ? "s" : ""} it` : "";
  const order = kind === "first" ? ["first fault", [stays, anew].filter(Boolean).join(", ")].filter(Boolean).join("; ") : `again, after step ${first + 1}`;
  if (!model) return { title: "A bonus token has the wrong source", sub: [order], kind };
  const cache = cacheOf(frame, model), wrong = wrongSlot(cache);
  if (!wrong) return { title: titleOf(frame, model), sub: [order], kind };
  // Where the tokens are the same, what tells the two apart is the node.
  const alike = wrong.held !== null && wrong.due !== null && cache.text[wrong.held] === cache.text[wrong.due];
  const told = (/** @type {number | null} */ place) => (place === null ? null : alike ? nameOf(cache, place) : [{ token: cache.text[place] }]);
  const held = told(wrong.held), due = told(wrong.due);
  const was = due ? cache.node[Number(wrong.due)] === null ? " was due" : cache.node[Number(wrong.due)] ? " was accepted" : " is the root" : "";
  const sub = held && due ? [...held, " where ", ...due, was, " · "] : due ? ["what no slot of this step held, where ", ...due, was, " · "] : [];
  return { title: `Slot ${wrong.slot}${model === "target" ? "" : ` of the ${model}`} holds ${due ? `the wrong ${alike ? "node" : "token"}` : "what was not to be kept"}`, sub: [...sub, order], kind };
}

/**
 * Of a cache whose slots all hold what they must.
 * @param {Frame} frame
 * @param {ModelName} model
 */
function titleOf(frame, model) {
  const cache = cacheOf(frame, model), { mask } = cache;
  const node = (/** @type {number} */ row) => (cache.node[row] === null ? `Slot ${cache.slot[row]}` : `Node ${cache.node[row]}`);
  if (mask?.leaks.row.length) return `${node(mask.leaks.row[0])} sees what is no ancestor of it (${model})`;
  if (mask?.missing.row.length) return `${node(mask.missing.row[0])} does not see an ancestor (${model})`;
  if (mask?.due.row.length) return `${node(mask.due.row[0])} ran at a wrong position (${model})`;
  if (mask?.earlier.row.length) return `${node(mask.earlier.row[0])} does not see the text as it is (${model})`;
  return cache.audit && cache.faults.some((fault) => fault.startsWith("The audit")) ? `A recompute does not give the ${model}'s cache` : `The ${model}'s cache does not fit the text`;
}

/**
 * Nodes whose slot does not hold them after the update, which a picture of the tree may mark, with words.
 * @param {Frame} frame
 * @returns {Map<number, string>}
 */
export function faultyNodes(frame) {
  const found = new Map();
  for (const model of MODELS)
    for (const { good, due, slot } of slotsOf(frame.caches[model]).left) {
      const node = good || due === null ? null : cacheOf(frame, model).node[due];
      if (node !== null && !found.has(node)) found.set(node, `${model} slot ${slot} wrong`);
    }
  return found;
}

/**
 * The chain of causes of what a step is headed by, the fault first. Empty where everything fits.
 * @param {Map<number, Frame>} frames
 * @param {Map<number, Tale>} tales
 * @param {Frame} frame
 * @returns {Link[]}
 */
export function whyOf(frames, tales, frame) {
  const tale = taleOf(tales, frame.step), main = mainFinding(tale);
  if (!main) return [];
  const model = modelOf(main), others = tale.found.filter((one) => one !== main), { kind, first } = main;
  /** @type {Link[]} */
  const chain = model ? (kind === "after" ? inherited(frame, model) : cacheChain(frame, model, kind === "first")) : bonusChain(frame, kind === "first");
  const began = kind === "after" ? "There it began: this step only inherits it." : model ? `The ${main.name} was wrong before, since that step.` : "There a bonus token was wrong for the first time.";
  if (kind !== "first") chain.push({ title: `Step ${first + 1}`, said: [began], tone: kind === "after" ? "cause" : "plain", first: kind === "after", to: { step: first, why: true } });
  if (model) chain.push(...follows(frames, tales, frame, model, first));
  for (const { name, place, count } of others) chain.push({ title: "Also", said: [`${name}: ${count} finding${count > 1 ? "s" : ""} in this step, too.`], tone: "plain", to: { part: place } });
  return chain;
}

/**
 * @param {Frame} frame
 * @param {ModelName} model
 * @returns {Link[]}
 */
function inherited(frame, model) {
  const { faults } = cacheOf(frame, model);
  return [{ title: "This step", said: [`Its own update fits. What is found in the ${model}'s cache follows from an earlier step:`], lines: faults.map((fault) => [fault]), tone: "after", to: { part: "faults" } }];
}

/**
 * @param {Frame} frame
 * @param {ModelName} model
 * @param {boolean} first
 * @returns {Link[]}
 */
function cacheChain(frame, model, first) {
  const cache = cacheOf(frame, model), wrong = wrongSlot(cache);
  if (wrong) return slotChain(frame, model, wrong, first);
  if (cache.mask?.wrong) return maskChain(frame, model, first);
  return [{ title: "Finding", said: cache.faults.slice(0, 1), lines: cache.faults.slice(1).map((fault) => [fault]), tone: "cause", first, to: { part: cache.audit ? "audit" : "faults" } }];
}

/**
 * What was written to a slot, in words.
 * @param {Cache} cache
 * @param {number} place among the written slots
 * @returns {Part[]}
 */
function nameOf(cache, place) {
  const node = cache.node[place], text = cache.text[place];
  if (cache.role[place] === "m") return ["a masked place"];
  return node === null ? ["the late token ", { token: text }] : [`node ${node} `, { node, text }];
}

/**
 * Slot, move, decision, row.
 * @param {Frame} frame
 * @param {ModelName} model
 * @param {LeftRow} wrong
 * @param {boolean} first
 * @returns {Link[]}
 */
function slotChain(frame, model, { slot, due, held, print }, first) {
  const cache = cacheOf(frame, model), path = cachePath(frame.step, model), all = slotsOf(cache).left.filter((row) => !row.good).length;
  const more = all > 1 ? [` ${all - 1} more slot${all > 2 ? "s are" : " is"} wrong.`] : [];
  const holds = held === null ? ["It holds what no slot of this step held."] : ["It holds ", ...nameOf(cache, held), "."];
  const found = [{ strong: "found " }, { value: print, path: `${path}.fingerprints_after[${slot - cache.before}]` }];
  if (due === null) {
    return [{ title: "Slot", said: ["Slot ", { strong: String(slot) }, " had to be cut off. ", ...holds, ...more], lines: [found], tone: "cause", first, to: { part: "faults" } },
      { title: "Length", said: [`The update left ${cache.length - cache.before} slots of this step: more than ${cache.kind === "tokens" ? "the text took" : "those of the target's own states"}.`], tone: "cause" },
      ...(cache.kind === "tokens" ? [] : [{ title: "Draft head", said: ["What it drafted comes from its own states, or from masked places, and is never kept: an accepted token is fed again, with the target's state."], tone: /** @type {const} */ ("plain") }])];
  }
  const from = cache.slot[due], node = cache.node[due];
  return [
    { title: "Slot", said: ["Slot ", { strong: String(slot) }, " must hold ", ...nameOf(cache, due), ". ", ...holds, ...more],
      lines: [[{ strong: "due " }, { value: cache.prints[due], path: `${path}.fingerprints_before[${due}]` }], found], tone: "cause", to: { part: "faults" } },
    moveLink(cache, slot, from, due, first),
    ...(node === null ? [{ title: "Text", said: ["It is a committed token that was fed late: each of them stays."], tone: /** @type {const} */ ("plain") }] : decisionLinks(frame, node)),
  ];
}

/**
 * @param {WholeCache} cache
 * @param {number} slot
 * @param {number} from where what is due was written
 * @param {number} due its place
 * @param {boolean} first
 * @returns {Link}
 */
function moveLink(cache, slot, from, due, first) {
  const moves = cache.moves || { slot: [], to: [] }, at = moves.slot.findIndex((one, i) => one === from && moves.to[i] === slot), onto = moves.to.indexOf(slot), went = cache.to[due];
  const written = [...nameOf(cache, due), " was written to slot ", { strong: String(from) }, ". "], move = { strong: `${from} → ${slot}` };
  const count = moves.slot.length, recorded = count ? `this update recorded ${count} other move${count > 1 ? "s" : ""}` : cache.moves ? "this update moved nothing" : `the moves of this update were ${NOT_RECORDED}`;
  const said = from === slot ? [...written, "It had to stay there; ", onto >= 0 ? `the move ${moves.slot[onto]} → ${slot} was recorded onto it.` : "no move onto it was recorded."]
    : at >= 0 ? [...written, "The move ", move, " was recorded, but the slot does not hold it."] : [...written, "The move ", move, ` is missing: ${recorded}.`];
  const elsewhere = went !== null && went !== slot ? [` Slot ${went} holds it now.`] : [];
  const [head, ...rest] = said;
  return { title: "Move", said: [typeof head === "string" ? capital(head) : head, ...rest, ...elsewhere], tone: "cause", first, to: { part: "faults" } };
}

/**
 * Why a node had to stay, and the row that this was read from.
 * @param {Frame} frame
 * @param {number} node
 * @returns {Link[]}
 */
function decisionLinks(frame, node) {
  if (!node) return [{ title: "Root", said: ["It is the last committed token: it stays, in front of the accepted path."], tone: "plain", to: { node: 0 } }];
  const verdict = driving(frame), { verifier } = verdict, { nodes, tree, step } = frame, parent = tree.parent[node];
  const decision = decisionsOf(verdict).filter((one) => one.node === node && one.outcome === "a").at(-1), path = decision && decisionPath(step, verifier, decision.at);
  const place = [" So it is due right after ", ...(parent ? [`node ${parent} `] : ["the root "]), { node: parent, text: nodes.text[parent] }, "."];
  const coin = !decision ? [" with the path below it."] : decision.uniform === null || !decision.comparison.startsWith("uniform") ? ["."]
    : [": coin ", { value: decision.uniform, path: `${path}.uniform` }, ", threshold ", decision.threshold === null ? NOT_RECORDED : { value: decision.threshold, path: `${path}.threshold` }, "."];
  const p = nodes.p[node];
  return [
    { title: "Decision", said: [`${verifier} accepted node ${node} `, { token: nodes.text[node] }, ...coin, ...place], tone: "plain", to: { node } },
    { title: "Row", tone: "plain", to: { node: parent }, said: ["That was read from the target's row after ", { node: parent, text: nodes.text[parent] },
      ...(p === null ? [] : [", which gives it p ", { value: p, path: `${nodePath(step, node)}.target_prob` }]), "."] },
  ];
}

/**
 * A row that saw what it must not, did not see what it must, or ran at another position.
 * @param {Frame} frame
 * @param {ModelName} model
 * @param {boolean} first
 * @returns {Link[]}
 */
function maskChain(frame, model, first) {
  const cache = cacheOf(frame, model), mask = /** @type {Mask} */ (cache.mask), { leaks, missing, due, earlier } = mask, { nodes, tree } = frame;
  const row = leaks.row[0] ?? missing.row[0] ?? due.row[0] ?? earlier.row[0];
  if (row === undefined) return [{ title: "Mask", said: [cache.faults[0]], tone: "cause", first, to: { part: "mask" } }];
  const whole = ["The row of ", ...nameOf(cache, row), ` (slot ${cache.slot[row]}) `];
  const what = leaks.row.length ? ["saw ", ...nameOf(cache, leaks.first[0][0]), ", which is no ancestor of it."]
    : missing.row.length ? ["did not see ", ...nameOf(cache, missing.first[0][0]), mask.block.includes(row) ? ", of the same block." : ", its ancestor."]
      : due.row.length ? ["ran at position ", { strong: String(cache.position[row]) }, "; text and depth demand ", { strong: String(due.position[0]) }, "."]
        : ["did not see the settled slots as they are: ", { strong: String(earlier.seen[0]) }, ` of ${cache.before}.`];
  const others = mask.wrong - 1, node = cache.node[row];
  /** @type {Link[]} */
  const made = [{ title: "Row", said: [...whole, ...what, ...(others ? [` ${others} more row${others > 1 ? "s are" : " is"} wrong.`] : [])], tone: "cause", first, to: { part: "mask" } }];
  if (node === null) return made;
  const line = [];
  for (let at = tree.parent[node]; at >= 0; at = tree.parent[at]) line.push(at);
  const buttons = (/** @type {number[]} */ all) => all.flatMap((at) => /** @type {Part[]} */ ([{ node: at, text: nodes.text[at] }, " "]));
  const must = node ? ["It must see the text before the step, itself, and its ancestors ", ...buttons(line)] : ["It is the root: it must see the text before the step, and itself."];
  made.push({ title: "Ancestry", said: must, tone: "plain", to: { node } });
  const below = decisionsOf(driving(frame)).map((one) => one.node).filter((one) => tree.parent[one] === node).slice(0, 4);
  if (below.length && model === "target") made.push({ title: "Decisions", said: ["By what this row says the driver judged ", ...buttons(below), "– p there may be wrong."], tone: "after", to: { node: below[0] } });
  return made;
}

/**
 * A bonus token that was not drawn from the distribution that its source names.
 * @param {Frame} frame
 * @param {boolean} first
 * @returns {Link[]}
 */
function bonusChain(frame, first) {
  const wrong = frame.verdicts.find((verdict) => verdict.bonus?.fault), bonus = wrong?.bonus;
  if (!wrong || !bonus) return [];
  const { verifier } = wrong, { nodes, tree } = frame, last = decisionsOf(wrong).filter((one) => one.residual && tree.parent[one.node] === bonus.node).at(-1);
  const said = [`${verifier} drew `, { token: bonus.text }, ` and says:${drawnFrom(bonus)} at node ${bonus.node} `, { node: bonus.node, text: nodes.text[bonus.node] }, ". ", String(bonus.fault)];
  /** @type {Link[]} */
  const made = [{ title: "Bonus token", said, tone: "cause", first, to: { part: "verdicts" } }];
  if (bonus.source === "residual" && last) {
    const { at, node, residual } = last, path = decisionPath(frame.step, verifier, at);
    made.push({ title: "Decision", tone: "plain", to: { node }, said: ["The last sibling that was rejected there is node ", { strong: String(node) }, " ", { token: nodes.text[node] },
      ". Its rejection left mass ", { value: Number(residual?.mass), path: `${path}.residual.mass` }, ": the bonus token had to be drawn from that."] });
  }
  made.push({ title: "Row", said: ["Both are made of the target's row after ", { node: bonus.node, text: nodes.text[bonus.node] }, "."], tone: "plain", to: { node: bonus.node } });
  return made;
}

/**
 * What an audit says of the rows that were read from a wrong cache.
 * @param {Map<number, Frame>} frames
 * @param {Map<number, Tale>} tales
 * @param {Frame} frame
 * @param {ModelName} model
 * @param {number} first
 * @returns {Link[]}
 */
function follows(frames, tales, frame, model, first) {
  const worst = (/** @type {number} */ step) => frames.get(step)?.caches[model]?.audit?.worst, here = worst(frame.step), next = worst(frame.step + 1);
  const { inherit, repeat } = aftermath(tales, `${model} cache`, first, frame.step), later = inherit + repeat;
  const before = worstBefore(frames, model, first);
  const number = (/** @type {number} */ value, /** @type {number} */ step) => ({ value, path: `${cachePath(step, model)}.audit.worst()`, count: 2 });
  /** @type {Part[]} */
  const audited = here === undefined ? ["No audit was recorded: with one, the difference from a recompute would stand here."]
    : ["The cache differs from a recompute by ", number(here, frame.step), " here", ...(next === undefined ? [] : [" and by ", number(next, frame.step + 1), " a step later"]),
      ...(before ? [`; before step ${first + 1}, by at most `, number(before.worst, before.step)] : []), "."];
  const said = [later ? `${later} later step${later > 1 ? "s read" : " reads"} this cache as it is. ` : "No later step of this run reads it. ", ...audited];
  return [{ title: "Rows that read it", said, tone: "after", to: later && frames.has(frame.step + 1) ? { step: frame.step + 1, why: true } : { part: "audit" } }];
}

/**
 * The worst audit of the steps before one.
 * @param {Map<number, Frame>} frames
 * @param {ModelName} model
 * @param {number} first
 */
function worstBefore(frames, model, first) {
  const audits = [...frames].flatMap(([step, frame]) => {
    const worst = step < first ? frame.caches[model]?.audit?.worst : undefined;
    return worst === undefined ? [] : [{ step, worst }];
  });
  return audits.sort((a, b) => b.worst - a.worst)[0];
}
