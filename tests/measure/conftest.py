"""Small random models to measure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import Model
from tests.random_models import write_random_model


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Q4_0, 2 layers, an output matrix of its own."""
    folder = tmp_path_factory.mktemp("measure")
    return write_random_model(folder / "small.gguf", Type.Q4_0, metadata={"general.file_type": 2})


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    with Model.open(path, n_threads=1) as model:
        yield model
