/* Made by `python -m tests.tools.viewer_types --write`: change it in Python. */
/**
 * The likeliest tokens of a distribution, in falling order.
 */
export interface Top {
  ids: number[];
  probs: number[];
}

/**
 * Columns over the nodes that have one: the likeliest tokens of a distribution after each.
 */
export interface TopColumns {
  node: number[];
  ids: number[][];
  probs: number[][];
}

/**
 * One model's distributions after the nodes of ``node``; ``entropy`` is of the processed one, in nats.
 *
 * A node of ``raw`` that ``processed`` has not got is one where both are equal, unless ``unprocessed`` has it: there
 * the processed one was not recorded. A node that ``raw`` has not got is one where the raw one was not.
 */
export interface Distributions {
  node: number[];
  entropy: (number | null)[];
  unprocessed: number[];
  raw: TopColumns;
  processed: TopColumns;
}

/**
 * Entries of a distribution that are carried for a node in sight at first, and for a folded one.
 */
export interface Limits {
  shown: number;
  folded: number;
}

/**
 * Columns over nodes whose token moved the draft's logits: by how much each of the raw entries that are carried.
 */
export interface Biases {
  node: number[];
  by: number[][];
}

/**
 * Columns over the nodes of the tree. ``q`` and ``p`` are the draft's and the target's probability; null where they
 * were not recorded, and for the root. ``text`` is never null: see :func:`specviz.figures.text.token_of`.
 *
 * optimum     of nodes with children; null as a whole where it was not recorded
 * outside     what the target gives after each node to tokens that the draft cannot propose
 * confidence  how likely the draft says that what it drafts after each node is accepted
 * bias        by which the draft's raw rows were moved by the nodes' tokens
 * moved       total variation between the target's row without processors and the one that was used
 * apart       the same between its rows by the modes exact and frozen
 * Of all these but ``bias`` null, for all or for a node, is what does not apply or was not recorded.
 */
export interface Nodes {
  depth: number[];
  rank: number[];
  token: number[];
  text: string[];
  q: (number | null)[];
  p: (number | null)[];
  target: Distributions;
  draft: Distributions;
  optimum: (number | null)[] | null;
  limits: Limits;
  outside: (number | null)[] | null;
  confidence: (number | null)[] | null;
  bias: Biases;
  moved: (number | null)[] | null;
  apart: (number | null)[] | null;
}

/**
 * Columns over depths from 1 on: the drafted tokens with both probabilities recorded, and the sums of those.
 */
export interface DepthSums {
  drafted: number[];
  q: number[];
  p: number[];
}

/**
 * The tree and what was made of its nodes; columns run over them.
 *
 * parent   -1 for the root
 * order    all nodes, children in draw order and before their parent (postorder)
 * states   verifier -> one letter a node, see ``OUTCOMES``
 * parts    the last node that all accepted paths share; null where they are equal
 */
export interface Tree {
  parent: number[];
  order: number[];
  states: Record<string, string>;
  parts: number | null;
}

/**
 * What a rejection left of the target: its mass, and the likeliest tokens of it, scaled to 1.
 */
export interface Residual {
  mass: number;
  ids: number[];
  probs: number[];
}

/**
 * Columns over the decisions that are carried in full; ``at`` is their place among all.
 */
export interface DecisionDetails {
  at: number[];
  threshold: (number | null)[];
  reason: (string | null)[];
  residual: (Residual | null)[];
}

/**
 * Columns over a verifier's decisions, in the order they were taken.
 *
 * outcome     a letter of ``OUTCOMES``
 * rule        place in the verdict's ``rules``
 * comparison  place in ``COMPARISONS``; null where another engine did not say
 * uniform     the coin, or null for a rule without one and where it was not recorded
 * p, q        what was compared, or null
 * expected    the token that the node's token was compared with
 * details     of the others the threshold stands in the verdict's column
 */
