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

# Low, so that at 1280 x 800 the tree is in sight: everything that is no picture shares three lines.
CSS = """
.gradio-container, .gradio-container > .main > .wrap, .gradio-container main { padding-top: 0 !important; }
.gradio-container > .main { padding: 8px 16px 16px !important; }
.gradio-container .column, .gradio-container .row { gap: 8px; }
.specviz-head { align-items: stretch; }
.specviz-head button { min-width: 84px; padding: 8px 14px; white-space: nowrap; font-size: 15px; }
.specviz-head > .specviz-title { flex: 0 0 auto; width: auto; min-width: 0; padding-right: 6px; align-self: center; }
.specviz-title h1 { font-size: 19px; line-height: 22px; margin: 0 !important; }
.specviz-title p { font-size: 12px; line-height: 16px; margin: 0 !important; }
#menu { gap: 0; }
#menu .tab-wrapper { height: auto; padding: 0; }
#menu button[role=tab] { padding: 4px 10px; font-size: 14px; }
#menu [role=tabpanel] { border: 0; padding: 0; }
#menu button.md { font-size: 14px; padding: 6px 12px; white-space: nowrap; }
#menu #menu-view { display: none !important; }
#runs-list .wrap { flex-direction: column; align-items: stretch; gap: 4px; }
#proofs { overflow-x: auto; }
#proofs table { font-size: 13px; min-width: 900px; }
#proofs td, #proofs th { padding: 3px 8px; text-align: left; vertical-align: top; }
#proofs td, #proofs th { word-break: normal; overflow-wrap: normal; }
#proofs td:first-child { white-space: nowrap; font-weight: 600; }
#memory-plan table { font-size: 13px; }
#memory-plan td, #memory-plan th { padding: 2px 8px; word-break: normal; overflow-wrap: normal; }
#memory-plan td:not(:first-child), #memory-plan th:not(:first-child) { text-align: right; }
#viewer .html-container { padding: 0; }
"""


def launch_page(page: Page, health: Health = lambda: (200, {}), **options: Any) -> Any:
    """``page.launch`` with everything switched off that would talk to anyone else or keep what a visitor typed."""
    # uvicorn reads it, and by default believes 127.0.0.1.
    os.environ[TRUSTED_PROXIES] = ",".join(page.limits.proxies)
    listen_carefully(page.limits)
    page.queue(api_open=False)
    guard = guarded(health, page.limits, page.ending, page.closed)

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
        "head": viewer_head(),
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
