"""Files that are sent: what counts as whose, what is refused, and that nothing of a half one stays."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.routes import App, file_upload_statuses
from starlette.middleware.exceptions import ExceptionMiddleware

from specviz.app.blocks import UNKNOWN, Page
from specviz.app.server import bodies, uploads
from specviz.app.server.ending import Ending
from specviz.app.server.limits import FILE_BYTES, UPLOADS_AT_ONCE, Limits, read_limits
from specviz.app.server.middleware import UPLOAD, Guard, guarded
from specviz.app.server.uploads import FOLLOWED, MOST_ID, forget_upload, remove_unread
from tests.app.server.asgi import Answer, Request
from tests.app.server.test_limits import is_one_sentence

PUBLIC = read_limits({}, public=True)
STRANGER, VISITOR = "192.0.2.1", "192.0.2.2"


@pytest.fixture(scope="module")
def app() -> App:
    """Gradio's, with nothing on its page."""
    with Page(PUBLIC, analytics_enabled=False) as page:
        gr.Button()
    page.max_file_size = PUBLIC.upload_bytes
    guarded(lambda: (200, {}), PUBLIC)  # it has Gradio use our parser
    return App.create_app(page, app_kwargs={"exception_handlers": UNKNOWN})


@pytest.fixture
def folder(tmp_path: Path, app: App, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(app, "uploaded_file_dir", str(tmp_path))
    return tmp_path


@pytest.fixture
def guard(app: App, folder: Path) -> Guard:
    return guard_of(app, PUBLIC)


def guard_of(app: App, limits: Limits) -> Guard:
    """The guard where it stands in a server: next to Gradio's routes, inside of what makes a 500 of an error."""
    routes: Any = app.build_middleware_stack()
    while not isinstance(routes, ExceptionMiddleware):
        routes = routes.app

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        scope["app"] = app
        await routes(scope, receive, send)

    return Guard(inside, lambda: (200, {}), limits, Ending(), lambda _: None)


def part(data: bytes, name: str | None = "a.json") -> bytes:
    file = "" if name is None else f'; filename="{name}"'
    return f'--x\r\nContent-Disposition: form-data; name="files"{file}\r\n\r\n'.encode() + data + b"\r\n"


def upload(*pieces: bytes, address: str = VISITOR, **more: Any) -> Request:
    """These parts of a form; the end of the form comes after them if the request is whole."""
    end = [b"--x--\r\n"] if more.get("whole", True) else []
    headers = {"content-type": "multipart/form-data; boundary=x"}
    return Request(UPLOAD, [*pieces, *end], headers=headers, address=address, **more)


def ask(guard: Guard, asked: Request) -> Answer:
    gc.disable()  # it would close what nobody closes, at some time
    try:
        return asyncio.run(asked.to(guard))
    finally:
        gc.enable()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def nothing_is_left(guard: Guard, folder: Path) -> bool:
    """No file, none that is open though it has no name any more, which takes its room on the disk, and none counted."""
    counted = guard.uploads.unread.held + guard.uploads.at_once.held
    return not files_in(folder) and not opened_in(folder) and counted == 0


def opened_in(folder: Path) -> list[str]:
    names = []
    for one in Path("/proc/self/fd").glob("*"):  # nothing where the system has none
        with contextlib.suppress(OSError):
            names.append(os.readlink(one))
    return [name for name in names if name.startswith(str(folder))]


def test_a_file_counts_as_its_senders_until_it_is_read(app, guard, folder):
    (path,) = ask(guard, upload(part(b"{}" * 50))).json()
    assert Path(path).read_bytes() == b"{}" * 50
    assert guard.uploads.unread.held == 100 + FILE_BYTES
    assert app.get_blocks().upload_file_set == set(), "Gradio's list would only grow"
    forget_upload(path)
    forget_upload(path)
    assert nothing_is_left(guard, folder)
    assert list(folder.iterdir()) == [], "a folder takes its place on the disk, too"


def test_two_who_send_the_same_have_each_a_file(guard, folder):
    first, second = (ask(guard, upload(part(b"{}"))).json()[0] for _ in range(2))
    assert first != second
    forget_upload(first)
    assert Path(second).is_file()
    forget_upload(second)
    assert nothing_is_left(guard, folder)


def test_what_nobody_opens_goes(guard, folder):
    for _ in range(3):
        assert ask(guard, upload(part(b"{}"))).status == 200
    remove_unread(1_000.0)
    assert len(files_in(folder)) == 3
    remove_unread(-1.0)
    assert nothing_is_left(guard, folder)
    assert list(folder.iterdir()) == []


def test_what_gradio_leaves_of_each_file_that_it_opens_goes(folder):
    """It makes an empty one for its own use. One that was written lately may be a half that is coming in."""
    old, new = folder / "tmp-left", folder / "tmp-under-way"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 1_000,) * 2)
    remove_unread(900.0)
    assert files_in(folder) == [new]