export interface Decisions {
  node: number[];
  outcome: string;
  rule: number[];
  comparison: (number | null)[];
  uniform: (number | null)[];
  p: (number | null)[];
  q: (number | null)[];
  expected: (number | null)[];
  details: DecisionDetails;
}

/**
 * A verifier's bonus token and the distribution it was drawn from. ``fault`` says why that cannot be.
 *
 * source, uniform, top  null where they were not recorded
 * draftRank             how many tokens the draft took for likelier there; null where not recorded
 */
export interface Bonus {
  token: number;
  text: string;
  node: number;
  source: string | null;
  uniform: number | null;
  top: Top | null;
  draftRank: number | null;
  fault: string | null;
}

/**
 * What a verifier makes of the step, with the same luck, where processors work in ``mode``: its path, its bonus
 * token, and the nodes of which something else becomes.
 */
export interface OtherMode {
  mode: "exact" | "frozen";
  path: number[];
  bonus: string;
  nodes: number[];
}

/**
 * What one verifier made of the tree. ``thresholds`` has one a node, null where it was not recorded; ``emitted``
 * counts the new tokens, bonus included; ``bonus`` is null where the step emitted none, or it was not recorded.
 * ``acceptance`` has what the rule could expect at each node with children, given these; null where it was not
 * recorded, and for a rule that does not decide node by node. ``otherMode`` is null where processors in the other mode
 * change nothing, and without processors. ``optionsKey`` finds what ``check`` says of these options; it is null where
 * processors make rows that no check is about.
 */
export interface Verdict {
  verifier: string;
  options: Record<string, string | number | boolean | null>;
  optionsKey: string | null;
  lossless: string;
  path: number[];
  emitted: number;
  bonus: Bonus | null;
  thresholds: (number | null)[];
  acceptance: (number | null)[] | null;
  rules: string[];
  decisions: Decisions;
  otherMode: OtherMode | null;
}

/**
 */
export interface DraftPhase {
  kind: "draft";
  depth: number;
  caption: string;
}

/**
 * ``upto`` decisions were taken; ``node`` is null for a run of them about folded nodes.
 */
export interface DecidePhase {
  kind: "decide";
  node: number | null;
  upto: number;
  caption: string;
}

/**
 */
export interface PlainPhase {
  kind: "target" | "verdict" | "commit" | "cache";
  caption: string;
}

/**
 * ``walk`` says that an accepted node is final at once.
 */
export interface VerdictPhases {
  walk: boolean;
  phases: (DraftPhase | DecidePhase | PlainPhase)[];
}

/**
 * The phases inside a step: before any verdict, of the verifier that is watched, after.
 */
export interface Phases {
  before: (DraftPhase | DecidePhase | PlainPhase)[];
  verdicts: Record<string, VerdictPhases>;
  after: (DraftPhase | DecidePhase | PlainPhase)[];
}

/**
 * Columns over the committed tokens: piece of readable text, visible token, where it comes from. ``other`` is what
 * another engine says it committed and its path and bonus have not.
 */
export interface Commit {
  piece: string[];
  label: string[];
  origin: ("accepted" | "bonus" | "other")[];
}

/**
 * How the text ends in a step.
 *
 * said    the reason in words: of a stop string which one, and what its last token says after it
 * thrown  nodes that the driver accepted and that are not in the text, because it ends before them
 */
export interface TextEnd {
  said: string;
  thrown: number[];
}

/**
 */
export interface Tolerance {
  target: number;
  draft: number;
}

/**
 * Everything the page shows of one step. ``tokens`` has the visible text of every token id it mentions.
 *
 * Null is *not recorded*, everywhere: of another engine's run most of a step may be. ``builder`` and ``proposal`` say
 * how the tree was grown, ``draftRan`` whether a draft model ran nodes of it. ``draftModel`` is that of a step
 * that ran on another draft, or on the same otherwise, than is said of the run.
 */
