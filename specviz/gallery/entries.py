"""The faults of the gallery, by subject: the target's cache, positions and mask, the verdict, draft, text, heads."""

from __future__ import annotations

from specviz.gallery.fault import Fault, Report

_CACHE = (
    Fault(
        name="no-compaction",
        title="The cache is cut, but not compacted",
        said="The cache is cut to its right length, but the accepted slots are not gathered first.",
        more="A rejected sibling stays in the text's place, and everything later attends to it.",
        look="KV cache, target: a slot after the step holds another node than is due there. The keys say so "
        "themselves: they are compared by their hashes. The target's rows of all later steps are off.",
        checks=("compaction", "target_rows"),
        reports=(Report("sgl-project/sglang", 26866),),
    ),
    Fault(
        name="rejected-stay",
        title="Rejected tokens stay in the target's cache",
        said="The target's cache is not rewound after a rejection.",
        more="What comes later attends to tokens that are in no text. So it is with caches that cannot be rewound, "
        "where the call does nothing.",
        look="KV cache, target: slots of rejected nodes are left after the step, where nothing is due. From the "
        "next step on the target's rows are not those of the text.",
        checks=("compaction", "target_rows"),
        reports=(Report("ml-explore/mlx-lm", 1109),),
    ),
)
_PLACES = (
    Fault(
        name="positions-plus-one",
        title="Positions off by one",
        said="Every node is run one position too far to the right.",
        more="Distances inside the tree stay right. Only those between tree and text are off, so the text still reads "
        "well.",
        look="Mask and positions: behind each row stands the position that was passed, and the one that is due: the "
        "length of the text before the root, plus the node's depth.",
        checks=("positions", "target_rows"),
        reports=(Report("huggingface/transformers", 30413),),
    ),
    Fault(
        name="positions-by-index",
        title="Positions count nodes, not depth",
        said="A node's position is its place in the flattened tree, not its depth.",
        more="That is right as long as the tree is a chain. One sibling puts every later node too far along.",
        look="Mask and positions: siblings must share a position. Here each has one of its own.",
        checks=("positions", "target_rows"),
        reports=(Report("lablup/mlxcel", 1214),),
    ),
    Fault(
        name="positions-by-step",
        title="Positions go on by one for each step",
        said="The counter of positions goes on by one a step, whatever was accepted.",
        more="The first step that accepts a draft puts it behind the text for good.",
        look="Mask and positions, in the first step after one that accepted: the position of the root is smaller than "
        "the text is long.",
        checks=("positions", "target_rows"),
        reports=(Report("huggingface/transformers", 30042),),
    ),
    Fault(
        name="sibling-leak",
        title="A node sees its sibling",
        said="The mask lets a row see an earlier sibling.",
        more="So it is with plain causal attention, and where a kernel takes the lower triangle for unmasked. What the "
        "target says there is of a text that nobody will write.",
        look="Mask and positions: a red cell is a node that is seen and is no ancestor.",
        checks=("mask", "target_rows"),
        reports=(Report("PaddlePaddle/FastDeploy", 3514),),
    ),
)
_VERDICT = (
    Fault(
        name="stale-residual",
        title="The bonus comes from a stale residual",
        said="The bonus is drawn from the row before the last rejection.",
        more="After each rejection the target's row loses what the draft had claimed. The last one is left out here, "
        "so the bonus row still has the rejected token's share.",
        look="The bonus under the step's decisions: the row that it was drawn from is not the residual after the "
        "last rejected sibling. In specviz's own verifiers, specviz check finds the same without a model.",
        checks=("bonus_row",),
        also=("thresholds", "rejudged", "bonus_token"),
        reports=(Report("SafeAILab/EAGLE", 47), Report("SafeAILab/EAGLE", 50)),
    ),
    Fault(
        name="only-the-token",
        title="The rejected token is zeroed, the draft's row not subtracted",
        said="After a rejection only the rejected token's entry leaves the target's row.",
        more="That is right for top-k children. Of drawn ones all that the draft had claimed must go.",
        look="Decisions at the second sibling: the ratio that the loop compared, beside p ÷ q of the residual.",
        checks=("bonus_row", "thresholds"),
        also=("rejudged", "bonus_token", "committed_calibration"),
        reports=(Report("SafeAILab/EAGLE", 20),),
    ),
    Fault(
        name="not-renormalised",
        title="q is not scaled after a sibling is gone",
        said="q is not scaled to 1 again after a sibling was drawn.",
        more="Siblings are drawn without replacement: the second comes from what the first left, scaled to 1. "
        "Unscaled, q is too small, and the second is accepted too often.",
        look="Decisions at the second sibling: the ratio is larger than p ÷ q with the q that it was drawn with.",
        checks=("thresholds", "bonus_row"),
        also=("rejudged", "bonus_token"),
        reports=(Report("SafeAILab/EAGLE", 74),),
    ),
    Fault(
        name="other-temperature",
        title="Verified at another temperature",
        said="The verifier judges at another temperature than the target samples with.",
        more="The text is that of the other temperature, however right the rest is.",
        look="Decisions: every ratio differs from p ÷ q of the recorded rows.",
        checks=("thresholds", "bonus_row"),
        also=("rejudged", "bonus_token", "committed_calibration"),
        reports=(Report("ohdearquant/lattice", 388),),
    ),
    Fault(
        name="coin-of-zero",
        title="A coin of 0 accepts what cannot be",
        said="A draft is accepted where its coin is at most its ratio, and both can be 0.",
        more="A token that top-k has ruled out is written. It is rare with fine coins; here they have six bits.",
        look="The decision: ratio 0, coin 0, accepted. The target gives the token probability 0.",
        checks=("rejudged", "committed_calibration"),
        reports=(Report("sgl-project/sglang", 35771),),
    ),
)
_DRAFT = (
    Fault(
        name="argmax-drafts",
        title="Drafts are the likeliest tokens, judged as if drawn",
        said="Drafts are taken by argmax, and judged as if they were drawn from their rows.",
        more="Likely tokens come too often, and the rule that would make up for it counts on another law. The text is "
        "not the target's.",
        look="Findings: the drafts are less surprising than their rows say, by far more than chance, and from "
        "which step on that is certain. No single step shows it.",
        checks=("draft_calibration",),
        also=("committed_calibration",),
        reports=(Report("huggingface/transformers", 47932), Report("z-lab/dflash", 74)),
    ),
    Fault(
        name="other-q",
        title="Drawn from one row, judged by another",
        said="Drafts are drawn at one temperature and judged by the row of another.",
        more="The same in small: one of the two is computed in a coarser number format.",
        look="Findings: the score says whether drafts are more or less surprising than their rows, and from which "
        "step on that is certain. No single step shows it.",
        checks=("draft_calibration",),
        also=("committed_calibration",),
        reports=(Report("deepseek-ai/DeepSpec", 31),),
    ),
    Fault(
        name="draft-two-short",
        title="The draft's context lacks two tokens",
        said="What the draft reads lacks two tokens before the root.",
        more="So it is where its cache is rewound by two too many. The text stays right: nothing but acceptance shows "
        "it.",
        look="The draft's q in the tree: plausible words, but for another place of the text. Acceptance is lower "
        "than it could be.",
        checks=("draft_rows",),
        reports=(Report("lablup/mlxcel", 994),),
    ),
    Fault(
        name="draft-one-short",
        title="The draft misses a token after a full accept",
        said="After a full accept the last drafted token is never fed to the draft.",
        more="The draft had proposed it, and not read it. Its cache has a hole from then on.",
        look="KV cache, draft, in the first step after one that accepted everything: it begins one slot too early. "
        "q at the root is that of a text with a word missing.",
        checks=("draft_compaction", "draft_rows"),
        reports=(Report("vllm-project/vllm", 9730), Report("NVIDIA/TensorRT-LLM", 5285)),
    ),
    Fault(
        name="draft-keeps-rejected",
        title="Rejected tokens stay in the draft's cache",
        said="Only the target's cache is rewound after a rejection.",
        more="The draft goes on behind its own rejected tokens, and agrees less with every step.",
        look="KV cache, draft: slots of rejected nodes are left after the step, where nothing is due.",
        checks=("draft_compaction", "draft_rows"),
        reports=(Report("vllm-project/vllm", 55055),),
    ),
    Fault(
        name="draft-positions",
        title="The draft's positions are off by one",
        said="The draft's position goes on before each of its forwards instead of after it.",
        more="Its first row is right, those of all deeper nodes are off.",
        look="KV cache, draft: the red slots ran at another position than their depth says. The line below names "
        "the first.",
        checks=("draft_positions", "draft_rows"),
        reports=(Report("sgl-project/sglang", 25015),),
    ),
)
_TEXT = (
    Fault(
        name="end-inside",
        title="An end of sequence inside a block is missed",
        said="Only the last token of a step is looked at for an end of sequence.",
        more="An end token that was accepted before it is overlooked, and the text goes on.",
        look="The words of the step: after the end token stand others, and further steps.",
        checks=("text_end",),
        reports=(Report("huggingface/transformers", 47912),),
    ),
    Fault(
        name="no-token-after-rejection",
        title="No token of the target's after a rejection",
        said="A rejected draft is replaced only where it is the first of its block.",
        more="Further on the step ends without the target's token, one too few.",
        look="The step's words: the bonus was drawn, and is not among them.",
        checks=("text_end",),
        reports=(Report("vllm-project/vllm", 8562),),
    ),
    Fault(
        name="bonus-too-early",
        title="The bonus is written over an accepted token",
        said="The bonus is put in its place before the accepted tokens are moved up.",
        more="Where one of them still stands there it is lost, and the bonus is in the text twice. specviz found it in "
        "Sequoia (commit 0ff3ff7, SpecTree.verify); we know of no report.",
        look="The step's words, beside the accepted path in the tree: they differ.",
        checks=("committed_text",),
    ),
)

