"""What the package says of itself, and the rules of its build."""

from __future__ import annotations

import re
from pathlib import Path

import llamacpp

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    declared = re.search(r'^version = "(.+)"$', PYPROJECT, re.M)
    assert declared
    assert declared[1] == llamacpp.__version__
    released = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released
    assert released[1] == llamacpp.__version__


def test_no_source_is_compiled_for_the_machine_at_hand() -> None:
    for name in ("setup.py", "csrc/ffi_build.py", "pyproject.toml", "Makefile"):
        text = re.sub(r'"""(.|\n)*?"""|#.*', "", (ROOT / name).read_text(encoding="utf-8"))
        assert not re.search(r"-m(arch|tune|cpu|avx|sse|fma)", text), name


def test_no_option_lets_the_compiler_change_arithmetic() -> None:
    text = (ROOT / "csrc" / "ffi_build.py").read_text(encoding="utf-8")
    assert "-ffp-contract=off" in text
    assert not re.search(r"-Ofast|fast-math|-funsafe|-fassociative", text)


def test_the_extension_uses_the_stable_abi() -> None:
    from llamacpp import _lk

    assert _lk.__file__.endswith(".abi3.so")


def test_tests_build_the_kernels_with_the_flags_of_the_extension() -> None:
    build = (ROOT / "csrc" / "ffi_build.py").read_text(encoding="utf-8")
    makefile = (ROOT / "tests/kernels/checkasm/Makefile").read_text(encoding="utf-8")
    meaning = re.search(r"^MEANING := (.*)$", makefile, re.M)
    assert meaning
    for flag in meaning[1].split():
        assert f'"{flag}"' in build


def test_the_package_is_typed() -> None:
    folder = Path(llamacpp.__file__).parent
    assert (folder / "py.typed").exists()
    assert (folder / "_lk.pyi").exists()