export interface Frame {
  step: number;
  index: number;
  context: number;
  driver: string;
  summary: string;
  builder: string | null;
  proposal: string | null;
  draftRan: boolean | null;
  draftModel: ModelInfo | null;
  endReason: string | null;
  textEnd: TextEnd | null;
  prefilled: number | null;
  timings: Timings | null;
  tree: Tree;
  nodes: Nodes;
  verdicts: Verdict[];
  phases: Phases;
  commit: Commit;
  tolerance: Tolerance;
  caches: Caches;
  sums: DepthSums;
  tokens: Record<number, string>;
}

/**
 * What was loaded, as found on the loaded model.
 */
export interface ModelInfo {
  id: string;
  source: "built-in" | "folder" | "hub" | null;
  revision: string | null;
  weights: string | null;
  config: Record<string, string>;
  architecture: string | null;
  parameters: number | null;
  layers: number | null;
  vocabulary: number | null;
  dtype: string | null;
  device: string | null;
  quantization: string | null;
  reads: number[];
  head: HeadInfo | null;
  note: string | null;
}

/**
 * A draft head: a few layers that draft from the target's hidden states, and how they were run.
 */
export interface HeadInfo {
  format: "eagle1" | "eagle3" | "p_eagle" | "dflash" | "dspark" | "medusa" | "mtp" | "hidden_state";
  kind: "step" | "block";
  reads: number[];
  before_norm: boolean;
  layers: number;
  depth: number | null;
  vocabulary: number | null;
  options: Record<string, boolean | number | number | string | null>;
  by_hand: string[];
}

/**
 * Seconds of one step. ``draft`` and ``target`` are the models' forwards; the rest is specviz's own work.
 *
 * On CUDA a phase lasts from when the device comes to it until it leaves it, and ``record`` and ``audit``, which read
 * first and work on the host, by the host's clock. Null is what another engine did not tell.
 */
export interface Timings {
  draft: number | null;
  target: number | null;
  build: number | null;
  verify: number | null;
  commit: number | null;
  record: number | null;
  audit: number | null;
  total: number | null;
}

/**
 * Null for a cache of which nothing was recorded.
 */
export interface Caches {
  target: Cache | null;
  draft: Cache | null;
}

/**
 * One model's cache. Columns run over the slots written in this step, but those of ``after`` and ``settled``.
 *
 * kind     what a slot of the text holds: a token's keys and values; of a draft head those of a pair of a state of the
 *          target and the token after it, or of a state alone; ``none`` for a head that has none
 * states   of a draft head; else null
 * before, length  slots before the step and after the update
 * role     ``c``: fed late, ``n``: of the tree, ``p``: run and then pruned, ``m``: a masked place of a block
 * state    ``k`` kept where it was, ``m`` moved, ``d`` dropped, ``l`` lost, ``u`` not recorded
 * to       the slot that holds it after the update, or null
 * moves    what the run says it moved; ``state`` and ``to`` are by fingerprint
 * prints   fingerprint after the forward
 * after    null where the fingerprints after the update were not recorded
 * mask     null where neither the mask nor the positions were recorded
 * lacks    what was not recorded, in words; empty for a cache of which everything is known
 * faults   sentences about what does not fit
 * fresh    how many of them arose in this step
 */
export interface Cache {
  kind: "tokens" | "pairs" | "states" | "none";
  states: States | null;
  before: number | null;
  length: number | null;
  slot: (number | null)[];
  label: string[];
  text: string[];
  position: (number | null)[];
  node: (number | null)[];
  role: string;
  state: string;
  to: (number | null)[];
  moves: Moves | null;
  prints: string[] | null;
  after: Left | null;
  settled: Settled;
  mask: Mask | null;
  audit: Audit | null;
  lacks: string[];
  faults: string[];
  fresh: number;
}

/**
 * Columns over the written slots of a draft head: which state stands in each beside its token.
 *
 * of    ``t``: the target's, ``o``: the head's own, ``m``: none, a place of a block
 * at    place in the text of the target's state; node of the head's own
 * text  the token at that place; null where there is none
 */
