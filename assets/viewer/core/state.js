/* What a viewer holds, and what its parts may ask of it. One viewer has one state; only viewer.js writes to it, but for
 * what a picture says of itself (hits, timers).
 */

/** @import { Block, Frame, Notice, Run } from "./frame.d.ts" */
/** @import { Camera } from "../tree/camera.js" */
/** @import { Box, Layout } from "../tree/layout.js" */
/** @import { Known } from "../tree/phases.js" */

/**
 * @typedef {object} Hit a place in a picture, in pixels at scale 1, and what it stands for
 * @property {number} left
 * @property {number} top
 * @property {number} right
 * @property {number} bottom
 * @property {number | null} [node]
 * @property {number} [stub] the node whose card says how many are folded
 * @property {string} [bonus] the verifier
 */

/** @typedef {"target" | "draft"} ModelName */
/**
 * @typedef {object} Place what is looked at, as far as a link says so
 * @property {number} [step]
 * @property {number | null} [node]
 * @property {boolean} [why]
 * @property {"faults" | "verdicts" | "mask" | "audit" | "totals"} [part] of the page that is to come into sight
 */

/** @typedef {[number, number]} Range the first and the last of some neighbouring steps */

/** @type {ModelName[]} */
export const MODELS = ["target", "draft"];

/**
 * @typedef {object} State
 * @property {Run | null} run
 * @property {Map<number, Frame>} frames by the position of their step
 * @property {number} step the position that is shown
 * @property {number} end how many steps the run had in the last block that did more than fill gaps
 * @property {number | null} phase inside the step, or null for the whole of it
 * @property {boolean} awaits whether a reader asked for a step and has touched nothing since
 * @property {boolean} away whether a reader turned to something else since then: steps of another run stay out of sight
 * @property {string | null} starting the prompt of a new run that was asked for and has no step yet
 * @property {boolean} touring whether the tour is open
 * @property {number | null} selected node
 * @property {boolean} offered whether the page selected it, as nobody chose one
 * @property {boolean} closed whether a reader closed the node: the page selects none until a reader does
 * @property {boolean} asks whether a lesson or a fault says where to look: the page selects no node
 * @property {boolean} why whether the chain of causes stands in the place of the node, where something does not fit
 * @property {Place[]} trail where links of that chain were followed from, the last one at the end
 * @property {string | null} lens the verifier that is watched; null for the driver
 * @property {Set<string>} hidden verifiers
 * @property {Map<number, Set<number>>} open by step: nodes whose folds were opened
 * @property {Range | null} range of steps that the totals are of; null for the whole run
 * @property {Map<number, string>} refused by step: why its frame cannot be sent
 * @property {Set<number>} asked steps whose frames were asked for
 * @property {Record<string, Record<string, Record<string, string>>>} proofs
 * @property {Known | null} known what may be shown in the phase
 * @property {string} dock the panel of the dock that is open, or ""
 * @property {boolean} compare whether the paths of all verifiers are drawn
 * @property {{nodes: Set<number>, open: number[]} | null} found what a search found, and whose folds it opens
 * @property {Camera} camera what of the tree is in sight
 * @property {Layout | null} spot where its cards stand
 * @property {Box} box its place, in pixels
 * @property {boolean} unmarked whether the frames are those of a lesson that asks what in them does not fit: they do not say it
 * @property {boolean} focus whether the tree is alone in the window
 * @property {boolean} large whether it is so in large type
 * @property {Hit[]} hits of the tree
 * @property {Partial<Record<ModelName, Hit[]>>} maskHits
 * @property {number | null} playing timers
 * @property {number | null} drawing
 * @property {number | undefined} asking
 * @property {number} soon
 * @property {number | undefined} later
 */

