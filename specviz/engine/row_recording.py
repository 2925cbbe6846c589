"""Distributions and token texts of a step -> the frozen values of a trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from specviz.sampling import entropy, top_k
from specviz.trace.schema import Row, Sampling, TokenText, TopK
from specviz.transfers import Reads


class Texts:
    """Looks up token texts, and remembers which tokens were asked for: a step records the texts of those."""

    def __init__(self, token_text: Callable[[int], TokenText]):
        self._token_text = token_text
        self._seen: dict[int, TokenText] = {}

    def __call__(self, token: int) -> str:
        if token not in self._seen:
            self._seen[token] = self._token_text(token)
        return self._seen[token].text

    def mention(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if token not in self._seen:
                self._seen[token] = self._token_text(token)

    def seen(self) -> tuple[TokenText, ...]:
        """The texts of all tokens that were asked for, in the order of their ids."""
        return tuple(self._seen[token] for token in sorted(self._seen))


Rows = Callable[[Texts], list[Row]]
"""Distributions that have been asked for, to be called once everything of the step has."""


def rows_of(
    logits: torch.Tensor,
    probs: torch.Tensor,
    sampling: Sampling,
    k: int,
    reads: Reads,
    *,
    is_processed: bool = False,
    token_ids: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    confidence: torch.Tensor | None = None,
) -> Rows:
    """Record n distributions.

    Args:
        logits: [n, Vd], as the model returned them.
        probs: [n, V], processed.
        is_processed: whether by more than the sampling parameters.
        token_ids: [Vd], the token of each column of ``logits``; None where that is the column itself.
        bias: [n, Vd], what a draft head added to its logits by the nodes' tokens.
        confidence: [n], of a draft head that has one.
    """
    k = min(k, logits.shape[-1])
    top, columns = top_k(logits, k)
    indices = columns if token_ids is None else token_ids[columns]
    # Every sampling parameter keeps the order of the tokens, so one top-k serves the raw and the processed row.
    processed, own = top_k(probs, k) if is_processed else (probs.gather(-1, indices), None)
    untouched = sampling == Sampling() and not is_processed
    if untouched:
        raw = processed
        log_sum_exp = top[:, 0] - raw[:, 0].log()  # without another pass over the rows
    else:
        whole = logits.logsumexp(-1, keepdim=True)
        raw, log_sum_exp = torch.exp(top - whole), whole[:, 0]
    entropies = probs.new_zeros(len(probs)) if sampling.temperature == 0 else entropy(probs)
    asked = reads.ask(indices, indices if own is None else own, raw, processed, entropies, top[:, 0], log_sum_exp)
    added = reads.ask(*([] if bias is None else [bias.gather(-1, columns)]))
    trusted = reads.ask(*([] if confidence is None else [confidence]))

    def rows(texts: Texts) -> list[Row]:
        found = []
        biases = [row for column in added() for row in column.tolist()] or [None] * len(logits)
        confidences = [one for column in trusted() for one in column.tolist()] or [None] * len(logits)
        columns = (*(column.tolist() for column in asked()), biases, confidences)
        for ids, own_ids, raw_row, row, h, logit, mass, by_token, sure in zip(*columns, strict=True):
            texts.mention(ids)
            plain = _positive(ids, raw_row)
            kept = plain if untouched else _positive(own_ids, row)
            if is_processed:
                texts.mention(kept.ids)
            found.append(
                Row(
                    entropy=abs(h),
                    raw=plain,
                    processed=kept,
                    top_logit=_finite(logit),
                    log_sum_exp=_finite(mass),
                    confidence=None if sure is None else _short(sure),
                    bias=None if by_token is None else _of_positive(raw_row, by_token),
                )
            )
        return found

    return rows


def top_of(ids: list[int], probs: list[float], texts: Texts) -> TopK:
    """The entries of positive probability."""
    kept = sum(p > 0 for p in probs)
    texts.mention(ids[:kept])
    return TopK(ids=tuple(ids[:kept]), probs=tuple(_short(p) for p in probs[:kept]))


def _positive(ids: list[int], probs: list[float]) -> TopK:
    """The entries of positive probability. They need not come first: of equal logits any one may be the one kept."""
    kept = [(token, _short(p)) for token, p in zip(ids, probs, strict=True) if p > 0]
    return TopK(ids=tuple(token for token, _ in kept), probs=tuple(p for _, p in kept))


def _of_positive(probs: list[float], values: list[float]) -> tuple[float, ...]:
    """The values at the entries that :func:`_positive` keeps."""
    return tuple(_short(value) for p, value in zip(probs, values, strict=True) if p > 0)


def _finite(x: float) -> float | None:
    return _short(x) if math.isfinite(x) else None


def _short(p: float) -> float:
    """Rounded to six digits, for rows that are shown; numbers that decisions compare are recorded in full.

    A probability below 1 does not become 1.
    """
    short = float(f"{p:.6g}")
    return 0.999999 if short == 1 > p else short
