/* The runs that tests/figures/test_viewer.py has made with Python, as the page gets them: blocks by name. */

import { readFileSync } from "node:fs";

/** @import { Block, Frame, Run } from "../../../assets/viewer/core/frame.d.ts" */

/** @type {Record<string, Required<Block>>} */
export const BLOCKS = JSON.parse(readFileSync(process.env.SPECVIZ_BLOCKS, "utf-8"));
/** @type {Record<string, Frame>} */
export const FIRST = Object.fromEntries(Object.entries(BLOCKS).map(([name, { frames }]) => [name, frames[0]]));

/** @param {Required<Block>} block */
export const framesOf = ({ frames }) => new Map(frames.map((frame) => [frame.step, frame]));