/**
 * @typedef {object} Act what parts of a viewer may ask of it
 * @property {(node: number | null, keep?: boolean) => void} select a node; again takes it away, unless it is to be kept
 * @property {(step: number) => void} show
 * @property {(place: Place) => void} follow a link; Backspace leads back
 * @property {() => void} backtrack to where the last link was followed from
 * @property {(open: boolean) => void} why open or close the chain of causes
 * @property {(way: -1 | 1) => void} hit go to the next or the previous step in which something went wrong
 * @property {(element: HTMLElement) => void} reveal an element further down: bring it into sight
 * @property {() => void} [whatIf] open the question what would have come of another coin; there is none without a server
 * @property {() => void} [figure] open the dialog of the figure
 * @property {() => void} [embed] copy what shows this step inside another page; there is none without a server
 * @property {(name: string) => void} toggle whether a verifier is shown
 * @property {(name: string) => void} watch a verifier
 * @property {() => void} compare all paths, or only the one that is watched
 * @property {(index: number | null) => void} phase enter a phase of the step, or leave them with null
 * @property {(range: Range | null) => void} range choose the steps that the totals are of
 * @property {(node: number) => void} unfold what the stub at a node stands for
 * @property {(notice?: NoticeShown | null) => void} notice
 * @property {(target: Target) => void} light what stands for a node
 * @property {(start?: number | null) => void} focusTree
 * @property {() => void} rebuild everything that is made of the frames, after they became others
 * @property {(name: string) => void} open a panel of the dock, or close it with ""
 */

/** @typedef {Pick<Notice, "text"> & {kind: string, fraction?: number | null}} NoticeShown */
/** @typedef {{node?: number, bonus?: string} | null} Target a node, a verifier's bonus token, or nothing */

/**
 * @typedef {object} Handlers what a viewer tells its page; all are left out in an exported file
 * @property {(run: string, steps: number[]) => void} [onNeed] frames that a block promised and that never came
 * @property {(at: {trace: string, step: number, node: number | null, verifier: string | null}) => void} [onSelect]
 * @property {(kind: string, data: object) => void} [ask] what a person wants of the server
 * @property {(block: Block) => void} [onBlock] called for every block that came
 * @property {(block: Block) => void} [onAside] called for a step of a run that goes on out of sight
 * @property {(page: "lessons" | "faults", open: boolean) => void} [onPage] the list of lessons or faults is wished for, or was left
 * @property {(notice: NoticeShown | null) => void} [onWorking] says what is being done; without it the viewer does
 */

/**
 * @typedef {object} Tool a part that can be left out: lessons, what if, links ...
 * @property {(block: Block) => void} [take] called for every block that came
 * @property {(blocks: Block[]) => boolean} [declines] whether what came together is not wanted any more
 * @property {() => void} [run] called when another run is shown
 * @property {() => void} [moved] called after every drawing
 * @property {() => void} [leave] called when the run alone is to be in sight
 * @property {() => void} [dispose] called when the viewer leaves the page
 */

/**
 * @typedef {object} View how a frame is looked at
 * @property {string} lens the verifier that is watched
 * @property {Set<string>} shown verifiers
 * @property {number | null} selected
 * @property {Set<number>} open
 * @property {boolean} compare
 * @property {Set<number> | null} found
 * @property {State["proofs"]} proofs
 * @property {Known} known
 */

/** @returns {State} */
export function emptyState() {
  return {
    run: null, frames: new Map(), step: 0, end: 0, phase: null, awaits: false, away: false, starting: null, touring: false, selected: null, offered: false, closed: false, asks: false, why: false, trail: [], lens: null, hidden: new Set(), range: null, open: new Map(), refused: new Map(),
    asked: new Set(), proofs: {}, known: null, compare: false, found: null, camera: { zoom: 1, x: 0, y: 0 }, spot: null, box: { width: 0, height: 0 }, dock: "", unmarked: false, focus: false, large: false, hits: [], maskHits: {},
    playing: null, drawing: null, asking: undefined, soon: 0, later: undefined,
  };
}

/**
 * The frame in sight, unless it has not come yet.
 * @param {State} state
 */
export const frameNow = (state) => state.frames.get(state.step);

/**
 * The frame in sight, for what is drawn only where there is one.
 * @param {State} state
 */
export const frameDrawn = (state) => /** @type {Frame} */ (frameNow(state));

/**
 * The run in sight, for what is drawn only where there is one.
 * @param {State} state
 */
export const runDrawn = (state) => /** @type {Run} */ (state.run);
