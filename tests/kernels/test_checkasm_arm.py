"""The Arm kernels, cross compiled and run under user emulation: dot product on, and off."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kernel_builds import build, run_checkasm

COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64-static"


@pytest.fixture(scope="module")
def checkasm() -> Path:
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"{EMULATOR} is not installed")
    return build("checkasm", compiler=COMPILER, ldflags="-static")


def test_all_arm_levels_match_their_scalar_twins(checkasm: Path) -> None:
    report = run_checkasm([EMULATOR, "-cpu", "max", str(checkasm)], "--require", "neon_dot")
    assert " passed, 0 failed" in report


def test_a_cpu_without_dot_product_runs_the_baseline_only(checkasm: Path) -> None:
    command = [EMULATOR, "-cpu", "cortex-a53", str(checkasm)]
    report = run_checkasm(command, "--require", "neon")
    assert "SKIP neon_dot: this CPU does not run it" in report
    assert " passed, 0 failed" in report
