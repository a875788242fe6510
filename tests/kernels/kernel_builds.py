"""Builds of the kernel sources without Python round them: checkasm and a shared library."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKASM = ROOT / "tests" / "kernels" / "checkasm"
LEVELS = ("scalar", "avx2", "avx_vnni", "avx512", "neon", "neon_dot", "neon_i8mm")


def native_compiler() -> str:
    """The compiler that builds the extension, without its flags."""
    return (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]


def build(target: str, *, compiler: str, cflags: str = "", ldflags: str = "") -> Path:
    """Bring one build of checkasm's Makefile up to date; each set of flags has its own folder."""
    for tool in ("make", compiler):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    variant = hashlib.sha256(f"{compiler} {cflags} {ldflags}".encode()).hexdigest()[:8]
    folder = ROOT / "build" / f"checkasm-{Path(compiler).name}-{variant}"
    options = [f"CC={compiler}", f"CFLAGS={cflags}", f"LDFLAGS={ldflags}", f"BUILD={folder}"]
    command = ["make", "-s", "-j2", "-C", str(CHECKASM), *options, str(folder / target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return folder / target


def run_checkasm(command: list[str], *options: str) -> str:
    """Run checkasm; its report is the message of a failure, its output the result."""
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def check_level(command: list[str], level: str) -> None:
    """Run the kernels of one level; visibly skip a level that the CPU does not run."""
    report = run_checkasm(command, "--level", level)
    if f"SKIP {level}" in report:
        pytest.skip(f"this CPU does not run {level}")
    assert " passed, 0 failed" in report
