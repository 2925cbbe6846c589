"""What a run that was saved as an HTML page says, read as its script reads it (assets/viewer/exported.js)."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any


def texts_in(page: str) -> list[str]:
    """The blocks of a page, the head first, as JSON text."""
    packed = re.findall(r'<script type="text/plain" class="specviz-block" data-last="-?\d+">([^<]*)</script>', page)
    return [zlib.decompress(base64.b64decode(one, validate=True), wbits=-zlib.MAX_WBITS).decode() for one in packed]


def block_in(page: str) -> dict[str, Any]:
    """The head, with the frames of all blocks."""
    head, *pieces = map(json.loads, texts_in(page))
    assert all(piece["run"] == head["run"] and piece["fills"] for piece in pieces)
    assert head["frames"] == []
    return {**head, "frames": [frame for piece in pieces for frame in piece["frames"]]}
