"""ZeroGPU: the one decorated function through which a Space works on a GPU that it is lent for a call.

Import this before torch and gradio: on ZeroGPU, and nowhere else, it imports ``spaces``, which prepares both.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specviz.app.server.zerogpu import Lend

ON_ZERO = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
if ON_ZERO:
    import spaces


def find_lend() -> Lend | None:
    """What lends a GPU here, or None. To be called before the page is launched, which reports it to the platform."""
    return lending(spaces.GPU) if ON_ZERO else None


def lending(gpu: Any) -> Lend:
    """What lends a GPU through a decorator like ``spaces.GPU``."""
    import gradio as gr

    # Every call is a fork of this process: what is imported here need not be imported there, on the visitor's time.
    import specviz.engine.whatif
    import specviz.models.loading  # noqa: F401
    from specviz.app.server.zerogpu import work_here
    from specviz.errors import SpecvizError

    @gpu(duration=lambda seconds, *_: seconds)
    def on_gpu(*arguments: Any) -> Generator[Any, None, None]:
        yield from work_here(*arguments)

    def lend(*arguments: Any) -> Generator[Any, None, None]:
        try:
            yield from on_gpu(*arguments)
        except (gr.Error, RuntimeError) as error:  # a quota used up, no GPU free, a process ended; the platform's own
            said = str(getattr(error, "message", error)).strip().rstrip(".")
            raise SpecvizError(f"ZeroGPU says: {said}. Try again, with fewer steps if it comes back.") from error

    return lend
