"""Drafts without a draft model: the text so far is searched for what followed its last words.

Prompt lookup decoding (github.com/apoorvumang/prompt-lookup-decoding, and ``prompt_lookup_num_tokens`` in
transformers), with several places that match merged into one tree.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from specviz.dice import Dice
from specviz.drafting.base import Builder, BuilderWork, Draft, Limits
from specviz.errors import SettingsError
from specviz.options import Options
from specviz.trace.schema import Proposal
from specviz.tree import MAX_NODES, Growth


class LookupOptions(Options):
    ngram: int = Field(3, ge=1, le=16, description="Longest run of last tokens that is searched for; shorter ones next")
    places: int = Field(4, ge=1, le=64, description="How many places that match are followed, the latest first")
    depth: int = Field(6, ge=1, le=64, description="How many tokens are taken from each place")


def matches(text: Sequence[int], ngram: int, places: int) -> list[int]:
    """Where the text goes on after earlier occurrences of its own end, the latest first.

    The longest end of at most ``ngram`` tokens that occurs before decides; its occurrences may overlap the end.
    """
    for length in range(min(ngram, len(text) - 1), 0, -1):
        end = list(text[-length:])
        last = end[-1]
        found = []
        for i in range(len(text) - 2, length - 2, -1):
            if text[i] == last and list(text[i - length + 1 : i + 1]) == end:
                found.append(i + 1)
                if len(found) == places:
                    break
        if found:
            return found
    return []


def _grow(growth: Growth, draft: Draft, options: LookupOptions, dice: Dice, step: int, limits: Limits) -> None:
    """Level by level; below a node its continuations stand in the order of how many places agree, then of the latest.

    The row of a node holds the shares of the places that go through it. Nothing is sampled: the dice is not asked.
    """
    text = draft.committed
    level = [(0, matches(text, options.ngram, options.places))]
    for depth in range(min(options.depth, limits.max_depth)):
        nodes, shares, grown = [], [], []
        for node, starts in level:
            # The text itself is as far as a place can be followed.
            going = [start for start in starts if start + depth < len(text)]
            if not going or (node and growth.tokens[node] in limits.end_tokens):
                continue
            by_token: dict[int, list[int]] = {}
            for start in going:
                by_token.setdefault(text[start + depth], []).append(start)
            nodes.append(node)
            shares.append({token: len(found) / len(going) for token, found in by_token.items()})
            grown.append(sorted(by_token.items(), key=lambda item: -len(item[1])))
        if not nodes:
            break
        growth.add_rows(nodes, draft.tabulate(shares))
        level = [
            (growth.add(node, token), found)
            for node, children in zip(nodes, grown, strict=True)
            for token, found in children
        ]


def _proposal(options: LookupOptions) -> Proposal:
    return "top_k"


def _max_nodes(options: LookupOptions) -> int:
    nodes = options.places * options.depth
    if nodes > MAX_NODES:
        raise SettingsError(f"{options.places} places of {options.depth} tokens are more than {MAX_NODES} nodes.")
    return nodes


PROMPT_LOOKUP = Builder(
    name="prompt_lookup",
    summary="what followed the last words earlier in the text; needs no draft model",
    Options=LookupOptions,
    grow=_grow,
    proposal=_proposal,
    max_nodes=_max_nodes,
    most_work=lambda options: BuilderWork(0, 1 + options.places * (options.depth - 1), _max_nodes(options)),
    runs_draft=False,
)