export interface States {
  of: string;
  at: (number | null)[];
  text: (string | null)[];
}

/**
 * Columns over the moves that the update recorded: from which slot, to which.
 */
export interface Moves {
  slot: number[];
  to: number[];
}

/**
 * Columns over the slots that the update left.
 *
 * due    place of the written slot it should hold, or null
 * print  its fingerprint
 * good   1 if it holds that one
 * held   place of the written slot it does hold, or null
 */
export interface Left {
  slot: number[];
  due: (number | null)[];
  print: string[];
  good: number[];
  held: (number | null)[];
}

/**
 * Columns over the last slots from before the step.
 *
 * text   null where that step did not write what the slot holds
 * step   of the step that left something else there than the text has, or null
 */
export interface Settled {
  text: (string | null)[];
  step: (number | null)[];
}

/**
 * The mask against the one that ancestry demands.
 *
 * up       the row before each row in its line of descent, -1 for none, null where the tree does not tell
 * block    rows of a block that is drafted at once, in which each sees all of them besides its line
 * root     the position at which the root is due; null where that is not known
 * silent   rows of which it was not recorded what they see
 * leaks    columns that a row sees and must not
 * missing  columns that it must see and does not
 * unknown  columns that a pruned row saw
 * wrong    how many rows have a leak, something missing or a position that is not due
 * cut      the first row whose runs are not carried any more, or null
 */
export interface Mask {
  up: (number | null)[];
  block: number[];
  root: number | null;
  silent: number[];
  leaks: Runs;
  missing: Runs;
  unknown: Runs;
  earlier: Seen;
  due: Due;
  wrong: number;
  cut: number | null;
}

/**
 * Columns over rows of the mask: where runs of neighbouring cells in it begin and end.
 */
export interface Runs {
  row: number[];
  first: number[][];
  last: number[][];
}

/**
 * Rows that do not see exactly the settled slots, and how many of them each sees.
 */
export interface Seen {
  row: number[];
  seen: number[];
}

/**
 * Rows whose position is not the demanded one, and the position that is.
 */
export interface Due {
  row: number[];
  position: number[];
}

/**
 * Relative differences from a recompute.
 *
 * keys, values  [layer][column]; the first column stands for all earlier slots
 * first         slot of the second column
 * shades        of keys and of values: one digit a cell, layers parted by ``/``
 * wrong         how many cells lie beyond the tolerance
 */
export interface Audit {
  first: number;
  keys: number[][];
  values: number[][];
  shades: string[];
  wrong: number;
  logits: number | null;
  worst: number;
}

/**
 * How a verifier is drawn: its colour's role (``v0`` ...) and its dash.
 */
export interface Looks {
  name: string;
  role: string;
  dash: string;
}

/**
 * Columns over the nodes of a failed step; ``wrong`` says what is wrong with the logits there.
 */
export interface FailedNodes {
  parent: (number | null)[];
  text: string[];
  q: (number | null)[];
  p: (number | null)[];
  wrong: (string | null)[];
}

/**
 * The step that an error ended, as far as it came.
 */
export interface Failed {
  step: number;
  message: string;
  nodes: FailedNodes;
}

/**
 * Null for a model that another engine did not name, or has not.
 */
export interface RunModels {
  target: ModelInfo | null;
  draft: ModelInfo | null;
}

/**
 * A short name of each model's weights.
 */
export interface Weights {
  target: string;
  draft: string;
}

/**
 * Another engine that decoded the run, as far as it said.
 *
 * rule, lossless   what it says of itself; null where it did not
 * target, draft    how its logits become distributions; null where not recorded
 * said             all of it in a few words, to stand where specviz's own runs have driver and settings
 */
export interface RecordedFrom {
  name: string;
  version: string | null;
  rule: string | null;
  lossless: boolean | null;
  target: Sampling | null;
  draft: Sampling | null;
  said: string;
}

