"""Formats of a trained draft, for command lines that load no models."""

from __future__ import annotations

OWN = "own"
"""The format of ``assets/draft``: layers, and a head over them."""
EAGLE3 = ("eagle3", "eagle3.1")
"""Formats of EAGLE-3 heads; 3.1 norms the states that it reads one by one, and its output before it reads it again."""
