"""A LogitsProcessor of one's own: the last few tokens of the text come less easily again."""

import torch
from transformers import LogitsProcessor


class RecencyPenalty(LogitsProcessor):
    """Takes ``penalty`` from the logits of the last ``window`` tokens of the text."""

    def __init__(self, penalty: float = 2.0, window: int = 8):
        self.penalty, self.window = penalty, window

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        recent = torch.zeros_like(scores).scatter_(1, input_ids[:, -self.window :], 1.0)  # [n, V]
        return scores - self.penalty * recent
