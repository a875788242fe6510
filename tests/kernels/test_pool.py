"""The thread pool under the thread sanitizer: no race, no lost work, the same bits every time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from kernel_builds import ROOT, build, native_compiler


def test_many_callers_share_the_pool_without_races(tmp_path: Path) -> None:
    kernels = build("libkernels.so", compiler=native_compiler())
    program = tmp_path / "stress"
    watched = [
        ROOT / "tests/kernels/pool_stress.c",
        ROOT / "csrc/pool.c",
        ROOT / "csrc/op_linear.c",
    ]
    command = [
        *(native_compiler(), "-std=gnu11", "-O1", "-g", "-fsanitize=thread", "-pthread"),
        *("-ffp-contract=off", f"-I{ROOT / 'csrc'}", *map(str, watched), str(kernels)),
        *("-lm", f"-Wl,-rpath,{kernels.parent}", "-o", str(program)),
    ]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if "tsan" in compiled.stderr:
        pytest.skip("the compiler comes without the thread sanitizer")
    assert compiled.returncode == 0, compiled.stderr
    done = subprocess.run([program], capture_output=True, text=True, timeout=300, check=False)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("the thread sanitizer does not run on this kernel")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "180 runs, 0 failures" in done.stdout