def test_the_server_sweeps_by_itself(app, folder, monkeypatch):
    swept = asyncio.Event()
    monkeypatch.setattr("specviz.app.server.middleware.SWEEP_SECONDS", 0.0)
    monkeypatch.setattr("specviz.app.server.middleware.remove_unread", swept.set)
    monkeypatch.setattr(app, "middleware_stack", app)

    async def serve() -> None:
        async with guarded(lambda: (200, {}), PUBLIC)["lifespan"](app):
            while not swept.is_set():
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(serve(), 60))


# ------------------------------------------------------------------------------------------------------------ shares


def beside(guard: Guard, idle: int, *asked: Request) -> tuple[list[Answer | None], list[Answer]]:
    """Answers of so many uploads of a stranger who announces all that may be and sends nothing, None where there is
    none yet; and those of others beside them."""

    async def both() -> tuple[list[Answer | None], list[Answer]]:
        announced = {"content-length": str(PUBLIC.request_upload_bytes)}
        waiting = []
        for _ in range(idle):
            one = upload(b"--x\r\n", address=STRANGER, whole=False)
            one.headers |= announced
            waiting.append(asyncio.create_task(_run(one.to(guard))))
        for one in waiting:
            await asyncio.wait([one], timeout=0)
        await asyncio.sleep(0.05)
        assert guard.uploads.unread.held <= idle * 100, "what is announced counts for nothing"
        answers = [await one.to(guard) for one in asked]
        refused = [one.result() if one.done() else None for one in waiting]
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return refused, answers

    return asyncio.run(both())


async def _run(asked: Coroutine[Any, Any, Answer]) -> Answer:
    return await asked


def test_announced_uploads_that_do_not_come_keep_nobody_out(guard, folder):
    share = UPLOADS_AT_ONCE // 2
    refused, (answer,) = beside(guard, share + 3, upload(part(b"{}")))
    assert [one.status for one in refused if one is not None] == [503] * 3
    assert is_one_sentence(refused[-1].json()["detail"])
    assert answer.status == 200
    forget_upload(answer.json()[0])
    assert nothing_is_left(guard, folder)


def test_one_address_has_no_more_than_its_share_of_what_lies_here(app, folder, monkeypatch):
    monkeypatch.setattr(uploads, "UNREAD_BYTES", 4 * FILE_BYTES)
    guard = guard_of(app, PUBLIC)
    assert ask(guard, upload(part(b"{}"), address=STRANGER)).status == 200
    answer = ask(guard, upload(part(b"{}" * FILE_BYTES), address=STRANGER))
    assert answer.status == 503
    assert is_one_sentence(answer.json()["detail"])
    assert len(files_in(folder)) == 1, "nothing of the one that was refused stays"
    assert ask(guard, upload(part(b"{}"))).status == 200
    remove_unread(-1.0)
    assert nothing_is_left(guard, folder)


def test_behind_a_proxy_that_nobody_named_only_the_total_counts(app, folder, monkeypatch):
    monkeypatch.setattr(uploads, "UNREAD_BYTES", 4 * FILE_BYTES)
    guard = guard_of(app, read_limits({"SPACE_ID": "a/b"}))
    assert [ask(guard, upload(part(b"{}"))).status for _ in range(4)] == [200, 200, 200, 503]
    remove_unread(-1.0)
    assert nothing_is_left(guard, folder)


# -------------------------------------------------------------------------------------------------- what is refused


def test_a_thousand_files_in_one_request_are_refused(guard, folder):
    answer = ask(guard, upload(*(part(b"%06d" % i) for i in range(1_000))))
    assert (answer.status, bytes(answer.body)) == (400, b"Send one file in one request.")
    assert nothing_is_left(guard, folder)


def test_a_private_page_sends_the_files_of_a_comparison_at_once(app, folder):
    guard = guard_of(app, Limits())
    paths = ask(guard, upload(*(part(b"%d" % i, f"{i}.parquet") for i in range(5)))).json()
    assert [Path(path).name for path in paths] == [f"{i}.parquet" for i in range(5)]
    most = Limits().upload_files
    assert ask(guard, upload(*(part(b"") for _ in range(most + 1)))).status == 400
    for path in paths:
        forget_upload(path)
    assert nothing_is_left(guard, folder)


