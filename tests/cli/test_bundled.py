"""The bundled story model, as someone meets it who types the first commands of the README."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamacpp import Llama, Model, bundled_model

ASK = [{"role": "user", "content": "Tell me a story about a fox."}]


@pytest.fixture(scope="module")
def bundled() -> Path:
    path = Path(bundled_model())
    if not path.exists():
        pytest.skip("the bundled model is not there: python -m tools.bundled_model makes it")
    return path


def test_it_is_small_and_used_in_place(bundled: Path) -> None:
    assert bundled.stat().st_size < 6_000_000
    with Model.open(bundled) as model:
        assert model.copied_weight_bytes == 0


@pytest.mark.usefixtures("bundled")
def test_generate_without_a_model_writes_a_story(here) -> None:
    done = here("generate", "-p", "Once upon a time", "--seed", 1, "-q")
    text = done.stdout.decode()
    assert text.startswith("Once upon a time")
    assert len(text.split()) > 80
    assert text.isascii()
    again = here("generate", "-p", "Once upon a time", "--seed", 1, "-q")
    assert again.stdout == done.stdout


def test_it_answers_a_request_and_stops(bundled: Path) -> None:
    with Llama(bundled) as llama:
        assert llama.chat_format.name == "file"
        for seed in range(3):
            answer = llama.create_chat_completion(ASK, seed=seed)
            choice = answer["choices"][0]
            assert choice["finish_reason"] == "stop"
            assert len(choice["message"]["content"].split()) > 40


@pytest.mark.usefixtures("bundled")
def test_chat_answers_a_line_from_a_pipe(run) -> None:
    done = run("chat", "--seed", 1, text=b"Tell me a story about a fox.\n")
    assert done.returncode == 0
    assert len(done.stdout.split()) > 40
    assert done.stdout.endswith(b"\n")


def test_stop_strings_and_logprobs_on_the_real_model(bundled: Path) -> None:
    with Llama(bundled) as llama:
        whole = llama("Once upon a time", max_tokens=40, temperature=0, logprobs=1)
        text, log = whole["choices"][0]["text"], whole["choices"][0]["logprobs"]
        assert log
        assert "".join(log["tokens"]) == text
        stop = text[5:12]
        cut = llama("Once upon a time", max_tokens=40, temperature=0, stop=[stop])
        assert cut["choices"][0]["text"] == text[: text.index(stop)]
