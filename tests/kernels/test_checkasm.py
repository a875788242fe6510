"""Every version of every kernel against its scalar twin, natively (see checkasm/main.c)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from kernel_builds import LEVELS, build, check_level, native_compiler, run_checkasm

# Instrumented loops no longer unroll, about which GCC warns. Memory needs no second sanitizer:
# that is what the guard pages are for.
SANITIZERS = "-O1 -fsanitize=undefined -fno-sanitize=null,object-size,pointer-overflow"
SANITIZERS += " -fno-sanitize-recover=all -Wno-error"


@pytest.fixture(scope="module")
def checkasm() -> Path:
    return build("checkasm", compiler=native_compiler())


@pytest.mark.parametrize("level", LEVELS)
def test_kernels_of_a_level_match_their_scalar_twins(checkasm: Path, level: str) -> None:
    check_level([str(checkasm)], level)


def test_all_levels_are_free_of_undefined_behaviour() -> None:
    run_checkasm([str(build("checkasm", compiler=native_compiler(), cflags=SANITIZERS))])


def test_a_required_level_that_is_missing_fails(checkasm: Path) -> None:
    # No CPU runs both x86 and Arm levels.
    command = [str(checkasm), "--kernel", "max", "--require", "avx2", "--require", "neon"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "required, but this CPU does not run it" in done.stdout


def test_a_seed_repeats_a_run(checkasm: Path) -> None:
    first, second = (run_checkasm([str(checkasm)], "--kernel", "dot", "--seed", "7") for _ in "ab")
    assert first == second
    assert "seed 7" in first
