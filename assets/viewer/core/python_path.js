/* Where a number of a frame stands in the recorded run, as Python writes it, where `trace` is what `specviz.load` gives:
 * `trace.steps[6].verdicts["rejection"].decisions[2].threshold`.
 */

/** @import { ModelName } from "./state.js" */

/** @param {number} step its position */
export const stepPath = (step) => `trace.steps[${step}]`;

/**
 * @param {number} step
 * @param {number} node
 */
export const nodePath = (step, node) => `${stepPath(step)}.tree.nodes[${node}]`;

/**
 * One model's distribution after a node.
 * @param {number} step
 * @param {number} node
 * @param {ModelName} model
 */
export const rowPath = (step, node, model) => `${nodePath(step, node)}.${model}`;

/**
 * A name is written as JSON has it, which Python reads alike.
 * @param {number} step
 * @param {string} verifier
 */
export const verdictPath = (step, verifier) => `${stepPath(step)}.verdicts[${JSON.stringify(verifier)}]`;

/**
 * @param {number} step
 * @param {string} verifier
 * @param {number} at the decision's place
 */
export const decisionPath = (step, verifier, at) => `${verdictPath(step, verifier)}.decisions[${at}]`;

/**
 * @param {number} step
 * @param {ModelName} model
 */
export const cachePath = (step, model) => `${stepPath(step)}.caches.${model}`;
