"""The viewer's modules: their types, their imports, their own tests under node, and the one script made of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable
from pydantic import TypeAdapter, ValidationError

from specviz.app.server.launch import CSS
from specviz.figures import block, dump_block
from specviz.figures.block_types import Block
from specviz.figures.bundle import script_of, style_of
from specviz.figures.export import VIEWER_FOLDER
from specviz.trace.io import load_trace
from specviz.trace.schema import Trace
from tests.foreign import foreign
from tests.head_traces import HEADS, head_trace, with_kept_draft
from tests.paths import ROOT
from tests.sample_traces import RULES, k_config, random_tree, sample_trace
from tests.tools import viewer_types

MODULES = sorted(path for path in VIEWER_FOLDER.rglob("*.js") if path.name != "gradio_raf_patch.js")
ENTRIES = ("page.js", "exported.js", "report.js")
MAY_IMPORT = {"core": {"core"}, "tree": {"core", "tree"}, "panels": {"core", "tree", "panels"}}
"""Folder -> folders whose values it may use; tools and what stands above the folders may use all."""
NODE = compute_driver_executable()[0]
"""Playwright brings one, so these tests run wherever the others do."""


def shapes() -> dict[str, dict[str, Any]]:
    """Blocks of runs over trees of every shape, of one whose caches are wrong, and of a recorded one."""
    trees = {
        "root only": [-1],
        "chain": [-1, 0, 1, 2, 3],
        "4,2,2": k_config(4, 2, 2),
        "heterogeneous": random_tree(40, seed=1),
        "large": random_tree(300, seed=2),
    }
    traces = {
        name: sample_trace(parents, steps=3 if name == "4,2,2" else 1, verifiers=tuple(RULES), seed=3)
        for name, parents in trees.items()
    }
    traces["faulty"] = sample_trace(fault="no_compaction", steps=6, seed=2)
    traces |= {
        name: head_trace(head, steps=11 if name == "dspark" else 2, parents=k_config(2, 2), verifiers=("rejection",))
        for name, head in HEADS.items()
    }
    traces["eagle3, drafted slot kept"] = with_kept_draft(traces["eagle3"])
    traces["recorded"] = load_trace(ROOT / "assets" / "traces" / "default-4-2-2.json.gz")
    return {name: _block(trace) for name, trace in traces.items()}


def _block(trace: Trace) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(dump_block(block(trace, range(len(trace.steps)))))
    return made


# -------------------------------------------------------------------------------------------------------- types


def test_the_viewer_knows_of_python_what_is_so() -> None:
    old = [path.name for path, text in viewer_types.made().items() if path.read_text(encoding="utf-8") != text]
    assert not old, "python -m tests.tools.viewer_types --write"


def test_frames_are_what_their_types_say() -> None:
    """Names and kinds of everything in a block, with nothing beside it."""
    check = TypeAdapter(list[Block], config={"extra": "forbid"})
    found = list(shapes().values())
    check.validate_python(found)
    found[0]["frames"][0]["nodes"]["odd"] = found[0]["frames"][0]["nodes"].pop("text")
    with pytest.raises(ValidationError) as refused:
        check.validate_python(found)
    assert {error["loc"][-1] for error in refused.value.errors()} == {"text", "odd"}


def find_tsc() -> str | None:
    """TypeScript's compiler: what `npm install` put into the checkout, else the one on the path."""
    return shutil.which("tsc", path=ROOT / "node_modules" / ".bin") or shutil.which("tsc")


