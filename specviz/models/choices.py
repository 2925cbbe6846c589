"""What can be chosen for a pair: devices, number formats and quantizations, each with its default first.

The command line, the form and the loader read the same lists.
"""

from __future__ import annotations

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "int8", "nf4")
