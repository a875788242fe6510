"""A small random model with an embedding of some hundred pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import Model
from tests.random_models import write_random_model

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    return write_random_model(folder / "small.gguf", Type.Q4_0, n_vocab=5000)


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    with Model.open(path, n_threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def run() -> Run:
    """Run Python code as a process of its own, which may die."""

    def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run
