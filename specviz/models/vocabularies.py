"""Check that two tokenizers mean the same by the same ids, before any weight is read.

A draft's tokens are judged by the target by their ids, so a pair must share a vocabulary.
"""

from __future__ import annotations

from typing import Any

from specviz.errors import ModelError, shown
from specviz.trace.schema import MOST_RENAMED


def check_tokenizers(
    target: Any,
    draft: Any,
    target_name: str,
    draft_name: str,
    vocabulary: int | None = None,
    *,
    allow_renamed: bool = False,
) -> tuple[int, ...]:
    """Refuse a draft whose token ids do not mean what the target's mean.

    The vocabularies are compared, not ``vocab_size`` of the models: that one is often padded to a round number. Entries
    beyond the target's embeddings (a padding token that was only ever added to the tokenizer) are no part of any text.

    Two vocabularies are *nearly equal* if every id at which they differ, at most
    :data:`specviz.trace.schema.MOST_RENAMED`,
    is in each of them an added token or none at all: every ordinary token has the same id in both.

    Args:
        target, draft: tokenizers.
        vocabulary: V of the target model; without it every entry counts.
        allow_renamed: take nearly equal vocabularies. The output is exact all the same, since the target judges every
            token; a draft that misreads some drafts worse where they occur.

    Returns:
        The ids at which they differ, in order; none for equal ones.

    Raises:
        ModelError: that names one token the two disagree about.
    """
    ours, theirs = (
        {token: id for token, id in tokenizer.get_vocab().items() if vocabulary is None or id < vocabulary}
        for tokenizer in (target, draft)
    )
    if ours == theirs:
        return ()
    our_names, their_names = ({id: token for token, id in known.items()} for known in (ours, theirs))
    ids = sorted(id for id in our_names.keys() | their_names.keys() if our_names.get(id) != their_names.get(id))
    near = len(ids) <= MOST_RENAMED and all(
        id not in names or id in tokenizer.added_tokens_decoder
        for names, tokenizer in ((our_names, target), (their_names, draft))
        for id in ids
    )
    if not near:
        differing = sorted(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
        example = differing[0]
        raise ModelError(
            f"{draft_name} cannot draft for {target_name}: their tokenizers differ in {len(differing):,} tokens (for "
            f"example {shown(example)}: {_id(theirs, example)} and {_id(ours, example)}); choose two models of one "
            "family."
        )
    if not allow_renamed:
        many = "tokens" if len(ids) > 1 else "token"
        named = ", ".join(f"id {id}: {_name(their_names, id)} and {_name(our_names, id)}" for id in ids[:3])
        raise ModelError(
            f"The tokenizers of {draft_name} and {target_name} differ in {len(ids)} added {many} and no other ({named}"
            f"{', …' if len(ids) > 3 else ''}); allow renamed tokens (--allow-renamed-tokens) to run them together all "
            "the same, at the risk that the draft misreads these and is accepted less often after them."
        )
    return tuple(ids)


def _id(vocabulary: dict[str, int], token: str) -> str:
    return f"id {vocabulary[token]}" if token in vocabulary else "absent"


def _name(names: dict[int, str], id: int) -> str:
    return shown(names[id], 40) if id in names else "none"
