"""The pretended CUDA card: what a GPU would refuse, wait for and be told, found out on a machine without one.

``python -m tests.card`` runs the groups of this folder on it, ``python -m tests.tools.card`` prints what a step asks of
it. What it can show, and what it cannot, stands in CONTRIBUTING.md.
"""
