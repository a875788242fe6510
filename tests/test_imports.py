"""Who runs a model does not pay for what that does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# NumPy alone takes longer to import than the bundled model to write a sentence.
HEAVY = (
    "numpy",
    "llamacpp.measure",
    "llamacpp.format.legacy",
    "llamacpp.engine.state",
)


def loaded_by(code: str) -> set[str]:
    """Modules in a fresh interpreter after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(); print(*sys.modules)"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=True,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import llamacpp",
        "from llamacpp.cli import main; main(['generate', '-p', 'Once', '-n', '2', '-q'])",
        "from llamacpp import Llama, bundled_model\n"
        "Llama(bundled_model(), verbose=False)('Once', max_tokens=2, logprobs=2)",
        "from llamacpp import Model, bundled_model\n"
        "session = Model.open(bundled_model()).session()\n"
        "list(session.generate([1], max_tokens=2))",
    ],
    ids=["import", "generate", "Llama", "Model"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    loaded = loaded_by(code)
    assert "llamacpp" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_it_would_be_seen() -> None:
    code = (
        "import llamacpp.measure.speed, llamacpp.engine.state\n"
        "from llamacpp import Model, bundled_model\n"
        "import llamacpp.format.legacy.header\n"
        "Model.open(bundled_model()).session().eval([1])"
    )
    assert set(HEAVY) <= loaded_by(code)
