"""Fixtures every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamacpp import _native

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real models and tokenizer vectors; the test is skipped where it is absent."""
    path = Path(os.environ.get("LLAMACPP_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no test data at {path}: set LLAMACPP_TEST_DATA")
    return path


@pytest.fixture(params=_native.available_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each level of this machine in turn."""
    before = _native.active_level()
    _native.set_level(request.param)
    yield request.param
    _native.set_level(before)
