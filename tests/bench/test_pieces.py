"""The checks for a card, tried on the CPU with random models so small that no figure means anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from specviz.bench import pieces
from specviz.bench.pieces import PIECES, SMALL_TREES, TREES, Piece, measure_piece, parse_pieces, run_pieces, why_skipped
from specviz.cli import main
from specviz.models.quantization import why_unusable
from specviz.models.random_models import SIZES, ensure_models

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the models of the size ``tiny``."""
    made = tmp_path_factory.mktemp("pieces")
    ensure_models(made / "models-tiny", SIZES["tiny"], CPU)
    return made


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are measured in this process, on the smallest tree and a short context."""
    small = {name: replace(piece, trees=SMALL_TREES[:1], contexts=(40,)) for name, piece in PIECES.items()}
    monkeypatch.setattr(pieces, "PIECES", small)
    monkeypatch.setattr(pieces, "_in_a_process", lambda *arguments: measure_piece(*arguments, torch.get_num_threads()))


def clean(folder: Path) -> Path:
    for file in folder.glob("*.json"):
        file.unlink()
    return folder


def quiet(_: str) -> None:
    """Nobody to tell."""


def test_pieces_have_the_trees_that_are_told_and_drafts_that_are_made() -> None:
    assert [tree.nodes for tree in TREES] == [28, 256, 1024]
    assert [tree.nodes for tree in PIECES["growth"].trees] == [64, 256, 1024]
    assert {piece.draft for piece in PIECES.values()} == SIZES["7b"].drafts.keys()


@pytest.mark.parametrize("name", PIECES)
def test_a_piece_has_what_it_measures(name: str, folder: Path, inline: None) -> None:
    if why := why_unusable(PIECES[name].quantization, CPU):
        pytest.skip(why)
    outcome = measure_piece(name, folder, "tiny", "cpu", "auto", 1, torch.get_num_threads())
    assert outcome.values is not None, outcome.lines
    assert not outcome.failed, outcome.lines
    values = json.loads(json.dumps(outcome.values))
    assert values.keys() - {"machine"} == {"piece", "size", "seconds", *PIECES[name].measures}
    if "steps" in values:
        assert [cost["nodes"] for cost in values["steps"]] == [28]
    if "growth" in values:
        assert [(cost["nodes"], cost["prompt_tokens"]) for cost in values["growth"]] == [(28, 40), (28, 40)]
    if "calls" in values:
        assert [(cost["nodes"], cost["levels"]) for cost in values["calls"]] == [(28, 3)]
        assert values["calls"][0]["outside_the_forwards"]["waits"] == 0  # a CPU waits for nothing
    if "memory" in values:
        assert [peak["case"] for peak in values["memory"]] == ["generate", "4,2,2 (28 nodes)"]
        assert values["memory"][1]["planned_over_loaded"] > 0
    if "audit" in values:
        assert all(0 <= model["worst"] <= model["tolerance"] for model in values["audit"].values())
        quantization = values["machine"]["target"]["quantization"] or "none"
        assert PIECES[name].quantization in quantization


def test_an_audit_beyond_rounding_is_a_failure(folder: Path, inline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "tolerances", lambda _: {"target": -1.0, "draft": 1.0})
    outcome = measure_piece("steps-68m", folder, "tiny", "cpu", "auto", 1, torch.get_num_threads())
    assert outcome.failed
    assert outcome.values is not None
    assert [model["within"] for model in outcome.values["audit"].values()] == [False, True]
    assert any(line.startswith("audit of the target") and "BEYOND" in line for line in outcome.lines)
    assert not run_pieces(("steps-68m",), clean(folder), "tiny", "cpu", "auto", 1, quiet)
    assert [file.name for file in folder.glob("*.json")] == ["tiny-steps-68m.failed.json"]


def test_a_slow_card_ends_a_piece_between_two_rounds(
    folder: Path, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "ENOUGH_SECONDS", 0.0)
    outcome = measure_piece("steps-68m", folder, "tiny", "cpu", "auto", 5, torch.get_num_threads())
    assert outcome.values is not None
    assert [cost["steps"] for cost in outcome.values["steps"]] == [1]


def test_a_piece_that_lacks_something_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "calls of CUDA" in (why_skipped(PIECES["calls-68m"], "cpu") or "")
    assert why_skipped(PIECES["calls-68m"], "cuda") is None
    assert "do not run on mps" in (why_skipped(PIECES["int8"], "mps") or "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs bitsandbytes, which is not installed" in (why_skipped(PIECES["nf4"], "cuda") or "")
    assert why_skipped(PIECES["steps-68m"], "cpu") is None


@pytest.mark.parametrize("name", ["int8", "nf4"])
def test_a_piece_whose_products_bitsandbytes_cannot_compute_is_skipped(
    name: str, folder: Path, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nn = pytest.importorskip("bitsandbytes").nn

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image is available for execution on the device")

    for layer in (nn.Linear8bitLt, nn.Linear4bit):
        monkeypatch.setattr(layer, "forward", fail)
    lines: list[str] = []
    assert run_pieces((name,), clean(folder), "tiny", "cpu", "auto", 1, lines.append)
    assert lines[-1].startswith(
        f"skipped, because bitsandbytes cannot compute in {name} on cpu here: RuntimeError('no k"
    )
    assert not list(folder.glob("*.json"))


def test_what_fails_is_told_and_the_next_piece_goes_on(
    folder: Path, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean(folder)

    def fail(_: object) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    broken = {**pieces.PIECES, "memory": Piece("breaks", ("broken",))}
    monkeypatch.setattr(pieces, "PIECES", broken)
    monkeypatch.setitem(pieces.MEASURES, "broken", fail)
    lines: list[str] = []
    names = ("models", "calls-68m", "memory", "steps-68m")
    assert not run_pieces(names, folder, "tiny", "cpu", "auto", 1, lines.append)
    assert sorted(file.name for file in folder.glob("*.json")) == ["tiny-models.json", "tiny-steps-68m.json"]
    assert any("failed: RuntimeError('an illegal memory access" in line for line in lines)
    assert any(line.startswith("skipped, because the profiler") for line in lines)


def test_a_process_that_is_killed_costs_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "measure_piece", _killed)
    lines: list[str] = []
    assert not run_pieces(("models",), tmp_path, "tiny", "cpu", "auto", 1, lines.append)
    assert any("its process was ended from outside" in line for line in lines)
    assert not list(tmp_path.glob("*.json"))


def _killed(*_: object) -> None:
    import os

    os._exit(9)


def test_the_command_writes_a_file_a_piece_and_goes_on_where_it_ended(
    folder: Path, inline: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean(folder)
    command = ["bench", "--size", "tiny", "--device", "cpu", "--steps", "1", "--json", str(folder)]
    assert main([*command, "--piece", "steps-68m"]) == 0
    assert "step/forwards" in capsys.readouterr().out
    first = (folder / "tiny-steps-68m.json").read_text()
    assert main([*command, "--piece", "steps-68m,models"]) == 0
    told = capsys.readouterr().out
    assert "measured before" in told
    assert (folder / "tiny-steps-68m.json").read_text() == first
    assert json.loads((folder / "tiny-models.json").read_text())["piece"] == "models"


def test_pieces_are_chosen_by_name() -> None:
    assert parse_pieces("int8, models") == ("models", "int8")
    assert parse_pieces("all") == tuple(PIECES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--piece", "x", "--json", "f"], "no piece 'x'"),
        (["--piece", ","], "No piece is chosen"),
        (["--piece", "all"], "name a folder"),
        (["--piece", "all", "--size", "70b", "--json", "f"], "no size '70b'"),
        (["--piece", "all", "--target", "x", "--json", "f"], "leave out --preset, --target and --draft"),
        (["--piece", "all", "--json", "/proc/none"], "No figures can be saved"),
    ],
)
def test_bad_input_is_refused_before_a_model_is_made(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_in_a_process", lambda *_: pytest.fail("a piece was begun"))
    assert main(["bench", *options]) == 2
    assert message in capsys.readouterr().err
