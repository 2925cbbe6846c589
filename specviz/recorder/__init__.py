"""Other people's engines under the same glass: record the steps of a decoding loop, and check them.

:mod:`~specviz.recorder.recorder` is what a loop calls, :mod:`~specviz.recorder.recording` the file that it writes.
"""
