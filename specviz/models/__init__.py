"""Models: where they come from, whether trees can be verified with them, what memory they need, and their forwards.

:mod:`~specviz.models.loading` loads a target and a draft as a pair; the modules before it find them on the hub or in a
folder and refuse, in one sentence, what cannot work. :mod:`~specviz.models.language_model` runs a model over a tree in
one forward, on the slot cache of :mod:`~specviz.models.kv_cache`. :mod:`~specviz.models.memory` says, before anything
is loaded, how much memory a pair will take.
"""
