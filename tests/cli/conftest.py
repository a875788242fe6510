"""Running the command line, as a process of its own or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llamacpp.cli import main
from tests.small_models import write_talker

ROOT = Path(__file__).resolve().parent.parent.parent
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talker(tmp_path_factory.mktemp("talker") / "talker.gguf")


@pytest.fixture(scope="session")
def stories(data_dir: Path) -> Path:
    return data_dir / "stories260K-f32.gguf"


@pytest.fixture(scope="session")
def run() -> Run:
    """Run `python -m llamacpp ARGUMENTS`; `text` is what it reads from stdin."""

    def run(
        *arguments: object, text: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "llamacpp", *map(str, arguments)],
            input=text,
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, **environment},
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def here(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Call `main(ARGUMENTS)` in this process, which is quicker than `run`."""

    def here(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        words = [str(argument) for argument in arguments]
        try:
            code = main(words)
        except SystemExit as error:  # as argparse leaves
            code = int(error.code or 0)
        captured = capfdbinary.readouterr()
        return subprocess.CompletedProcess(words, code, captured.out, captured.err)

    return here