@pytest.mark.parametrize("query", [b"", b"upload_id=x"])
def test_a_form_with_something_else_in_it_is_refused(guard, folder, query):
    answer = ask(guard, upload(part(b"{}"), part(b"1", name=None), query=query))
    assert answer.status == 400
    assert is_one_sentence(answer.body.decode())
    assert nothing_is_left(guard, folder)


@pytest.mark.parametrize("length", ["x", "-1", "1e3", str(PUBLIC.request_upload_bytes + 1)])
def test_an_upload_that_announces_too_much_is_refused_before_it_is_read(guard, length):
    asked = upload(part(b"{}"))
    asked.headers["content-length"] = length
    answer = ask(guard, asked)
    assert (answer.status, asked.taken) == (413, 0)
    assert is_one_sentence(answer.json()["detail"])


def test_a_file_that_is_too_large_is_refused_though_its_length_was_not_said(guard, folder):
    piece = b"x" * (1 << 20)
    answer = ask(guard, upload(part(b""), *[piece] * (2 + (PUBLIC.request_upload_bytes >> 20)), whole=False))
    assert answer.status in (400, 413)
    assert nothing_is_left(guard, folder)


def test_an_upload_that_stalls_is_ended(guard, folder, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)
    answer = ask(guard, upload(part(b"{" * 100), whole=False))
    assert answer.status == 408
    assert is_one_sentence(answer.json()["detail"])
    assert nothing_is_left(guard, folder)


def test_of_an_upload_that_is_broken_off_nothing_stays(guard, folder):
    answer = ask(guard, upload(part(b"{" * 100), whole=False, leaves=True))
    assert answer.status is None
    assert nothing_is_left(guard, folder)


@pytest.mark.parametrize("where", ["opening", "writing", "closing", "folder"])
def test_a_full_disk_is_one_sentence_and_nothing_stays(guard, folder, monkeypatch, where):
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", "/private/folder")

    def half(*given: Any, **named: Any) -> Any:
        file = tempfile.NamedTemporaryFile(*given, **named)  # noqa: SIM115
        close = file.close
        if where == "writing":
            file.write = full
        elif where == "closing":  # what was not written yet is lost then, and the file closed
            file.close = lambda: (close(), full())
        return file

    monkeypatch.setattr("gradio.route_utils.NamedTemporaryFile", full if where == "opening" else half)
    if where == "folder":
        monkeypatch.setattr("gradio.route_utils.utils.safe_join", full)
    answer = ask(guard, upload(part(b"{}")))
    assert answer.status == 507
    assert is_one_sentence(answer.json()["detail"])
    assert "private" not in answer.body.decode()
    monkeypatch.undo()
    assert nothing_is_left(guard, folder)


# ---------------------------------------------------------------------------------------------------------- progress


def test_progress_is_kept_of_few_uploads_and_all_of_them_end(guard, folder):
    names = [b"upload_id=%d" % i for i in range(FOLLOWED + 10)]
    for name in names:
        ask(guard, upload(part(b"{"), whole=False, leaves=True, query=name))
    assert len(file_upload_statuses._statuses) <= FOLLOWED
    assert len(file_upload_statuses._signals) <= FOLLOWED
    assert file_upload_statuses.is_done(f"{FOLLOWED + 9}"), "who follows it is told"
    assert nothing_is_left(guard, folder)


@pytest.mark.parametrize("asked", [upload(part(b"{}")), Request("/gradio_api/upload_progress", method="GET")])
def test_the_name_of_an_upload_is_short(guard, asked):
    asked.query = b"upload_id=" + b"x" * (MOST_ID + 1)
    assert ask(guard, asked).status == 400


# ----------------------------------------------------------------------------------------------- requests of no form


@pytest.mark.parametrize("body", [b'{"data": "%b"}' % (b"x" * 1000), b"[" + b"[]," * 100 + b"1]", b"{", b'"x"'])
@pytest.mark.parametrize("path", ["queue/join", "cancel", "run/predict"])
def test_what_is_not_of_the_form_is_told_in_a_sentence_without_it(guard, path, body):
    asked = Request(f"/gradio_api/{path}", [body], headers={"content-type": "application/json"})
    answer = ask(guard, asked)
    assert answer.status == 422
    assert is_one_sentence(answer.json()["detail"])
    assert len(answer.body) < 300
    assert b"xxx" not in answer.body
