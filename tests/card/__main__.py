"""``python -m tests.card``: all groups on the pretended card, in this process.

``python -m tests.card engine -k resumed`` runs one group, with pytest's options; ``python -m tests.card
tests/engine/test_session.py`` runs other tests of the project, with their small pairs on the card.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.card import build, pretended
from tests.paths import ROOT

FOLDER = Path(__file__).with_name("groups")
GROUPS = tuple(sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"))


class _OnTheCard:
    """Puts the pairs of :mod:`tests.pairs` on the card."""

    def pytest_configure(self, config: pytest.Config) -> None:
        from tests import pairs

        plain = pairs.pair_of

        def pair_of(target: Any, draft: Any, end_tokens: Any = (), head: Any = None, tokenizer: Any = None) -> Any:
            head = head.to("cuda") if head else None
            return plain(target.to("cuda"), draft.to("cuda"), end_tokens, head, tokenizer)

        pairs.pair_of = pair_of


def main(arguments: list[str]) -> int:
    """Run pytest with the names of groups exchanged for their files; all groups if no file or group is named."""
    named = [str(FOLDER / f"{one}.py") if one in GROUPS else one for one in arguments]
    of_the_project = [one for one in named if (ROOT / one.partition("::")[0]).exists() and str(FOLDER) not in one]
    if not of_the_project and named == arguments:
        named += [str(FOLDER / f"{group}.py") for group in GROUPS]
    pretended.install()
    told = ["-n", "0", "-q", "-p", "no:cacheprovider", "--durations=5", *named]
    return int(pytest.main(told, plugins=[_OnTheCard()] if of_the_project else []))


def run(arguments: list[str]) -> None:
    """As :func:`main`, for a process that does nothing else."""
    sys.exit(main(arguments))


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except build.Unavailable as reason:
        sys.exit(f"No pretended card: {reason}.")
