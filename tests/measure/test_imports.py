"""Who runs a model does not pay for measuring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LOADED = "import sys; print(*sorted(name for name in sys.modules if 'llamacpp.measure' in name))"


@pytest.mark.parametrize(
    "use",
    [
        "import llamacpp",
        "from llamacpp import Llama, bundled_model; Llama(bundled_model())('Once', max_tokens=2)",
        "from llamacpp.cli import build_parser; build_parser()",
        "from llamacpp.cli import main; main(['generate', '-p', 'Once', '-n', '2', '-q'])",
    ],
)
def test_nothing_of_it_is_loaded(use: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{use}\n{LOADED}"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == ""


def test_it_would_be_seen() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import llamacpp.measure.speed\n{LOADED}"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=True,
    )  # fmt: skip
    assert "llamacpp.measure.speed" in done.stdout.split()