_ROOT_ROW = (
    "The root: the head's row there, and so q of its children, is not that of a plain forward over the text's pairs. "
    "The text is the target's all the same; acceptance is what suffers."
)
_HEADS = (
    Fault(
        name="head-keeps-drafted",
        title="A head keeps the keys that it drafted with",
        said="Accepted tokens keep the keys and values that the head computed while it drafted them.",
        more="Below the root a head reads its own output in place of the target's state. After the verdict the states "
        "are known, and the accepted pairs must be fed again with them.",
        look="The root of the steps after one that accepted: the head's row there is not that of a plain forward over "
        "the text's pairs. Steps before it are right.",
        checks=("draft_rows",),
        reports=(Report("vllm-project/vllm", 14649),),
    ),
    Fault(
        name="head-other-layers",
        title="A head reads the layers before its own",
        said="The target's states are taken one layer too early.",
        more="Some count the outputs of layers from 0, some hidden states with the embeddings as 0.",
        look=_ROOT_ROW,
        checks=("draft_rows",),
        reports=(Report("sgl-project/sglang", 25454),),
    ),
    Fault(
        name="head-norm-flipped",
        title="A head's norm is flipped",
        said="The residual is taken after the norm where the head was trained with the one before it.",
        more="A flag of the config says which (norm_before_residual). The same happens to the norm of what is handed "
        "on (norm_output).",
        look=_ROOT_ROW,
        checks=("draft_rows",),
        reports=(Report("sgl-project/SpecForge", 879), Report("vllm-project/vllm", 14464)),
    ),
    Fault(
        name="head-no-shift",
        title="A head reads each state beside its own token",
        said="A state is paired with the token it was computed from, not with the token after it.",
        more="The last token of the text is never read, and the head guesses what is known already.",
        look=_ROOT_ROW,
        checks=("draft_rows",),
        reports=(Report("mlc-ai/mlc-llm", 2266), Report("vllm-project/vllm", 14137)),
    ),
    Fault(
        name="head-other-tokens",
        title="A head's columns are taken for token ids",
        said="A head that can propose a part of the vocabulary has its columns read as the target's first ids.",
        more="d2t holds offsets: column c is token c + d2t[c]. Without them every proposal is another token.",
        look="The tree: rare or odd tokens with a large q. The head's row at the root holds its probabilities at other "
        "tokens than a recompute.",
        checks=("draft_rows",),
        reports=(Report("NVIDIA-NeMo/Automodel", 2447), Report("verl-project/verl-SpeCo", 67)),
    ),
    Fault(
        name="head-other-rope",
        title="A head's rotary base is another",
        said="The head's attention turns its keys by another base (rope_theta) than it was trained with.",
        more="Nothing is wrong with the positions themselves, so no check of positions can see it.",
        look=_ROOT_ROW,
        checks=("draft_rows",),
        reports=(Report("vllm-project/vllm-ascend", 6612), Report("vllm-project/speculators", 574)),
    ),
    Fault(
        name="head-no-embeddings",
        title="A head's embeddings were not loaded",
        said="A head without embeddings in its files runs with those of its initialization, not with the target's.",
        more="Its states still say something, so acceptance falls and does not vanish.",
        look=_ROOT_ROW,
        checks=("draft_rows",),
        reports=(Report("lightseekorg/TorchSpec", 38),),
    ),
)

FAULTS: tuple[Fault, ...] = (*_CACHE, *_PLACES, *_VERDICT, *_DRAFT, *_TEXT, *_HEADS)
