"""`llamacpp embed`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llamacpp import Model
from tests.random_encoders import N_EMBD, write_random_encoder

TEXTS = ["the cab", "a bad cab, the"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_encoder(tmp_path_factory.mktemp("encoder") / "m.gguf")


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text(f"{TEXTS[0]}\r\n\n{TEXTS[1]}\n")
    return path


def numbers(text: bytes) -> np.ndarray:
    return np.array([line.split() for line in text.splitlines()], np.float32)


def test_a_line_is_a_text_and_a_vector(here, encoder, lines) -> None:
    with Model.open(encoder) as model:
        want = model.embedder().embed(TEXTS)
        plain = model.embedder(pooling="cls").embed(TEXTS, normalize=False)
    done = here("embed", "-m", encoder, "-f", lines)
    assert (done.returncode, done.stderr) == (0, b"")
    np.testing.assert_array_equal(numbers(done.stdout), want)
    done = here("embed", "-m", encoder, "-p", TEXTS[1])
    np.testing.assert_array_equal(numbers(done.stdout), want[1:])
    done = here("embed", "-m", encoder, "-f", lines, "--no-normalize", "--pooling", "cls")
    np.testing.assert_array_equal(numbers(done.stdout), plain)


def test_without_pooling_a_line_is_a_token(here, encoder, lines) -> None:
    done = here("embed", "-m", encoder, "-f", lines, "--pooling", "none")
    blocks = done.stdout.split(b"\n\n")
    assert [numbers(block).shape for block in blocks] == [(6, N_EMBD), (11, N_EMBD)]


def test_json_is_openais(here, encoder, lines) -> None:
    done = here("embed", "-m", encoder, "-f", lines, "--json")
    found = json.loads(done.stdout)
    assert found["usage"] == {"prompt_tokens": 17, "total_tokens": 17}
    assert (found["object"], found["model"]) == ("list", "m.gguf")
    assert [entry["index"] for entry in found["data"]] == [0, 1]
    vectors = np.array([entry["embedding"] for entry in found["data"]])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_standard_input(run, encoder) -> None:
    done = run("embed", "-m", encoder, "-f", "-", text=b"a\nthe\n")
    assert (done.returncode, numbers(done.stdout).shape) == (0, (2, N_EMBD))


def test_models_that_generate_embed_too(here, talker) -> None:
    done = here("embed", "-m", talker, "-p", "the other", "--pooling", "mean")
    assert numbers(done.stdout).shape == (1, 64)


def test_what_is_refused(here, encoder, tmp_path) -> None:
    long = ["embed", "-m", encoder, "-p", "the " * 40]
    done = here(*long)
    assert done.returncode == 2
    assert b"42 tokens is longer than the context of 32" in done.stderr
    assert here(*long, "--truncate").returncode == 0
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"\n\n")
    assert b"holds no text" in here("embed", "-m", encoder, "-f", empty).stderr
    assert b"one of the arguments" in here("embed", "-m", encoder).stderr
    assert b"invalid choice" in here("embed", "-p", "a", "--pooling", "max").stderr
    done = here("generate", "-m", encoder, "-p", "the")
    assert done.returncode == 2
    assert b"llamacpp embed" in done.stderr
    bare = write_random_encoder(tmp_path / "bare.gguf", vocabulary=False)
    assert b"no tokenizer" in here("embed", "-m", bare, "-p", "a").stderr


@pytest.mark.parametrize("command", ["bench", "chat", "perplexity"])
def test_other_commands_say_what_encoders_do(here, encoder, lines, command) -> None:
    lines.write_text("the cab " * 99)
    done = here(command, "-m", encoder, *(("-f", lines) if command == "perplexity" else ()))
    assert done.returncode == 2
    assert b"is an encoder, which gives embeddings" in done.stderr
