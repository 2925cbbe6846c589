"""Measures of a text that need no model: how much it repeats itself, and how close it is to a reference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any


def distinct(tokens: Sequence[int], n: int) -> float | None:
    """Different n-grams / n-grams (Li et al. 2016, arXiv 1510.03055); None for a text without any."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def rouge_l(text: str, reference: str | None) -> float | None:
    """F1 of the longest common subsequence of words, 0 to 1, by the package rouge-score; None without a reference.

    It reads Latin letters without accents and digits only, so for other scripts chrF says more.
    """
    if reference is None:
        return None
    return float(_rouge().score(reference, text)["rougeL"].fmeasure)


def chrf(text: str, reference: str | None) -> float | None:
    """F2 of character n-grams up to 6, 0 to 100, by the package sacrebleu; None without a reference."""
    if reference is None:
        return None
    import sacrebleu

    return float(sacrebleu.sentence_chrf(text, [reference]).score)


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])
