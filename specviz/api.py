"""What the package offers to a program besides :func:`specviz.record`: files, pages, comparisons and proofs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from specviz.trace.schema import Trace

if TYPE_CHECKING:  # at run time the second would import torch
    from specviz.trace.diff import Comparison
    from specviz.verifiers import Verifier
    from specviz.verifiers.check import Finding


def load(path: str | os.PathLike[str], request: str | None = None) -> Trace:
    """Read a trace file, ``.json`` or ``.json.gz``, or a recording, ``.jsonl``.

    Args:
        request: of a recording, which of its requests; None: the first, with a warning where there are several.

    Raises:
        TraceError: if it cannot be read, is no trace of this schema version, or has more than 256 MiB unpacked.
    """
    from specviz.trace.io import load_trace

    trace = load_trace(path, request=request)
    if request is None and trace.request is not None:  # one of a batch
        from specviz.trace.recording import listed, request_names

        names = request_names(path)
        if len(names) > 1:
            warnings.warn(
                f"specviz: this recording has {len(names)} requests, and the first was loaded; say request= to choose "
                f"among {listed(names)}.",
                stacklevel=2,
            )
    return trace


def save(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace file, gzipped when the name ends in ``.gz``. A killed save leaves the previous file untouched.

    Raises:
        TraceError: if it cannot be written there.
    """
    from specviz.trace.io import save_trace

    save_trace(trace, path)


def export(
    trace: Trace, path: str | os.PathLike[str], *, step: int = 1, theme: str | None = None, alone: bool = False
) -> Path:
    """Write the run as one HTML file, some 6 MB, that opens from disk without a server and without a network.

    Args:
        path: the file, which is replaced if it exists.
        step: the step that is shown first, from 1 on.
        theme: ``light`` or ``dark``; None: as the reader's system is set.
        alone: whether the file has that step only, for a slide or another page.

    Returns:
        The file's path.

    Raises:
        SettingsError: for a step or theme that there is not, and if the file cannot be written.
    """
    from specviz.figures.export import save_page

    save_page(trace, path, go=step - 1, theme=theme, alone=alone)
    return Path(path)


def diff(a: Trace, b: Trace, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two runs token by token: where they part, and whether rounding alone can explain it.

    Args:
        a, b: two runs; their tokens are compared by id, so they should share a tokenizer.
        names: what to call them.

    Returns:
        The comparison: ``shared`` is how many output tokens are equal from the start, ``parting`` the first that
        differs (None if none does), ``settings`` what was set differently.
    """
    from specviz.trace.diff import compare

    return compare(a, b, names)


def check(verifiers: str | Sequence[str | Verifier] | None = None) -> list[Finding]:
    """Check by enumeration whether verifiers keep their promise to be lossless; some ten seconds for the built-in ones.

    Args:
        verifiers: names, also in one text with commas, or :class:`Verifier` objects; None: all that are registered.

    Returns:
        One finding for each verifier and kind of proposal: ``ok``, the ``verdict`` in words, and the ``worst`` case,
        whose ``distance`` is the total variation between what comes out and what should.

    Raises:
        SettingsError: for a name that there is not.
        VerifierError: if a verifier fails in its own code.
    """
    from specviz.verifiers import VERIFIERS, find_verifier, named_verifiers
    from specviz.verifiers import check as proofs

    names, known = named_verifiers([*VERIFIERS] if verifiers is None else verifiers)
    return list(proofs.check([find_verifier(name, known) for name in names]))