/**
 * How logits become the distribution that is sampled from. Order: temperature, top-k, top-p, eta cutoff.
 */
export interface Sampling {
  temperature: number;
  top_k: number;
  top_p: number;
  eta_cutoff: number;
}

/**
 * Columns over what does not fit in a run, the gravest first.
 *
 * weight      ``error`` or ``warning``
 * step, node  where it is first, or null for the whole run, the whole step
 * meaning     what it usually means
 * place       the part of the page that shows it, as :data:`specviz.recorder.findings.Place` names it
 */
export interface FoundColumns {
  check: string[];
  weight: string[];
  step: (number | null)[];
  node: (number | null)[];
  sentence: string[];
  meaning: string[];
  place: string[];
}

/**
 * Columns over checks, and what there is to say of each.
 */
export interface CheckColumns {
  check: string[];
  said: string[];
}

/**
 * What the checks of a run found.
 *
 * ran     how many checks compared something
 * fits    of those that found nothing, what they compared
 * notRun  of those that could not run, what they lacked
 * more    findings that are not listed
 */
export interface Findings {
  ran: number;
  found: FoundColumns;
  fits: CheckColumns;
  notRun: CheckColumns;
  more: number;
}

/**
 * What is said of a whole run. ``asked`` is the prompt as it was given, ``prompt`` what the models saw of it,
 * with what a chat template adds. ``draftRan`` is null for a run without a step, and where it was not recorded.
 * ``engine`` and ``findings`` are null for specviz's own runs, ``settings`` for all others.
 */
export interface Run {
  id: string;
  created: string;
  version: string;
  steps: number;
  endReason: string | null;
  endMessage: string | null;
  failed: Failed | null;
  asked: string;
  prompt: string;
  promptTokens: number;
  models: RunModels;
  weights: Weights;
  engine: RecordedFrom | null;
  request: string | null;
  settings: Settings | null;
  driver: string;
  draftRan: boolean | null;
  verifiers: Looks[];
  totals: Totals;
  findings: Findings | null;
}

/**
 * Everything that, with the models and the prompt, determines a run.
 */
export interface Settings {
  target: Sampling;
  draft: Sampling;
  builder: Choice;
  verifiers: Choice[];
  processors: Processors | null;
  driver: string;
  seed: number;
  max_new_tokens: number;
  min_new_tokens: number;
  stop: string[];
  chat: boolean;
  prompt_end_token: "refuse" | "drop" | "keep";
  audit: boolean;
  record_top_k: number;
  record_optimum: boolean;
}

/**
 * A registered builder or verifier by name, with its options.
 */
export interface Choice {
  name: string;
  options: Record<string, boolean | number | number | string | null>;
}

/**
 * What changes logits by the text before them, ahead of temperature, top-k and top-p (min-p: after them).
 */
export interface Processors {
  chosen: Choice[];
  mode: "exact" | "frozen";
  draft: boolean;
}

/**
 * The run so far. ``thrown`` counts drafts that the driver accepted and that are not in the text, which ended.
 * ``shared`` is of another engine's run that specviz's rules judged again; else null.
 *
 * ``against`` has every other verifier beside the driver of the last step. ``calibration``, ``confidence`` and
 * ``outside`` are of the draft, over all steps; the last two are null where none was recorded. ``ranks`` and
 * ``advice`` are of the whole run, and null for a part of it.
 */
export interface Totals {
  steps: number;
  tokens: number;
  thrown: number;
  formulas: Record<string, string>;
  verifiers: VerifierTotals[];
  shared: SharedTotals | null;
  against: AgainstTotals[];
  calibration: CalibrationTotals;
  confidence: ConfidenceTotals | null;
  outside: OutsideTotals | null;
  ranks: RankTotals | null;
  advice: AdviceTotals | null;
}

/**
 * Of one verifier over the steps that know it; ``depth`` from depth 1, ``rank`` from draw rank 0. ``low`` and
 * ``high`` are the 95 % interval of ``efficiency`` over steps; null for too few. ``atNodes`` is null where no optimum
 * was recorded, and for a rule that does not decide node by node.
 */
