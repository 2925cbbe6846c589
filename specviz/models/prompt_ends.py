"""Prompts that end in an end-of-sequence token: such a run would start after the end of its own text.

Some tokenizers end every text with one (they were made for training, or for encoders), and a text may write one itself.
A chat template's is not meant here: how a turn ends is the format that a model was trained on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from specviz.errors import SettingsError, shown
from specviz.trace.schema import PromptEnd


def without_end(
    tokenizer: Any, text: str, ids: Sequence[int], eos_ids: Collection[int], wanted: PromptEnd
) -> list[int]:
    """The ids of a prompt as they are to be run.

    Args:
        text: the prompt.
        ids: what ``tokenizer(text)`` made of it.
        eos_ids: that end a text of the model.
        wanted: ``drop`` takes every end token from the end, ``keep`` leaves them.

    Raises:
        SettingsError: if the prompt ends in an end token and nothing is wanted. The token that starts a text may be the
            same (GPT-2); alone it is no end.
    """
    count, added = _ends(tokenizer, text, ids, eos_ids)
    return _settled(tokenizer, ids, count, added, wanted)


def without_added_end(
    tokenizer: Any, text: str, ids: Sequence[int], eos_ids: Collection[int], wanted: PromptEnd
) -> list[int]:
    """As :func:`without_end`, of a text that means every end token that it writes itself."""
    added = _ends(tokenizer, text, ids, eos_ids)[1]
    return _settled(tokenizer, ids, added, added, wanted)


def _ends(tokenizer: Any, text: str, ids: Sequence[int], eos_ids: Collection[int]) -> tuple[int, int]:
    """How many end tokens the ids end in, and how many of these the tokenizer added to the text."""
    separator = getattr(tokenizer, "sep_token_id", None)
    if not ids or list(ids) == [tokenizer.bos_token_id] or not (ids[-1] in eos_ids or ids[-1] == separator):
        return 0, 0
    written = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ends = set(eos_ids)
    if separator is not None and written[-1:] != [separator]:
        ends.add(separator)  # tokenizers made for encoders end a text with it and name no other end
    count = _trailing(ids, ends)
    return count, max(0, count - _trailing(written, ends))


def _trailing(ids: Sequence[int], ends: Collection[int]) -> int:
    return next((i for i, id in enumerate(reversed(ids)) if id not in ends), len(ids))


def _settled(tokenizer: Any, ids: Sequence[int], count: int, added: int, wanted: PromptEnd) -> list[int]:
    if not count or wanted == "keep":
        return list(ids)
    if wanted == "drop":
        return list(ids[: len(ids) - count])
    token = shown(tokenizer.convert_ids_to_tokens(ids[-1]))
    what = f"The tokenizer adds {token}, which ends a text, to the prompt"
    if not added:
        what = f"The prompt ends in {token}, which ends a text"
    raise SettingsError(
        f"{what}, so a run would begin after the end; set the prompt end token (--prompt-end-token) to drop, which "
        "leaves it out, or to keep, which begins there."
    )