@pytest.mark.skipif(not find_tsc() and not os.environ.get("CI"), reason="TypeScript is not here: run `npm install`")
def test_types_of_the_modules_are_sound(tmp_path: Path) -> None:
    tsc = find_tsc()
    assert tsc, "on CI the types of the viewer are checked"
    done = subprocess.run([tsc, "-p", ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # A name that frames do not have is refused.
    wrong = tmp_path / "wrong.js"
    types = (VIEWER_FOLDER / "core" / "frame.d.ts").as_posix()
    wrong.write_text(f'/** @param {{import("{types}").Frame}} frame */\nexport const f = (frame) => frame.nodes.txt;\n')
    options = json.loads((ROOT / "tsconfig.json").read_text(encoding="utf-8"))
    (tmp_path / "tsconfig.json").write_text(json.dumps(options | {"include": [wrong.name]}))
    done = subprocess.run([tsc, "-p", tmp_path], capture_output=True, text=True, check=False)
    assert "Property 'txt' does not exist on type 'Nodes'" in done.stdout


# ------------------------------------------------------------------------------------------------------ modules


def test_pure_functions_keep_their_laws(tmp_path: Path) -> None:
    blocks = shapes() | {"foreign": {str(level): _block(foreign(sample_trace(), level)) for level in (1, 2, 3, 4)}}
    (tmp_path / "blocks.json").write_text(json.dumps(blocks), encoding="utf-8")
    tests = sorted(map(str, (ROOT / "tests" / "figures" / "viewer").glob("*.test.js")))
    environment = os.environ | {"SPECVIZ_BLOCKS": str(tmp_path / "blocks.json")}
    done = subprocess.run([NODE, "--test", *tests], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^# pass (\d+)$|^ℹ pass (\d+)$", done.stdout, flags=re.M)
    assert passed
    assert int(passed[1] or passed[2]) > 60


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(VIEWER_FOLDER).as_posix())
def test_a_module_says_what_it_is_for_is_short_and_imports_downwards(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("/* ")
    assert text.count("\n") < 400
    folder = path.relative_to(VIEWER_FOLDER).parts[0]
    for file in re.findall(r'^import .* from "(.*)";$', text, flags=re.M):
        other = (path.parent / file).resolve().relative_to(VIEWER_FOLDER).parts[0]
        assert other in MAY_IMPORT.get(folder, {other}), f"{folder} must not import {other}"


# ------------------------------------------------------------------------------------------------------- bundle


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_script_can_stand_in_a_page_and_says_the_same_each_time(entry: str) -> None:
    script = script_of(VIEWER_FOLDER / entry)
    assert "</script" not in script.lower()
    assert not re.search(r"^\s*(//|/\*\*?$|import |export )", script, flags=re.M)
    script_of.cache_clear()
    assert script_of(VIEWER_FOLDER / entry) == script
    done = subprocess.run([NODE, "--check", "-"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_modules_come_after_what_they_import_and_only_once(tmp_path: Path) -> None:
    files = {
        "main.js": 'import { a, b as c } from "./sub/one.js";\nimport { d } from "./two.js";\n'
        "console.log(a(), c, d);\n",
        "two.js": '// a comment\nimport { b } from "./sub/one.js";\nexport const d = b + 1;\n',
        "sub/one.js": "/* export const no = 1; */\nexport const b = 1;\nexport async function f() {}\n"
        'const hidden = "// no comment";\n/** @type {any} */ (globalThis).seen = (globalThis.seen || 0) + 1;\n'
        "export function a() {\n  return [hidden, globalThis.seen];\n}\n",
    }
    write(tmp_path, files)
    done = subprocess.run(
        [NODE, "-"], input=script_of(tmp_path / "main.js"), capture_output=True, text=True, check=False
    )
    assert done.stdout == "[ '// no comment', 1 ] 1 2\n", done.stderr


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"a.js": 'import { b } from "./b.js";\n', "b.js": 'import { a } from "./a.js";\nexport const b = 1;\n'},
            "circle",
        ),
        ({"a.js": 'import { c } from "./b.js";\n', "b.js": "export const b = 1;\n"}, "imports c, which b.js does not"),
        ({"a.js": 'import * as b from "./b.js";\n', "b.js": "export const b = 1;\n"}, "can be bundled"),
        ({"a.js": "export default 1;\n"}, "can be bundled"),
        ({"a.js": 'export { b } from "./b.js";\n'}, "can be bundled"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_bundled_is_refused(tmp_path: Path, files: dict[str, str], said: str) -> None:
    write(tmp_path, files)
    with pytest.raises(ValueError, match=said):
        script_of(tmp_path / "a.js")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def test_every_style_sheet_is_in_the_page() -> None:
    page = style_of(VIEWER_FOLDER / "page.css") + CSS
    assert "@import" not in page
    of_server = {VIEWER_FOLDER / "page_frame.css"}  # what stands around the viewer, given to Gradio
    for path in {*VIEWER_FOLDER.rglob("*.css")} - of_server:
        rules = path.read_text(encoding="utf-8").split("*/", 1)[1]
        assert "@import" in rules or rules.strip() in page, path.name
