"""What can be chosen for a pair: devices, number formats and quantizations, each with its default first; and what its
memory is planned for where nothing else is said.

The command line, the form and the loader read the same values.
"""

from __future__ import annotations

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "int8", "nf4")

PLANNED_CONTEXT = 2_048
"""Tokens of prompt and output."""
PLANNED_NODES = 28
"""Of the largest tree, the root not counted: those of the default tree."""