export interface VerifierTotals {
  verifier: string;
  drives: number;
  steps: number;
  accepted: number;
  emitted: number;
  efficiency: number | null;
  low: number | null;
  high: number | null;
  depth: Counts;
  rank: Counts;
  atNodes: AtNodes | null;
}

/**
 * Columns: how many were accepted, of how many, and the 95 % interval of that share over steps; null for too few
 * steps.
 */
export interface Counts {
  accepted: number[];
  of: number[];
  least: (number | null)[];
  most: (number | null)[];
}

/**
 * Sums over the nodes with children that a verifier's walks reached: at how many a child was accepted, what the
 * rule could expect there, and the optima.
 */
export interface AtNodes {
  nodes: number;
  accepted: number;
  expected: number;
  optimum: number;
}

/**
 * Over the steps that each of ``verifiers`` judged, so that they can be compared.
 */
export interface SharedTotals {
  steps: number;
  verifiers: VerifierTotals[];
}

/**
 * Two verifiers over the steps that both judged, see :class:`specviz.trace.intervals.Against`; null for too few.
 */
export interface AgainstTotals {
  verifier: string;
  other: string;
  steps: number;
  parted: number;
  value: number;
  low: number | null;
  high: number | null;
  noise: boolean | null;
}

/**
 * Columns over depths from 1 on, see :class:`specviz.trace.calibration.Calibration`. ``low`` and ``high`` are of
 * p - q, ``least`` and ``most`` of accepted / reached; null for too few steps.
 */
export interface CalibrationTotals {
  steps: number[];
  drafted: number[];
  q: (number | null)[];
  p: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  accepted: number[];
  reached: number[];
  least: (number | null)[];
  most: (number | null)[];
}

/**
 * Columns over depths from 1 on, of the nodes above them, see :class:`specviz.trace.calibration.Confidence`.
 */
export interface ConfidenceTotals {
  nodes: number[];
  said: (number | null)[];
  accepted: number[];
  least: (number | null)[];
  most: (number | null)[];
}

/**
 * See :class:`specviz.trace.calibration.Outside`; ``low`` and ``high`` are null for too few steps.
 */
export interface OutsideTotals {
  nodes: number;
  steps: number;
  p: number;
  low: number | null;
  high: number | null;
  accepted: number;
}

/**
 * Ranks in the draft's rows of the tokens that ended the drivers' walks; ``names`` are those of ``known``.
 */
export interface RankTotals {
  names: string[];
  rejections: RankColumns;
  leaves: RankColumns;
}

/**
 * Columns over depths, see :class:`specviz.trace.target_ranks.RankHistogram`.
 */
export interface RankColumns {
  depth: number[];
  ends: number[];
  known: number[][];
  never: number[];
  beyond: number[];
  noRow: number[];
  recorded: number[];
}

/**
 * What shape would pay, or in a sentence why nothing is advised.
 */
export interface AdviceTotals {
  refused: string | null;
  found: AdviceFound | null;
}

/**
 * See :class:`specviz.trace.advice.Advice`. ``best`` is the budget of the tree that is offered first.
 */
export interface AdviceFound {
  decisions: number;
  steps: number;
  leftOut: number;
  driver: string;
  proposal: string | null;
  nodes: number;
  today: number;
  seen: number;
  low: number | null;
  high: number | null;
  trees: AdvisedTree[];
  best: number;
  notes: string[];
}

/**
 * See :class:`specviz.trace.advice.Advised`.
 */
export interface AdvisedTree {
  budget: number;
  nodes: number;
  levels: number;
  paths: string;
  expected: number;
  seconds: number | null;
  fastest: boolean;
}

/**
 * A message: an error, a word, or work going on, ``fraction`` of it done. ``at``: seconds, so that each is new.
 */
export interface Notice {
  kind: "error" | "info" | "working";
  text: string;
  fraction: number | null;
  at: number;
}

