"""A run of speculative decoding, step by step, recorded: draft a tree, score it, verify, commit.

:mod:`~specviz.engine.session` holds the state of a run and does one step at a time; :mod:`~specviz.engine.runners` runs
the draft and the target with their caches; :mod:`~specviz.engine.recording` makes the trace's values of what a step
did. :mod:`~specviz.engine.audit` compares a cache with a fresh recompute, and what-if questions about a recorded step
are answered here, because some need the models again. The engine returns values: it prints, formats and draws nothing.
"""
