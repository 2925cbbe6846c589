/* The runs that tests/figures/test_viewer.py has made with Python, as the page gets them: blocks by name. */

import { readFileSync } from "node:fs";
import { knownIn } from "../../../assets/viewer/tree/phases.js";

/** @import { Block, Frame, Run } from "../../../assets/viewer/core/frame.d.ts" */

const { foreign, ...others } = JSON.parse(readFileSync(process.env.SPECVIZ_BLOCKS, "utf-8"));
/** @type {Record<string, Required<Block>>} */
export const BLOCKS = others;
/** Runs as another engine would have recorded them, by level. @type {Record<string, Required<Block>>} */
export const FOREIGN = foreign;
/** @type {Record<string, Frame>} */
export const FIRST = Object.fromEntries(Object.entries(BLOCKS).map(([name, { frames }]) => [name, frames[0]]));

/** @param {Required<Block>} block */
export const framesOf = ({ frames }) => new Map(frames.map((frame) => [frame.step, frame]));

/**
 * How a frame is looked at: by default the whole step, with its driver watched.
 * @param {Frame} frame
 * @param {{lens?: string, phase?: number | null, compare?: boolean, open?: Set<number>}} look
 */
export function viewOf(frame, { lens = frame.driver, phase = null, compare = false, open = new Set() }) {
  return { lens, compare, open, shown: new Set(Object.keys(frame.tree.states)), known: knownIn(frame, lens, phase), selected: null, found: null, proofs: {} };
}
