"""Running the command line, as a process of its own or in this one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from llamacpp import Model, SamplingParams
from llamacpp.cli import main
from tests.small_models import write_talker

ROOT = Path(__file__).resolve().parent.parent.parent
# What a shell runs in the background has Ctrl-C ignored, and so would the programs under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talker(tmp_path_factory.mktemp("talker") / "talker.gguf")


@dataclass(frozen=True)
class Rambler:
    """A model that goes on from "the other" for as long as it may."""

    path: Path
    words: bytes  # something it says early on


@pytest.fixture(scope="session")
def rambler(tmp_path_factory: pytest.TempPathFactory) -> Rambler:
    """The first random model whose greedy text does not end: it has fallen into a loop."""
    folder = tmp_path_factory.mktemp("rambler")
    for seed in range(100):
        path = write_talker(folder / f"{seed}.gguf", seed=seed)
        with Model.open(path) as model:
            tokenizer = model.tokenizer
            assert tokenizer is not None
            prompt = tokenizer.encode("the other")
            session = model.session(4000)
            tokens = list(
                session.generate(prompt, max_tokens=3000, params=SamplingParams(temperature=0.0))
            )
        said = re.findall(rb"[A-Za-z0-9]{3,}", tokenizer.decode_bytes(tokens[:100]))
        if len(tokens) == 3000 and said:
            return Rambler(path, said[0])
    raise AssertionError("none of 100 random models goes on for 3000 tokens")


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
