"""How the page is served: its style sheet, its theme, and everything switched off that would talk to anyone else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from specviz.app.blocks import UNKNOWN, Page
from specviz.app.server.clients import TRUSTED_PROXIES
from specviz.app.server.connections import listen_carefully
from specviz.app.server.middleware import Health, guarded
from specviz.app.server.page_states import PageStates
from specviz.app.viewer_component import viewer_head
from specviz.figures.export import VIEWER_FOLDER

CSS = (VIEWER_FOLDER / "page_frame.css").read_text(encoding="utf-8")


def launch_page(page: Page, health: Health = lambda: (200, {}), **options: Any) -> Any:
    """``page.launch`` with everything switched off that would talk to anyone else or keep what a visitor typed."""
    # uvicorn reads it, and by default believes 127.0.0.1.
    os.environ[TRUSTED_PROXIES] = ",".join(page.limits.proxies)
    listen_carefully(page.limits)
    page.queue(api_open=False)
    first, after = viewer_head()
    guard = guarded(health, page.limits, page.ending, page.closed, first)

    @contextlib.asynccontextmanager
    async def with_states(app: Any) -> AsyncIterator[None]:
        app.state_holder = PageStates(page.limits.addresses_count)
        app.state_holder.set_blocks(page)
        async with guard["lifespan"](app):
            yield

    settings: dict[str, Any] = {
        # The base theme's own blue and greys are too faint to read.
        "theme": gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_hover="*primary_700",
            block_info_text_color="*neutral_600",
            block_info_text_color_dark="*neutral_300",
            body_text_color_subdued="*neutral_600",
            body_text_color_subdued_dark="*neutral_300",
        ),
        "css": CSS,
        "head": after,
        "app_kwargs": {**guard, "lifespan": with_states, "exception_handlers": UNKNOWN},
        "share": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": [],
        "max_file_size": page.limits.upload_bytes,
        "state_session_capacity": page.limits.visitors,
        "strict_cors": True,
    }
    return page.launch(**{**settings, **options})
