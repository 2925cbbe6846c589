"""Verifiers, trees and temperatures compared over many prompts: ``compare`` on the command line, and lm-eval.

A comparison (:mod:`~specviz.compare.spec`) is divided into units of work, each one run
(:mod:`~specviz.compare.run_unit`). :mod:`~specviz.compare.jobs` keeps track of which are done, and
:mod:`~specviz.compare.executors` does them in several processes. The rows of all runs (:mod:`~specviz.compare.rows`)
become Parquet files (:mod:`~specviz.compare.tables`), which :mod:`~specviz.compare.read` reads back.
:mod:`~specviz.compare.statistics` turns rows into estimates with intervals, :mod:`~specviz.compare.report` draws them,
and :mod:`~specviz.compare.replay` finds how the run behind a row can be made again.
"""
