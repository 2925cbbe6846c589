"""The gallery of faults: small recordings of loops with one fault each, which others have had before.

A new one is an entry of :mod:`specviz.gallery.entries`, a loop of that name in ``tests/gallery/loops.py``, and the
file that ``python -m tests.tools.record_faults NAME`` writes.
"""

from __future__ import annotations

from specviz.gallery.entries import FAULTS
from specviz.gallery.fault import Fault, Report, fault_named

__all__ = ["FAULTS", "Fault", "Report", "fault_named"]