/**
 * A position whose frame cannot be sent, and why.
 */
export interface Refused {
  step: number;
  text: string;
}

/**
 * Where to stand.
 */
export interface Look {
  step: number | null;
  node: number | null;
  verifier: string | null;
}

/**
 * What a run is called in addresses, with how many steps; ``copy`` where a person waits for it.
 */
export interface Link {
  run?: string;
  name?: string;
  steps?: number;
  copy?: boolean;
}

/**
 * A request of the recording that the run in sight is of, and the id of its run.
 */
export interface RequestName {
  run: string;
  name: string;
}

/**
 * What is said of a recording that the page follows while it is written.
 *
 * version  another number whenever there is something new
 * asked    the run that was in sight when it was asked for; a block with a run is for no other
 * runs     ids of the runs of its requests
 * head     what stands out in the command bar, ``rest`` what follows it
 * gate     of the loop that writes it: ``""`` without one that this page holds, else ``waiting``, ``running``,
 *          ``stopped`` or ``ended``
 */
export interface Following {
  version: number;
  asked: string | null;
  runs: string[];
  head: string;
  rest: string;
  gate: "" | "waiting" | "running" | "stopped" | "ended";
}

/**
 */
export interface LessonName {
  name: string;
  title: string;
}

/**
 * A piece of a lesson's sentence, as :class:`specviz.lessons.lesson.Piece` says.
 */
export interface LessonPiece {
  text: string;
  kind: "plain" | "strong" | "value" | "card" | "q" | "p";
  node: number | null;
}

/**
 * Why a node of a step is no answer.
 */
export interface WrongAnswer {
  step: number;
  node: number;
  said: LessonPiece[];
}

/**
 * A lesson about one step of a run; one of ``nodes`` answers it.
 *
 * start    the step that is shown first: where it is not ``step``, that one has to be found, too
 * wrong    why other nodes are no answer; ``otherwise`` is why those are not that stand nowhere in it
 */
export interface Lesson {
  name: string;
  number: number;
  count: number;
  title: string;
  run: string;
  step: number;
  start: number;
  verifier: string;
  dock: boolean;
  paragraphs: LessonPiece[][];
  aside: LessonPiece[];
  question: string;
  nodes: number[];
  hint: string;
  solved: LessonPiece[];
  wrong: WrongAnswer[];
  otherwise: string;
  next: string | null;
}

/**
 * A fault of the gallery, and what its loop does wrong in a sentence.
 */
export interface FaultName {
  name: string;
  title: string;
  said: string;
}

/**
 * Where somebody met a fault: an issue or a pull request.
 */
export interface FaultReport {
  name: string;
  address: string;
}

/**
 * A fault of the gallery, beside its run.
 *
 * more     what comes of it
 * look     where the page shows it
 * finding  which of the run's findings says where it shows; null where the checks find it no more
 */
export interface Fault {
  name: string;
  number: number;
  count: number;
  title: string;
  said: string;
  more: string;
  look: string;
  run: string;
  finding: number | null;
  reports: FaultReport[];
  next: string | null;
}

/**
 * One side of a comparison; ``run`` is null where it cannot be opened.
 */
export interface ComparedRun {
  name: string;
  run: string | null;
  driver: string;
  tokens: number;
  steps: number;
  efficiency: number | null;
  accepted: number[];
}

/**
 * Where two texts part; steps and nodes are null on the side of what is no run.
 */
export interface Parting {
  index: number;
  tokens: (string | null)[];
  steps: (number | null)[];
  nodes: (number | null)[];
  margin: number | null;
  chosen: (number | null)[];
  meaning: string;
}

/**
 * Columns over the pieces of a text: whether both texts have it.
 */
export interface Pieces {
  kind: ("equal" | "differs")[];
  text: string[];
}

/**
 * Columns over settings, with both values.
 */
export interface SettingsThatDiffer {
  name: string[];
  a: string[];
  b: string[];
}

