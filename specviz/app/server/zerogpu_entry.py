"""ZeroGPU: the one decorated function through which a Space works on a GPU that it has for a call.

Import this before torch and gradio: on ZeroGPU, and nowhere else, it imports ``spaces``, which prepares both.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specviz.app.server.backend import Backend
    from specviz.app.server.limits import Limits
    from specviz.app.server.zerogpu import GpuCall

ON_ZERO = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
if ON_ZERO:
    import spaces


def find_backend(limits: Limits) -> Backend:
    """The backend of this machine. To be called before the page is launched, which reports a decorated function to the
    platform."""
    from specviz.app.server.backend import LocalBackend
    from specviz.app.server.zerogpu import ZeroGpuBackend

    return ZeroGpuBackend(gpu_call(spaces.GPU), limits) if ON_ZERO else LocalBackend(limits=limits)


def gpu_call(gpu: Any) -> GpuCall:
    """What gives a GPU for one call through a decorator like ``spaces.GPU``."""
    import gradio as gr

    # Every call is a fork of this process: what is imported here need not be imported there, on the visitor's time.
    import specviz.engine.whatif
    import specviz.models.loading  # noqa: F401
    from specviz.app.server.zerogpu import work_in_call
    from specviz.errors import SpecvizError

    @gpu(duration=lambda seconds, *_: seconds)
    def on_gpu(*arguments: Any) -> Generator[Any, None, None]:
        yield from work_in_call(*arguments)

    def call(*arguments: Any) -> Generator[Any, None, None]:
        try:
            yield from on_gpu(*arguments)
        except (gr.Error, RuntimeError) as error:  # a quota used up, no GPU free, a process ended; the platform's own
            said = str(getattr(error, "message", error)).strip().rstrip(".")
            raise SpecvizError(f"ZeroGPU says: {said}. Try again, with fewer steps if it comes back.") from error

    return call
