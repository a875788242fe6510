"""The rules of the code's shape: which way imports and includes point, and how long things are."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "llamacpp"
CSRC = ROOT / "csrc"

# Each part imports only from those before it.
ORDER = (
    "format",
    "tensors",
    "residency",
    "buffers",
    "ops",
    "models",
    "sampling",
    "engine",
    "measure",
    "quantize",
    "convert",
    "api",
    "evaluation",
    "cli",
)
# What hangs off the main line, and what it hangs on; from "engine" on, all may use it.
ASIDE = {"tokenizer": {"format"}, "chat": {"tokenizer"}, "memory": {"format"}}
EVERYWHERE = {"errors", "_native"}

MAX_LINES = {".c": 500, ".h": 500, ".inc": 500, ".py": 400, ".pyi": 400, ".sh": 400}
MAX_FUNCTION = 60
MAX_FORWARD = 80
MAX_LINE = 100
LONGER = {
    "csrc/bpe/unicode.inc": "a table, written by tools/unicode_tables.py",
    "csrc/iq_grids.inc": "a table, written by tools/iq_grids.py",
}


def files(*suffixes: str) -> list[Path]:
    """Sources with these suffixes: those that git knows; all where there is no git."""
    tops = [ROOT / name for name in ("llamacpp", "csrc", "tests", "bench", "tools")]
    found: list[Path] = []
    if (ROOT / ".git").exists() and shutil.which("git"):
        known = subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
            cwd=ROOT, capture_output=True, check=True, text=True,
        )  # fmt: skip
        found = [ROOT / name for name in known.stdout.split("\0") if name]
    else:
        found = [path for top in tops for path in top.rglob("*")]
    return sorted(p for p in found if p.suffix in suffixes and p.is_file() and in_tops(p, tops))


def in_tops(path: Path, tops: list[Path]) -> bool:
    return path.parent == ROOT or any(top in path.parents for top in tops)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def allowed(part: str) -> set[str]:
    if part in EVERYWHERE:
        return {"errors", "_lk"} if part == "_native" else set()
    if part in ASIDE:
        return ASIDE[part] | EVERYWHERE
    before = set(ORDER[: ORDER.index(part)]) | EVERYWHERE
    return before | set(ASIDE) if part in ORDER[ORDER.index("engine") :] else before


def imported_parts(path: Path) -> set[str]:
    """Parts of the package that a module imports, anywhere in it, for types or for use."""
    parts: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        split = [name.split(".") for name in names]
        parts |= {name[1] if len(name) > 1 else "" for name in split if name[0] == "llamacpp"}
    return parts


MODULES = [p for p in files(".py") if PACKAGE in p.parents]
INSIDE = [p for p in MODULES if p.parent != PACKAGE or p.stem not in {"__init__", "__main__"}]


def test_every_module_has_its_place() -> None:
    assert {part_of(path) for path in INSIDE} <= {*ORDER, *ASIDE, *EVERYWHERE}


@pytest.mark.parametrize("path", INSIDE, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_only_leftward(path: Path) -> None:
    part = part_of(path)
    top_names = {"__version__", "bundled_model"} if part in {"api", "cli"} else set()
    assert imported_parts(path) - {part} <= allowed(part) | top_names


def test_only_native_imports_the_extension() -> None:
    assert [p.name for p in MODULES if "_lk" in imported_parts(p)] == ["_native.py"]


def test_the_check_of_imports_sees_all_kinds(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from llamacpp.api import Llama\n"
        "def f():\n    import llamacpp.cli.chat\n    from llamacpp import engine, ops\n"
    )
    assert imported_parts(module) == {"api", "cli", "engine", "ops"}
    assert not imported_parts(module) <= allowed("models")


# ---- C -------------------------------------------------------------------------------------------

C_FILES = [p for p in files(".c", ".h", ".inc") if CSRC in p.parents]
LEVEL_FILE = re.compile(r"_(avx2|avx_vnni|avx512|neon|neon_dot|neon_i8mm)\.[ch]$|^neon\.h$")
INTRINSICS = re.compile(r"<(immintrin|arm_neon|x86intrin)\.h>|\b_mm\d*_\w+\(|\bv\w+q_[fsu]\d+\(")
ISA = re.compile(r"avx|sse|neon|i8mm|dotprod|vnni|__x86_64__|__aarch64__|LK_X86|LK_ARM", re.I)


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)


@pytest.mark.parametrize("path", C_FILES, ids=lambda p: str(p.relative_to(CSRC)))
def test_a_unit_includes_its_own_headers_and_the_shared_ones(path: Path) -> None:
    for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.M):
        own, shared = path.parent / name, CSRC / name.removeprefix("../")
        assert "/" not in name.removeprefix("../"), f"{name} belongs to another unit"
        assert own.exists() or shared.exists(), name


@pytest.mark.parametrize("path", sorted(CSRC.glob("op_*.c")), ids=lambda p: p.name)
def test_ops_never_name_an_instruction_set(path: Path) -> None:
    assert ISA.findall(without_comments(path.read_text())) == []


def test_intrinsics_are_only_in_files_of_a_level() -> None:
    users = [p for p in C_FILES if INTRINSICS.search(without_comments(p.read_text()))]
    assert len(users) > 20
    others = {p.name for p in users if not LEVEL_FILE.search(p.name)}
    assert others <= {"pool.c"}  # where waiting threads pause


def test_c_never_aborts_asserts_or_prints() -> None:
    # Pool threads and kernels have no one to tell: status codes go up to Python.
    forbidden = re.compile(r"\b(abort|assert|exit|printf|fprintf|puts|perror)\s*\(")
    found = {p.name: forbidden.findall(without_comments(p.read_text())) for p in C_FILES}
    assert {name: calls for name, calls in found.items() if calls} == {}


# ---- Budgets -------------------------------------------------------------------------------------


def test_files_keep_to_their_budgets() -> None:
    lengths = {
        str(p.relative_to(ROOT)): (len(p.read_text(encoding="utf-8").splitlines()), p.suffix)
        for p in files(*MAX_LINES)
    }
    over = {name: n for name, (n, suffix) in lengths.items() if n > MAX_LINES[suffix]}
    assert set(over) == set(LONGER), over


def test_functions_keep_to_their_budgets() -> None:
    over = {}
    for path in (p for p in files(".py") if ROOT / "tests" not in p.parents):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > (MAX_FORWARD if node.name == "forward" else MAX_FUNCTION):
                    over[f"{path.name}:{node.name}"] = length
    assert over == {}


def test_c_functions_keep_to_their_budgets() -> None:
    over = {}
    for path in files(".c", ".h"):
        # clang-format puts a function's first line and its closing brace at the margin.
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^(?!typedef|struct|enum|union|#)\w[^;={}]*\{\n.*?^\}", text,
                                 re.M | re.S):  # fmt: skip
            length = match[0].count("\n") + 1
            if length > MAX_FUNCTION:
                over[f"{path.name}:{match[0].splitlines()[0]}"] = length
    assert over == {}


def test_c_lines_keep_to_their_budget() -> None:
    long = [
        f"{path.name}:{number}"
        for path in files(".c", ".h", ".inc", ".sh")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > MAX_LINE
    ]
    assert long == []


def test_nothing_is_left_to_do() -> None:
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XXX" + ":")))
    found = [p.name for p in files(*MAX_LINES) if marks.search(p.read_text(encoding="utf-8"))]
    assert found == []