/**
 * Two runs beside each other.
 */
export interface ComparisonValue {
  sides: ComparedRun[];
  said: string[];
  parting: Parting | null;
  texts: Pieces[];
  settings: SettingsThatDiffer;
}

/**
 * A block about a run, without its frames; ``go`` asks to show that position.
 */
export interface BlockHead {
  version: number;
  run: Run;
  go: number | null;
}

/**
 * One message. Which keys it has says what it is about.
 *
 * fills    whether it only brings frames that were asked for
 * live     whether it is a step of a run that goes on, which does not take a reader away from another run
 * left     positions for which there was no room
 * proofs   verifier -> key of its options -> proposal -> what was found
 * compare  null closes the comparison
 */
export interface Block {
  version?: number;
  run?: Run;
  go?: number | null;
  frames?: Frame[];
  fills?: boolean;
  live?: boolean;
  left?: number[];
  refused?: Refused[];
  notice?: Notice | null;
  proofs?: Record<string, Record<string, Record<string, string>>>;
  look?: Look;
  link?: Link;
  requests?: RequestName[];
  following?: Following;
  lessons?: LessonName[];
  lesson?: Lesson;
  faults?: FaultName[];
  fault?: Fault;
  verifiers?: VerifierChoice[];
  whatif?: WhatIf;
  compare?: ComparisonValue | null;
}

/**
 * A verifier that can be asked what if; ``coins`` says whether it flips any at nodes.
 */
export interface VerifierChoice {
  name: string;
  summary: string;
  coins: boolean;
  options: OptionField[];
}

/**
 * An option of a verifier as a form has it; ``kind`` as :func:`specviz.options.option_kind` says.
 */
export interface OptionField {
  name: string;
  kind: string;
  choices: string[] | null;
  default: any;
  note: string | null;
}

/**
 * The answer to the question ``id`` about a step. It may have ``error`` alone, or ``needs`` alone.
 */
export interface WhatIf {
  verifier: string;
  beside: string;
  options: Record<string, any>;
  by: string;
  needs: string | null;
  difference: number | null;
  caveat: string | null;
  recordedPath: PathNodes;
  path: PathNodes;
  recordedBonus: OtherBonus | null;
  bonus: OtherBonus | null;
  samePath: boolean;
  sameBonus: boolean;
  rows: WhatIfRow[];
  differing: number[];
  unused: string[];
  thresholds: (number | null)[];
  run?: string | number | null;
  step?: string | number | null;
  id?: string | number | null;
  error?: string;
}

/**
 * Columns over the nodes of a path.
 */
export interface PathNodes {
  node: number[];
  text: string[];
}

/**
 */
export interface OtherBonus {
  text: string;
  node: number;
  source: string | null;
  uniform: number | null;
}

/**
 * A node that either side judged; null where that side did not examine it.
 */
export interface WhatIfRow {
  node: number;
  text: string;
  recorded: Judged | null;
  now: Judged | null;
  differs: boolean;
}

/**
 * A decision in words, with the letter of its outcome.
 */
export interface Judged {
  outcome: string;
  said: string;
}

/**
 * A what-if answer beside the recorded verdict.
 *
 * by          ``trace`` or ``models``
 * needs       why the trace alone does not say all of it
 * differing   nodes whose outcome differs
 * unused      a sentence for each change that the rule never looked at
 */
export interface WhatIfValue {
  verifier: string;
  beside: string;
  options: Record<string, any>;
  by: string;
  needs: string | null;
  difference: number | null;
  caveat: string | null;
  recordedPath: PathNodes;
  path: PathNodes;
  recordedBonus: OtherBonus | null;
  bonus: OtherBonus | null;
  samePath: boolean;
  sameBonus: boolean;
  rows: WhatIfRow[];
  differing: number[];
  unused: string[];
  thresholds: (number | null)[];
}

export type Phase = DraftPhase | DecidePhase | PlainPhase;
