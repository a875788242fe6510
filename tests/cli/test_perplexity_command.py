"""`llamacpp perplexity`: figures, JSON, errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llamacpp import __version__, bundled_model

TEXT = "Once upon a time there lived a fox. The fox had a friend, a small bird. " * 8


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_figure_with_its_error(here, text) -> None:
    done = here("perplexity", "-f", text, "-c", 32, "-t", 1)
    assert (done.returncode, done.stderr) == (0, b"")
    first, second = done.stdout.decode().splitlines()
    assert re.fullmatch(r"perplexity   \d+\.\d{4} ± \d+\.\d{4}", first)
    assert re.fullmatch(r"scored       \d+ tokens, in windows of 32: \d+", second)


def test_divergence_from_a_base(here, text) -> None:
    done = here("perplexity", "-f", text, "-c", 32, "-t", 1, "--kl-base", bundled_model())
    words = done.stdout.decode()
    assert "KL           0.000000 ± 0.000000 nats" in words
    assert "same top     100.000% ± 0.000%" in words


def test_json_has_all_of_it(here, text) -> None:
    done = here(
        "perplexity", "-f", text, "-c", 16, "--windows", 3, "--kl-base", bundled_model(), "--json"
    )
    found = json.loads(done.stdout)
    assert (found["n_ctx"], found["n_windows"], found["n_scored"]) == (16, 3, 21)
    assert found["divergence"]["base_ppl"] == found["ppl"]
    assert (found["model"], found["version"]) == ("stories.gguf", __version__)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-f", "absent.txt"], b"cannot read absent.txt"),
        (["-c", "100000"], b"n_ctx must be from 4 to"),
        (["--windows", "1"], b"1 is not from 2"),
        (["--kl-base", "absent.gguf"], b"absent.gguf"),
        ([], b"two windows of 512 are the least"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(run, text, options, message) -> None:
    done = run("perplexity", *([] if "-f" in options else ["-f", text]), *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1
