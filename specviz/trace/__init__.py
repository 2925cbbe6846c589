"""The recorded run, and everything that can be asked of it without a model.

:mod:`~specviz.trace.schema` defines the values, and with them the trace file; :mod:`~specviz.trace.io` reads and writes
it. The others compute from a trace alone: metrics, the difference of two runs and what it means, the steps at which a
breakpoint is met, whether loaded models are the recorded ones, and a what-if question as a value. Nothing here imports
torch, so a notebook or a test can read a run on any machine.
"""
