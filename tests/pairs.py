"""Live pairs of small random models, and runs on them."""

from __future__ import annotations

from functools import lru_cache

from specviz.engine.session import Session
from specviz.models.hidden_state_head import HiddenStateHead
from specviz.models.language_model import LanguageModel
from specviz.models.loading import Pair
from specviz.models.tokens import TokenTexts
from specviz.trace.schema import Choice, ModelInfo, Models, Sampling, Settings, Trace
from tests import tiny
from tests.tokenizer_kinds import KINDS

ALL_VERIFIERS = ("rejection", "eta", "longest_path", "traversal", "naive", "greedy")
TREES = {
    "chain": Choice(name="k_config", options={"tree": "1,1,1,1"}),
    "4,2,2": Choice(name="k_config", options={"tree": "4,2,2"}),
    "heterogeneous": Choice(name="explicit", options={}),
    "dynamic": Choice(name="dynamic", options={"total": 20, "top_k": 4, "depth": 5}),
    "with replacement": Choice(name="k_config", options={"tree": "3,2,2", "proposal": "with_replacement"}),
    "sequoia": Choice(name="sequoia", options={"total": 12, "depth": 4}),
    "prompt lookup": Choice(name="prompt_lookup", options={"ngram": 2, "depth": 3}),
    "no draft": Choice(name="k_config", options={"tree": ""}),
}


@lru_cache(maxsize=8)
def make_pair(family: str = "llama", *, scale: float = 0.3, end_tokens: tuple[int, ...] = ()) -> Pair:
    """A target and a draft that agrees with it often, but not always. Sessions share it; it holds no state of a run."""
    target = tiny.make_model(family)
    draft = tiny.perturbed(target, scale=scale)
    return pair_of(target, draft, end_tokens)


@lru_cache(maxsize=2)
def make_reading_pair(family: str = "llama") -> Pair:
    """A pair whose draft reads the target's hidden states."""
    target = tiny.make_model(family)
    draft = tiny.perturbed(target, scale=0.3)
    return pair_of(target, draft, head=tiny.head_for(target, draft))


@lru_cache(maxsize=1)
def make_trace_of_kind(kind: str) -> Trace:
    """A finished run of a pair with one of the tokenizers in :mod:`tests.tokenizer_kinds`."""
    tokenizer = KINDS[kind]()
    target = tiny.make_model("llama", vocab=len(tokenizer))
    pair = pair_of(target, tiny.perturbed(target), tokenizer=tokenizer)
    session = Session(pair, make_settings(seed=3), "the sea is blue")
    list(session.run())
    return session.trace


def pair_of(
    target: object,
    draft: object,
    end_tokens: tuple[int, ...] = (),
    head: HiddenStateHead | None = None,
    tokenizer: object | None = None,
) -> Pair:
    """A pair of two models that are there already, with the tests' tokenizer or another."""
    reads = {"reads": head.layers if head else ()}
    infos = Models(target=info_of(target, "target"), draft=info_of(draft, "draft").model_copy(update=reads))
    tokenizer = tokenizer or tiny.make_tokenizer()
    return Pair(
        target=LanguageModel(target, infos.target),
        draft=LanguageModel(draft, infos.draft, head),
        tokenizer=tokenizer,
        token_text=TokenTexts(tokenizer),
        eos_ids=frozenset(end_tokens),
        models=infos,
    )


def info_of(model: object, name: str) -> ModelInfo:
    return ModelInfo(
        id=name,
        source="hub",
        architecture=type(model).__name__,
        parameters=sum(p.numel() for p in model.parameters()),
        layers=model.config.num_hidden_layers,
        vocabulary=model.config.vocab_size,
        dtype="float32",
        device="cpu",
    )


def make_settings(tree: Choice | str = "4,2,2", **fields: object) -> Settings:
    """All verifiers on one tree; ``fields`` override."""
    defaults = {
        "builder": TREES[tree] if isinstance(tree, str) else tree,
        "verifiers": tuple(Choice(name=name) for name in ALL_VERIFIERS),
        "driver": "rejection",
        "max_new_tokens": 24,
    }
    return Settings(**(defaults | fields))


def make_trace(family: str = "llama", tree: Choice | str = "4,2,2", prompt: str = "the sea", **fields: object) -> Trace:
    """A finished run."""
    session = Session(make_pair(family), make_settings(tree, **fields), prompt)
    list(session.run())
    return session.trace


def greedy_settings(tree: Choice | str, max_new_tokens: int = 24) -> Settings:
    return make_settings(
        tree,
        target=Sampling(temperature=0.0),
        verifiers=(Choice(name="greedy"),),
        driver="greedy",
        max_new_tokens=max_new_tokens,
    )
