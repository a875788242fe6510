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
    report = run_checkasm([EMULATOR, "-cpu", "max", str(checkasm)], "--require", "neon_i8mm")
    assert " passed, 0 failed" in report
    assert report.endswith("dispatch chose neon_i8mm\n")
    table = report[report.index("kernel ") :].splitlines()[:-1]  # the last line counts
    levels, *rows = [line.split() for line in table]
    results = {row[0]: dict(zip(levels[1:], row[1:], strict=True)) for row in rows}
    # Rows are read one a token, few columns are dots, ternary encoders sort: the scalar versions
    # serve.
    plain = [slot for slot, by_level in results.items() if by_level["neon"] != "ok"]
    assert all(slot.startswith(("row_", "skinny_", "quantize_tq")) for slot in plain)
    with_dot = [slot for slot, by_level in results.items() if by_level["neon_dot"] == "ok"]
    of_floats = {"dot_f32", "dot_f16", "dot_bf16"}
    assert set(with_dot) == {
        s for s in results if s.startswith(("dot_", "gemm_", "probe_int8")) and s not in of_floats
    }
    with_i8mm = [slot for slot, by_level in results.items() if by_level["neon_i8mm"] == "ok"]
    assert set(with_i8mm) == {s for s in results if s.startswith(("gemm_", "probe_int8"))}


def test_a_cpu_without_dot_product_runs_the_baseline_only(checkasm: Path) -> None:
    command = [EMULATOR, "-cpu", "cortex-a53", str(checkasm)]
    report = run_checkasm(command, "--require", "neon")
    assert "SKIP neon_dot: this CPU does not run it" in report
    assert report.endswith("dispatch chose neon\n")
    assert " passed, 0 failed" in report
