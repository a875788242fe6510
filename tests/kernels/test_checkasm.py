"""Every version of every kernel against its scalar twin, natively (see checkasm/main.c)."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from kernel_builds import LEVELS, ROOT, build, check_level, native_compiler, run_checkasm

from llamacpp._native import available_levels

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


def test_every_kernel_is_benched(checkasm: Path) -> None:
    files = sorted((ROOT / "csrc").glob("kernels*.inc"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    kernels = re.findall(r"^LK_KERNEL\((\w+), (\w+)\)", text, re.M)
    of_each = re.findall(r"^ +LK_KERNEL\((\w+), (\w+)##type\)", text, re.M)
    for kind in re.findall(r"^LK_IQ_KERNELS\((\w+)\)$", text, re.M):
        kernels += [(level, kernel + kind) for level, kernel in of_each]
    report = run_checkasm([str(checkasm)], "--bench", "0.1")
    lines = [json.loads(line) for line in report.splitlines() if not line.startswith("SKIP")]
    timed = {(line["level"], line["slot"]) for line in lines}
    assert timed == {(level, slot) for level, slot in kernels if level in available_levels()}
    assert all(line["ns"] > 0 and line["limits"] for line in lines)
    assert all(line["bytes"] > 0 or line["operations"] > 0 for line in lines)


@pytest.mark.parametrize("ms", ["0", "-1", "fast"])
def test_a_bench_of_no_length_is_bad_usage(checkasm: Path, ms: str) -> None:
    done = subprocess.run([str(checkasm), "--bench", ms], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
