"""The models that the tests of `Llama` use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llamacpp import Llama
from tests.small_models import write_talker


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talker(tmp_path_factory.mktemp("talker") / "talker.gguf")


@pytest.fixture
def llama(talker: Path) -> Iterator[Llama]:
    with Llama(talker, seed=1) as llama:
        yield llama


@pytest.fixture
def stories(data_dir: Path) -> Iterator[Llama]:
    with Llama(data_dir / "stories260K-f32.gguf") as llama:
        yield llama
