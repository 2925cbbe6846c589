"""The two kinds of draft heads: a few layers that draft from the target's hidden states.

Notation: n tokens t[0] ... t[n - 1] are committed, the last one is the root. The target has been run on all but the
root, so it has hidden states s[0] ... s[n - 2]. A head reads *pairs*: the state at a token and the token after it,
(s[j], t[j + 1]). Pair j stands in slot j of the head's cache, and the root's is pair n - 2.

A step head runs the root's pair, and below it pairs of its own output at a node's parent and the node's token: one
forward a level. A block head runs once at the root and drafts all levels.

After a verdict only the root's slot stays: what was drafted was computed from the head's own output. The accepted
tokens are fed again with the target's states, before the next root.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from specviz.trace.schema import HeadInfo, Option


class DraftHead(nn.Module):
    """What all heads have. In eval mode, without gradients, in float32 or in the target's dtype.

    Letters: k is the number of states that are read, H the target's hidden size, H' the width of what the head reads
    and gives, Vd the number of columns of its logits, V the target's vocabulary.

    Attributes:
        info: what a trace records of it.
        config: of transformers, of the head's layers: ``num_hidden_layers`` is :attr:`layers`.
        layers: with keys and values of their own. 0 (Medusa) is a head without a cache.
        token_ids: [Vd], the target's id of each column; None where the columns are the target's vocabulary.
        position_offset: added to a pair's place to give the position at which it is run.
    """

    token_ids: torch.Tensor | None
    position_offset: int = 0

    def __init__(self, info: HeadInfo, config: Any, token_ids: torch.Tensor | None = None):
        super().__init__()
        self.info = info
        self.config = config
        self.layers = info.layers
        self.register_buffer("token_ids", token_ids, persistent=False)

    def bind(self, target: Any) -> None:
        """Take embeddings and output head of the target, a model of transformers, where the head has none of its own.

        What is taken must not become a submodule or a parameter of the head, see
        :class:`~specviz.models.heads.bound.Borrowed`.
        """

    @property
    def inputs(self) -> int:
        """How many tokens it has embeddings for."""
        raise NotImplementedError

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        """What the head reads [n, H'] of the target's states [n, k x H], side by side as in ``info.reads``."""
        raise NotImplementedError

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """float32 logits [n, Vd].

        Args:
            own: [n, H'], the head's output at n nodes.
            tokens: [n], theirs, for a head whose logits depend on them.
        """
        raise NotImplementedError

    def bias(self, own: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor | None:
        """[n, Vd], what :meth:`logits` adds by the tokens [n]; None for a head that adds nothing (all but DSpark)."""
        return None

    def confidence(self, own: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor | None:
        """[n] in [0, 1], how likely the head says that what it drafts here is accepted; None if it says nothing."""
        return None


class StepHead(DraftHead):
    """EAGLE-1, 2, 3 and 3.1, HASS, MTP: one forward a level."""

    def forward(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """Run n pairs and append their slots; gives the head's output [n, H'].

        Args:
            carry: [n, H'], from :meth:`fuse` or :meth:`recycle`.
            ids: [n], the tokens of the pairs.
            positions: [n].
            mask: [1, 1, n, slots in use and n], added to the attention's scores.
            cache: of transformers' kind, with :attr:`layers` layers.
        """
        raise NotImplementedError

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        """What is read at a node [n, H'] in place of the target's state, of the head's output [n, H'] at its parent."""
        raise NotImplementedError


class BlockHead(DraftHead):
    """Medusa, P-EAGLE, DFlash, DSpark: one forward at the root, all of whose slots are dropped after it.

    Attributes:
        depth: rows that are drafted at once: row d gives q for the children of nodes at depth d.
        width: rows of that forward: the root and masked places after it.
        mask_id: what stands for the token of a masked place.
        causal: whether a row of the block sees only those before it; else all of them.
        remembers_root: whether the state before the root has a slot of its own, before the block (DFlash), as a text's
            states have; else the root's pair is the block's first row, and gets a slot in the text in the next step.
        reads_tokens: whether its logits depend on a node's token.
    """

    depth: int
    width: int
    mask_id: int = 0
    causal: bool = False
    remembers_root: bool = False
    reads_tokens: bool = False

    def remember(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> Any:
        """Append the slots of m pairs of the text; the arguments are those of :meth:`StepHead.forward`.

        Whatever it returns is not looked at. A head without layers is not asked.
        """
        raise NotImplementedError

    def block(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """Draft from the root: the outputs [depth, H'] of which :meth:`logits` makes the rows.

        Args:
            carry: [1, H'], of the state before the root.
            ids: [width], the root and :attr:`mask_id` after it.
            positions: [width].
            mask: [1, 1, width, slots in use and width], added to the attention's scores.
            cache: as in :meth:`remember`; has the slots of all pairs before the root's, and with
                :attr:`remembers_root` of that too.
        """
        raise NotImplementedError

    def level_logits(self, own: torch.Tensor, depth: int, tokens: torch.Tensor) -> torch.Tensor:
        """float32 logits [n, Vd] at n nodes of one depth.

        Args:
            own: [depth, H'], of :meth:`block`.
            tokens: [n], those of the nodes.
        """
        row = own[depth : depth + 1]
        if self.reads_tokens:
            return self.logits(row.expand(len(tokens), -1), tokens)
        return self.logits(row).expand(len(tokens), -1)


class HeadFormat(Protocol):
    """How heads of one kind lie on disk. Config and tensors are a stranger's files."""

    def fits(self, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether these are files of this format.

        Args:
            config: what config.json holds.
            tensors: name -> shape. Reading the first one costs a look at the file, on the hub its download: a config
                that says enough is asked first.
        """
        ...

    def build(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        target_config: Any,
        by_hand: Mapping[str, Option],
    ) -> DraftHead:
        """The head on the CPU, in the dtype of its tensors, not bound yet.

        Args:
            tensors: by name, as they lie in the file.
            by_hand: options that the user set, and ``reads`` as numbers with commas.

        Raises:
            ModelError: in one sentence, if the files are broken or made for another target.
        """
        ...
