"""Sessions: appending, forgetting, generating, ownership, cancellation, saved states."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp.engine import Model
from llamacpp.errors import (
    Cancelled,
    ContextOverflowError,
    InvalidArgumentError,
    ModelFileError,
    SessionBusyError,
    StateError,
)
from llamacpp.sampling import SamplingParams
from tests.random_models import write_random_model

GREEDY = SamplingParams(temperature=0.0)
TOKENS = [5, 17, 99, 3, 250, 42]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("session") / "model.gguf", Type.Q4_K)


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    with Model.open(path) as model:
        yield model


def test_eval_returns_the_rows_asked_for(model: Model) -> None:
    assert model.session().eval(TOKENS, None) is None
    few = TOKENS[:4]  # more take another path through the weights than one does
    last = model.session().eval(few)
    everything = model.session().eval(few, "all")
    assert last.shape == (1, 300)
    assert everything.shape == (4, 300)
    assert everything.dtype == np.float32
    assert (everything[-1] == last[0]).all()


def test_a_file_without_a_tokenizer_works_on_ids(model: Model) -> None:
    assert model.tokenizer is None
    assert len(list(model.session().generate(TOKENS, max_tokens=3))) == 3


def test_generation_continues_where_it_stopped(model: Model) -> None:
    whole = list(model.session().generate(TOKENS, max_tokens=9, params=GREEDY))
    session = model.session()
    parts = list(session.generate(TOKENS, max_tokens=4, params=GREEDY))
    assert session.tokens == TOKENS + parts
    parts += session.generate(max_tokens=5, params=GREEDY)
    assert parts == whole


def test_generation_stops_when_the_context_is_full(model: Model) -> None:
    session = model.session(n_ctx=10)
    assert len(list(session.generate(TOKENS, params=GREEDY))) == 4
    assert session.n_past == 10


def test_the_same_seed_gives_the_same_tokens_whatever_the_threads(model: Model) -> None:
    params = SamplingParams(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=11)
    texts = {
        tuple(model.session(n_threads=n).generate(TOKENS, max_tokens=40, params=params))
        for n in (1, 2, 3, 1)
    }
    assert len(texts) == 1
    other = SamplingParams(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=12)
    assert tuple(model.session().generate(TOKENS, max_tokens=40, params=other)) not in texts


def test_rewinding_and_evaluating_again_gives_the_same_logits(model: Model) -> None:
    session = model.session()
    first = session.eval(TOKENS)
    session.rewind(3)
    assert session.logits is None
    session.eval([7, 8])
    session.rewind(3)
    assert session.tokens == TOKENS[:3]
    np.testing.assert_allclose(session.eval(TOKENS[3:]), first, atol=2e-3)
    with pytest.raises(InvalidArgumentError, match="holds 6 tokens and cannot be rewound to 7"):
        session.rewind(7)
    session.reset()
    assert session.n_past == 0


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "no tokens"),
        ([300], r"token 300 is outside the vocabulary \(0..299\)"),
        ([1, -1], "token -1 is outside"),
        ([1.5], "flat sequence of integers"),
        ([[1, 2]], "flat sequence of integers"),
        ([2**40], "32 bits"),
        ("text", "flat sequence of integers"),
    ],
)
def test_bad_tokens_are_refused(model: Model, tokens: list, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        model.session().eval(tokens)


def test_overflowing_the_context_is_refused_before_anything_is_evaluated(model: Model) -> None:
    session = model.session(n_ctx=8)
    session.eval(TOKENS)
    with pytest.raises(ContextOverflowError, match="3 tokens after 6 do not fit into a context"):
        session.eval([1, 2, 3])
    assert session.tokens == TOKENS


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (([1], [0, 1], [0]), "same length"),
        (([1], [1], [0]), "must continue from 0"),
        (([1, 2], [1, 0], [0, 0]), "must continue from 0, in order"),
        (([1], [0], [2]), r"outside 0..1"),
        (([1], [0], [0], [1]), "ascending indices in 0..0"),
        (([1, 2], [0, 1], [0, 0], [1, 0]), "ascending"),
    ],
)
def test_bad_batches_are_refused(model: Model, batch: tuple, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        model.session(n_seq=2).forward(*batch)


@pytest.mark.parametrize(
    "options", [{"n_ctx": 0}, {"n_seq": 0}, {"n_batch": 0}, {"n_threads": 0}, {"cache_type": "q4"}]
)
def test_bad_session_options_are_refused(model: Model, options: dict) -> None:
    with pytest.raises(InvalidArgumentError):
        model.session(**options)


def test_a_session_in_use_refuses_a_second_user(model: Model) -> None:
    session = model.session()
    generator = session.generate(TOKENS, max_tokens=5)
    next(generator)
    with pytest.raises(SessionBusyError, match="one session per thread"):
        session.eval([1])
    errors: list[BaseException] = []

    def intrude() -> None:
        try:
            list(session.generate([1], max_tokens=1))
        except SessionBusyError as error:
            errors.append(error)

    thread = threading.Thread(target=intrude)
    thread.start()
    thread.join()
    assert len(errors) == 1
    generator.close()
    session.eval([1])


def test_two_sessions_in_two_threads_give_the_texts_they_give_alone(model: Model) -> None:
    prompts = [TOKENS, TOKENS[::-1]]

    def run(prompt: list[int]) -> list[int]:
        return list(model.session().generate(prompt, max_tokens=60, params=GREEDY))

    alone = [run(p) for p in prompts]
    together: list[list[int]] = [[], []]

    def work(i: int) -> None:
        together[i] = run(prompts[i])

    for _ in range(3):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert together == alone


def test_cancelling_from_the_progress_callback_keeps_what_is_done(model: Model) -> None:
    session = model.session(n_batch=4)
    seen = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 8:
            session.cancel()

    with pytest.raises(Cancelled):
        session.eval(list(range(20)), progress=progress)
    assert seen == [(4, 20), (8, 20)]
    assert session.tokens == list(range(8))
    want = model.session().eval(list(range(12)))
    np.testing.assert_allclose(session.eval([8, 9, 10, 11]), want, atol=2e-3)


def test_what_a_progress_callback_raises_ends_the_evaluation(model: Model) -> None:
    def progress(done: int, total: int) -> None:
        raise KeyboardInterrupt

    session = model.session(n_batch=4)
    with pytest.raises(KeyboardInterrupt):
        session.eval(list(range(20)), progress=progress)
    assert session.n_past == 4


def test_a_saved_state_continues_identically(model: Model, tmp_path: Path) -> None:
    session = model.session()
    head = list(session.generate(TOKENS, max_tokens=5, params=GREEDY))
    session.save(tmp_path / "state")
    want = list(session.generate(max_tokens=8, params=GREEDY))
    other = model.session(n_ctx=64)
    other.eval([9, 9, 9])
    other.load(tmp_path / "state")
    assert other.tokens == TOKENS + head
    assert list(other.generate(max_tokens=8, params=GREEDY)) == want
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state"]


def test_damaged_and_foreign_states_are_refused(model: Model, path: Path, tmp_path: Path) -> None:
    session = model.session()
    session.eval(TOKENS)
    file = tmp_path / "state"
    session.save(file)
    good = file.read_bytes()

    def refused(data: bytes, message: str, into: object = None) -> None:
        file.write_bytes(data)
        target = into or model.session()
        with pytest.raises(StateError, match=message):
            target.load(file)
        assert target.n_past == 0

    refused(b"", "too short")
    refused(good[:100], "damaged|too short")
    refused(b"x" + good[1:], "not a saved session")
    refused(good[:16] + b"\x09" + good[17:], "version 9")
    for at in (30, 100, len(good) // 2, len(good) - 1):
        refused(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], "damaged")
    refused(good, "KV cache type", model.session(cache_type="f32"))
    refused(good, "room for 4", model.session(n_ctx=4))
    with Model.open(write_random_model(tmp_path / "b.gguf", Type.Q4_K, n_layer=1)) as other:
        refused(good, "another model", other.session())
    with pytest.raises(ModelFileError, match="cannot read"):
        model.session().load(tmp_path / "absent")
    with pytest.raises(ModelFileError, match="cannot write"):
        session.save(tmp_path / "absent" / "state")


def test_a_file_that_shrinks_under_the_map_raises(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(path.read_bytes())
    with Model.open(copy) as model:
        session = model.session()
        session.eval(TOKENS)
        with copy.open("r+b") as file:
            file.truncate(4096)
        with pytest.raises(ModelFileError, match=r"changed|shrank"):
            session.eval([1])
        # Even unnoticed, the vanished pages end in an error, in every thread, and nothing hangs.
        session.file = type("Unchanging", (), {"check_unchanged": lambda self: None})()
        for _ in range(3):
            with pytest.raises(ModelFileError, match="shrank or became unreadable"):
                session.eval([1])


def test_closing_a_model_leaves_running_sessions_alone(path: Path) -> None:
    model = Model.open(path)
    session = model.session()
    want = model.session().eval(TOKENS)
    model.close()
    with pytest.raises(ModelFileError, match="closed"):
        model.session()
    assert (session.eval(TOKENS) == want).all()
