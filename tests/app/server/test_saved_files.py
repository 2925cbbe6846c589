"""The files that pages save: shares, totals, and a disk that is full."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest

from specviz.app.server.clients import Client
from specviz.app.server.limits import LEAST_BYTES, Limits
from specviz.app.server.saved_files import FILES_KEPT, SavedFiles
from specviz.app.server.streams import STREAMS
from specviz.errors import BusyError


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def of_size(size: int):
    return lambda path: path.write_bytes(b"x" * size)


def bytes_on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_page_keeps_its_newest_files_and_gives_all_back_when_it_is_closed(scratch: Path) -> None:
    saved, client = SavedFiles(Limits()), Client("192.0.2.1", "a")
    paths = [saved.write("a", client, f"{number}.html", of_size(10)) for number in range(FILES_KEPT + 2)]
    assert [path.exists() for path in paths] == [False, False, *[True] * FILES_KEPT]
    assert saved.held == FILES_KEPT * LEAST_BYTES
    saved.drop("a")
    assert saved.held == 0
    assert not list(scratch.iterdir())
    assert not saved._files


def test_no_visitor_takes_the_room_of_others_and_the_total_is_never_passed(scratch: Path) -> None:
    total = 32 * LEAST_BYTES
    saved = SavedFiles(Limits(public=True), total)
    large = 2 * LEAST_BYTES
    open_pages = contextlib.ExitStack()
    for page in range(20):  # all from one address, and all of them open
        open_pages.enter_context(STREAMS.opened(f"{page}", {"client": ("192.0.2.2", 1)}))
        client = Client("192.0.2.2", f"{page}")
        for number in range(3):
            with contextlib.suppress(BusyError):
                saved.write(f"{page}", client, f"{number}.html", of_size(large))
    with pytest.raises(BusyError, match="all the bytes of saved files that one visitor can have"):
        saved.write("last", Client("192.0.2.2", "last"), "run.html", of_size(large))
    assert bytes_on_disk(scratch) == saved.held == total // 2
    open_pages.close()
    mine = saved.write("mine", Client("192.0.2.1", "mine"), "run.html", of_size(large))
    assert mine.stat().st_size == large
    with pytest.raises(BusyError):
        saved.write("mine", Client("192.0.2.1", "mine"), "run.html", of_size(5 * LEAST_BYTES))
    assert not mine.exists(), "a page's own older files went to make room"
    assert bytes_on_disk(scratch) == saved.held


def test_files_of_pages_that_nobody_has_open_make_room_and_none_of_an_open_page_does() -> None:
    saved = SavedFiles(Limits(public=True), 16 * LEAST_BYTES)

    def save(page: str, address: str | None) -> Path:
        return saved.write(page, Client(address, page), "run.html", of_size(2 * LEAST_BYTES))

    with STREAMS.opened("open", {"client": ("192.0.2.1", 1)}):
        kept = [save("open", None)]
        left = [save(f"left {number}", "192.0.2.2") for number in range(4)]
        more = save("left 4", "192.0.2.2")  # has half, and its own ones go
        assert [path.exists() for path in (*kept, *left, more)] == [True, False, True, True, True, True]
        others = [save(f"other {number}", None) for number in range(3)]  # all is taken then
        mine = save("mine", None)
        assert [path.exists() for path in (*kept, *left[1:], more, *others, mine)] == [True, False, *[True] * 7]
    assert saved.held == 16 * LEAST_BYTES


def test_on_a_full_disk_saving_is_one_sentence_and_nothing_half_stays(scratch: Path) -> None:
    saved = SavedFiles(Limits())

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(BusyError) as caught:
        saved.write("a", Client(), "run.html", write)
    assert str(caught.value) == "The file could not be saved: the server's disk is full; try again later."
    assert not list(scratch.iterdir())
    assert saved.held == 0
