"""specviz's draft heads against independent implementations of them, which are installed for it.

    python3 -m venv .venv-oracles && .venv-oracles/bin/pip install -r requirements-dev.txt
    .venv-oracles/bin/pip install --no-deps -r requirements-oracles.txt
    EAGLE_CODE=path/to/EAGLE .venv-oracles/bin/python -m pytest -m oracles tests/oracles -n 0 -s

``EAGLE_CODE`` is a checkout of SafeAILab/EAGLE, which is no package. Nothing here is collected
without ``-m oracles``. Their numbers on small seeds, which ``python -m tests.tools.head_references`` writes, are
compared in the ordinary tests.
"""
