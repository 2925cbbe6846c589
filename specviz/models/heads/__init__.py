"""Draft heads of others, as they lie on the hub.

:mod:`~specviz.models.heads.head` says what a head is, :mod:`~specviz.models.heads.find` which format a folder holds.
"""
