"""What an entry of the gallery says of its fault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from specviz.assets import ASSETS
from specviz.errors import TraceError, shown
from specviz.trace.io import load_trace
from specviz.trace.schema import Trace

FOLDER = ASSETS / "faults"


@dataclass(frozen=True)
class Report:
    """Where somebody met it.

    Attributes:
        repository: ``owner/name`` on GitHub.
        number: of the issue or the pull request.
    """

    repository: str
    number: int

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.repository.partition('/')[2]} #{self.number}"

    @property
    def address(self) -> str:
        """GitHub leads from an issue's address to a pull request of that number."""
        return f"https://github.com/{self.repository}/issues/{self.number}"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: in addresses, and of its file.
        title: as the list shows it.
        said: what the loop does wrong, in a sentence.
        more: what comes of it.
        look: where the page shows it, and what to see there.
        checks: those that find it, the first of which says the step and the node where it shows.
        also: those that find it where the coins of a run meet it.
        reports: who met it.
    """

    name: str
    title: str
    said: str
    more: str
    look: str
    checks: tuple[str, ...]
    also: tuple[str, ...] = ()
    reports: tuple[Report, ...] = ()

    @property
    def file(self) -> Path:
        """Its recording, with what its models said of its rows."""
        return FOLDER / f"{self.name}.json.gz"

    def load(self) -> Trace:
        """
        Raises:
            TraceError: if the recording is missing.
        """
        return load_trace(self.file)


def fault_named(name: str, faults: tuple[Fault, ...]) -> Fault:
    """
    Raises:
        TraceError: if there is none of that name.
    """
    found = next((one for one in faults if one.name == name), None)
    if found is None:
        raise TraceError(f"There is no fault {shown(name)}; docs/faults.md lists them.")
    return found
