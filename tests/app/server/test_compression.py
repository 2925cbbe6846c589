"""What is large goes over the wire compressed, and streams do not."""

from __future__ import annotations

import re

import pytest

from tests import server
from tests.sample_traces import sample_trace


def test_what_is_large_is_compressed_and_streams_are_not(tmp_path):
    with server.serving(tmp_path, trace=sample_trace(steps=2)) as served:
        script = re.search(r'<script defer src="([^"]+)"', served.web.get("/").text)
        load = next(one["id"] for one in served.page.config["dependencies"] if one["targets"][0][1] == "load")
        frames = {"data": [], "fn_index": load, "session_hash": "packed"}
        run = ("POST", "/gradio_api/run/predict", frames)
        for method, path, body in (("GET", "/", None), ("GET", "/config", None), ("GET", f"/{script[1]}", None), run):
            plain, packed = (
                served.web.request(method, path, json=body, headers={"Accept-Encoding": takes})
                for takes in ("identity", "gzip")
            )
            assert plain.status_code == packed.status_code == 200
            assert "content-encoding" not in plain.headers
            assert packed.headers["content-encoding"] == "gzip", path
            assert packed.num_bytes_downloaded < len(packed.content) / 2
            assert len(packed.content) == pytest.approx(len(plain.content), rel=0.01)
        for path in ("heartbeat/packed", "queue/data?session_hash=packed"):
            with served.web.stream("GET", f"/gradio_api/{path}", headers={"Accept-Encoding": "gzip"}) as stream:
                assert stream.headers["content-type"].startswith("text/event-stream")
                assert "content-encoding" not in stream.headers
