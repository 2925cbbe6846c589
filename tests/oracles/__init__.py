"""specviz's draft heads against independent implementations of them, which are installed for it.

    python3 -m venv .venv-oracles && .venv-oracles/bin/pip install -r requirements-dev.txt
    .venv-oracles/bin/pip install --no-deps -r requirements-oracles.txt
    export EAGLE_CODE=path/to/EAGLE MEDUSA_CODE=path/to/Medusa
    export DFLASH_CODE=path/to/dflash DEEPSPEC_CODE=path/to/DeepSpec
    .venv-oracles/bin/python -m pytest -m oracles tests/oracles -n 0 -s

The four are checkouts of SafeAILab/EAGLE, FasterDecoding/Medusa, z-lab/dflash and deepseek-ai/DeepSpec, which are no
packages. Nothing here is collected without ``-m oracles``. Their numbers on small seeds, which ``python -m
tests.tools.head_references`` and ``python -m tests.tools.block_references`` write, are compared in the ordinary tests.
"""
