"""The loops of `probe_int8` in the builds of the tests: natively, and for Arm."""

from __future__ import annotations

import platform
import shutil

import pytest
from kernel_builds import LEVELS, build, native_compiler

from bench.disassembly import EXPECTED, check

ARM = tuple(level for level in LEVELS if level.startswith("neon"))
NATIVE = ARM if platform.machine() == "aarch64" else ("avx2", "avx_vnni", "avx512")


def problems(compiler: str, objdump: str, level: str) -> list[str]:
    library = build("libkernels.so", compiler=compiler)
    if shutil.which(objdump) is None:
        pytest.skip(f"{objdump} is not installed")
    return check(library, level, objdump).problems(level)


@pytest.mark.parametrize("level", NATIVE)
def test_the_loop_holds_the_products_and_no_memory(level: str) -> None:
    assert problems(native_compiler(), "objdump", level) == []


@pytest.mark.parametrize("level", ARM)
def test_the_loop_on_arm_holds_the_products_and_no_memory(level: str) -> None:
    assert problems("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objdump", level) == []


def test_every_level_but_the_scalar_is_looked_at() -> None:
    assert set(EXPECTED) == set(LEVELS) - {"scalar"}
