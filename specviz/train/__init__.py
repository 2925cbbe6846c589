"""Training a draft model for a target (``train-draft``), and measuring how good a draft is (``measure-draft``).

:mod:`~specviz.train.chats` lets the target write chats and keeps what it thought of every token;
:mod:`~specviz.train.train` trains a *student* on them, which is the draft's layers (:mod:`~specviz.train.layers`) or
the head with which it reads the target's hidden states (:mod:`~specviz.train.head`);
:mod:`~specviz.train.quality` measures the overlap with the target and what draft trees make of it.
"""
