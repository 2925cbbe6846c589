"""What specviz costs, measured: seconds a step and a commit, tokens a second, memory, and bytes of a recorded step.

Its greedy decoding is measured beside transformers' own ``generate``, and compared with it token by token.
``docs/bench.md`` says what each figure means and has the figures of one machine.
"""
