"""What is looked at before anything parses a request: sizes, values, depth, and how slowly it comes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from specviz.app.server import bodies
from specviz.app.server.bodies import Arriving, RefusedError, check_json, read_json
from specviz.app.server.limits import (
    ADDRESS_BYTES,
    HEADERS,
    HEADERS_BYTES,
    JSON_DEPTH,
    JSON_VALUES,
    Limits,
    read_limits,
)
from specviz.app.server.middleware import with_bounds
from tests.app.server.asgi import Request
from tests.app.server.test_limits import is_one_sentence


async def never(*_: Any) -> None:
    raise AssertionError("it was let through")


async def let_through(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (Request("/", query=b"x" * 120_000), 414),
        (Request("/gradio_api/file=/" + "x" * 120_000, method="GET"), 414),
        (Request("/", headers={"cookie": "a=b; " * (HEADERS_BYTES // 5)}), 431),
        (Request("/", headers={f"x{i}": "y" for i in range(HEADERS)}), 431),
    ],
)
def test_an_address_or_headers_that_are_too_large_are_one_sentence(asked: Request, status: int) -> None:
    answer = asyncio.run(asked.to(with_bounds(never)))
    assert answer.status == status
    assert is_one_sentence(answer.json()["detail"])


def test_what_a_browser_sends_is_let_through() -> None:
    headers = {f"x{i}": "y" * 100 for i in range(40)}
    asked = Request("/", method="GET", query=b"x" * (ADDRESS_BYTES - 1), headers=headers)
    assert asyncio.run(asked.to(with_bounds(let_through))).status == 204


# ------------------------------------------------------------------------------------------------------------ JSON


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * JSON_VALUES + b"[]]",
        b"[" + b"{}," * JSON_VALUES + b"{}]",
        b"[" + b"1," * JSON_VALUES + b"1]",
        b"{" + b'"":1,' * JSON_VALUES + b'"":1}',
        b'"' * (2 * JSON_VALUES + 1),
        b'["\\\\",' + b"[]," * JSON_VALUES + b"1]",
        b'["\\"",' + b"[]," * JSON_VALUES + b"1]",
        nested(JSON_DEPTH + 1),
        json.dumps(["[", *([[]] * JSON_VALUES)]).encode("utf-16"),
        json.dumps(["\u2222", *([[]] * JSON_VALUES)], ensure_ascii=False).encode("utf-16"),
        json.dumps([1]).encode("utf-32"),
    ],
)
def test_what_would_take_long_to_parse_is_refused_before_it_is(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_parsed", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(RefusedError) as caught:
        check_json(body)
    assert caught.value.status in (400, 413)
    assert is_one_sentence(caught.value.said)


@pytest.mark.parametrize("limits", [Limits(), read_limits({}, public=True)], ids=["private", "public"])
@pytest.mark.parametrize("character", ["[", '"', "\\", '\\\\"', ",", "\0", "\U0001f600", "\u2222"])
@pytest.mark.parametrize("as_escapes", [True, False])
def test_the_longest_prompt_is_taken_whatever_is_in_it(limits: Limits, character: str, as_escapes: bool) -> None:
    """As a browser writes it, and as Python does, for which an emoji is twelve bytes."""
    prompt = (character * limits.prompt_characters)[: limits.prompt_characters]
    body = json.dumps({"data": [prompt, *range(1_000)], "event_data": {"a": [{}] * 100}}, ensure_ascii=as_escapes)
    asked = Request("/", [body.encode()])
    seen: list[bytes] = []

    async def app(_: Any, receive: Any, __: Any) -> None:
        seen.append(await read_json(receive, limits.request_bytes))

    asyncio.run(asked.to(app))
    assert seen == [body.encode()]


def test_values_and_depth_of_a_request_at_its_limits_are_taken() -> None:
    check_json(b"[" + b"1," * (JSON_VALUES - 1) + b"1]")
    check_json(nested(JSON_DEPTH))
    check_json(b"no JSON")


def test_addresses_are_found_wherever_they_stand() -> None:
    with pytest.raises(RefusedError, match="upload the file itself"):
        check_json(json.dumps({"data": [[{"a": {"path": " HTTP://x"}}]]}).encode())
    check_json(json.dumps({"data": ["http://x", {"path": "/tmp/x", "url": "http://x"}]}).encode())


# --------------------------------------------------------------------------------------------------- how it comes in


def test_a_session_has_a_short_name() -> None:
    check_json(json.dumps({"data": ["x" * 65], "session_hash": "s" * 64}).encode())
    with pytest.raises(RefusedError, match="at most 64 characters") as caught:
        check_json(json.dumps({"data": [], "session_hash": "s" * 65}).encode())
    assert caught.value.status == 400


def test_a_body_that_is_too_large_is_read_no_further() -> None:
    asked = Request("/", [b" " * 1000] * 100)
    with pytest.raises(RefusedError) as caught:
        asyncio.run(asked.to(lambda _, receive, __: read_json(receive, 5_000)))
    assert (caught.value.status, asked.taken) == (413, 6)


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.01)
    asked = Request("/", [b"["], whole=False)
    with pytest.raises(RefusedError) as caught:
        asyncio.run(asked.to(lambda _, receive, __: read_json(receive, 5_000)))
    assert caught.value.status == 408
    assert is_one_sentence(caught.value.said)


def test_a_body_that_comes_byte_by_byte_is_not_waited_for_either(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(bodies.time, "monotonic", lambda: now[0])
    pieces = 0

    async def drip() -> Any:
        nonlocal pieces
        pieces, now[0] = pieces + 1, now[0] + 10.0
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def read() -> None:
        arriving = Arriving(drip, 5_000)
        while True:
            await arriving()

    with pytest.raises(RefusedError) as caught:
        asyncio.run(read())
    assert (caught.value.status, pieces) == (408, 3)


def test_after_its_body_a_request_may_take_as_long_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio then waits for the visitor to leave, for as long as a run takes."""
    now = [0.0]
    monkeypatch.setattr(bodies.time, "monotonic", lambda: now[0])

    async def app(_: Any, receive: Any, __: Any) -> None:
        arriving = Arriving(receive, 5)
        assert (await arriving())["body"] == b"[]"
        now[0] = 10_000.0
        assert (await arriving())["type"] == "http.disconnect"

    asyncio.run(Request("/", [b"[]"], leaves=True).to(app))


def test_a_sender_who_leaves_has_sent_nothing() -> None:
    with pytest.raises(ClientDisconnect):
        asyncio.run(Request("/", [b"["], whole=False, leaves=True).to(lambda _, receive, __: read_json(receive, 9)))
