"""The rows of a profile: all ops, all time, and the same results as without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import Model
from llamacpp.errors import KernelError
from llamacpp.measure import profile as profile_module
from llamacpp.measure.profile import _Costs, _role, _Watched, profile
from llamacpp.measure.speed import Runner, Test
from llamacpp.measure.work import kv_bytes, operations_per_token
from tests.random_models import write_random_model

NAMES = [
    "embedding", "rope", "qkv", "attention", "attn_output", "gate_up", "down", "output", "python",
]  # fmt: skip
TESTS = [
    Test(n_gen=4), Test(n_gen=3, n_depth=40), Test(n_gen=2, n_seq=3), Test(n_prompt=20),
    Test(n_prompt=600, n_depth=10),
]  # fmt: skip


@pytest.fixture(params=["untied", "tied, with biases"])
def any_model(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> Iterator[Model]:
    if request.param != "untied":
        path = write_random_model(tmp_path / "t.gguf", Type.Q8_0, tied=True, biases=True)
    with Model.open(path, n_threads=1) as model:
        yield model


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_rows_add_up_to_the_whole_time(any_model: Model, test: Test) -> None:
    found = profile(any_model, test, rounds=1)
    assert [row.name for row in found.rows] == NAMES
    assert sum(row.share for row in found.rows) == pytest.approx(1.0)
    assert sum(row.microseconds for row in found.rows) == pytest.approx(found.microseconds)
    assert all(row.microseconds > 0 for row in found.rows)
    assert found.undisturbed > 0
    assert found.n_threads == 1


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_calls_bytes_and_operations_are_those_of_the_model(any_model: Model, test: Test) -> None:
    rows = {row.name: row for row in profile(any_model, test, rounds=1).rows}
    n_layer = any_model.config.n_layer
    for name in NAMES:
        once = name in ("embedding", "rope", "output")
        calls = 0 if name == "python" else 1 if once else n_layer
        if name == "output" and test.is_prompt:
            calls = 1 / test.passes  # the last piece alone has logits
        assert rows[name].calls == calls
    products = [name for name in NAMES if rows[name].gops is not None]
    assert products == ["qkv", "attn_output", "gate_up", "down", "output"]
    done = sum((rows[n].gops or 0) * 1e9 * rows[n].microseconds * 1e-6 for n in products)
    logits = 1 / test.n_prompt if test.is_prompt else 1.0
    assert done == pytest.approx(operations_per_token(any_model, logits))
    assert [n for n in NAMES if rows[n].gbps is not None] == ["qkv", "attention", *products[1:]]
    held = kv_bytes(any_model.session(8), test.positions) * test.n_seq
    read = (rows["attention"].gbps or 0) * 1e9 * rows["attention"].microseconds * 1e-6
    assert read * test.tokens_of_a_pass == pytest.approx(held)
    weights = [t.nbytes for name, t in any_model.weights.items() if name.startswith("blk.")]
    layers = [n for n in products if n != "output"]
    read = sum((rows[n].gbps or 0) * 1e9 * rows[n].microseconds * 1e-6 for n in layers)
    assert read * test.tokens_of_a_pass == pytest.approx(sum(weights))


def test_results_are_those_of_an_unwatched_session(model: Model) -> None:
    runner = Runner(model, [Test(n_gen=4, n_depth=20)])
    plain = model.session(40)
    runner.session.network = _Watched(
        model.network, _Costs(model, runner, Test(n_gen=4, n_depth=20))
    )
    prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    for tokens in (prompt, [11], [12, 13]):
        np.testing.assert_array_equal(
            runner.session.eval(tokens, logits="all"), plain.eval(tokens, logits="all")
        )
    assert runner.session.eval([1], logits=None) is None


def test_the_model_is_left_as_it_was(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    network, embedding = model.network, model.network.embedding
    sessions = []
    monkeypatch.setattr(
        profile_module, "Runner",
        lambda *args, **options: sessions.append(Runner(*args, **options)) or sessions[-1],
    )  # fmt: skip
    profile(model, Test(n_gen=2), rounds=1)
    assert model.network is network
    assert network.embedding is embedding
    space = sessions[0].session._space
    assert not any(isinstance(block, profile_module._WatchedBlock) for block in space.blocks)


def test_blocks_are_put_back_when_an_op_fails(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = Test(n_gen=2)
    runner = Runner(model, [test])
    session = runner.session
    blocks = list(session._space.blocks)
    watched = _Watched(model.network, _Costs(model, runner, test))
    session.network = watched

    def fail(*_: object) -> None:
        raise KernelError("no more")

    monkeypatch.setattr(blocks[1], "run_one", fail)
    with pytest.raises(KernelError, match="no more"):
        session.eval([1])
    assert list(session._space.blocks) == blocks


def test_the_fastest_round_is_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([9.0, 5.0, 6.0, 4.0, 3.0, 7.0, 8.0])  # warm-up; plain and watched in turns
    run = Runner.run
    monkeypatch.setattr(Runner, "run", lambda self, test: run(self, test) and next(seconds))
    found = profile(model, Test(n_gen=2), rounds=3)
    assert found.undisturbed == pytest.approx(4.0 / 2 * 1e6)
    assert found.microseconds == pytest.approx(3.0 / 2 * 1e6)
    assert sum(row.share for row in found.rows) == pytest.approx(1.0)


def test_other_products_are_called_as_their_tensor_is() -> None:
    assert _role("blk.12.ffn_gate.weight") == "gate_up"
    assert _role("blk.0.attn_qkv.weight") == "qkv"
    assert _role("blk.0.attn_output.weight") == "attn_output"
    assert _role("blk.3.ssm_in.weight") == "ssm_in"
    assert _role("attention") == "attention"
