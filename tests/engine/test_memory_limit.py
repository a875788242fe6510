"""Models larger than memory: the same results, through a window."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import Cancelled, InvalidArgumentError, Llama, Model, ModelFileError, SamplingParams
from llamacpp.engine import loading
from llamacpp.measure.profile import profile
from llamacpp.measure.speed import Test
from tests.random_models import write_random_model

TOKENS = [1, 5, 250, 7, 42, 299, 0, 13, 77, 123, 5, 9]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("model") / "m.gguf", Type.Q4_0, n_layer=6)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process and a session that take nothing: the limit is all for weights and window."""
    monkeypatch.setattr(loading, "USABLE", 1.0)
    monkeypatch.setattr(loading, "_private", lambda: 0)
    monkeypatch.setattr(loading, "_session", lambda config, n_ctx: 0)


def share_of(path: Path, share: float) -> int:
    """A limit that keeps so much of the layers, and leaves room for the rest."""
    with Model.open(path, memory_limit=None) as model:
        layers = [t for n, t in model.weights.items() if n.startswith("blk.") and len(t.shape) == 2]
        slot = -(-max(t.nbytes for t in layers) // 4096) * 4096 + 4096
        total = sum(t.nbytes for t in layers)
        return model.plan.kept_bytes - total + 4 * slot + int(share * total)


@pytest.fixture(params=[0.0, 0.3, 0.5])
def limited(request: pytest.FixtureRequest, path: Path, small: None) -> Iterator[Model]:
    with Model.open(path, memory_limit=share_of(path, request.param), n_threads=2) as model:
        assert model.plan.streamed
        yield model


def test_results_are_those_without_a_limit(path: Path, limited: Model) -> None:
    with Model.open(path, memory_limit=None, n_threads=2) as whole:
        assert whole.plan.streamed == ()
        want, got = whole.session(), limited.session()
        for piece in (TOKENS, [3], [4], TOKENS[:5]):
            np.testing.assert_array_equal(got.eval(piece, "all"), want.eval(piece, "all"))
        greedy = SamplingParams(temperature=0.0)
        said = [list(s.generate(max_tokens=20, params=greedy)) for s in (want, got)]
        assert said[0] == said[1]


def test_fused_matrices_pass_the_window_as_one(tmp_path: Path, small: None) -> None:
    path = write_random_model(tmp_path / "m.gguf", Type.Q4_0, n_layer=6, fused=True)
    with (
        Model.open(path, memory_limit=share_of(path, 0.3)) as model,
        Model.open(path, memory_limit=None) as whole,
    ):
        assert "blk.0.ffn_up.weight" in {tensor.name for tensor in model.plan.streamed}
        got, want = model.session(), whole.session()
        for piece in (TOKENS, [3], [4]):
            np.testing.assert_array_equal(got.eval(piece, "all"), want.eval(piece, "all"))
        assert whole.copied_weight_bytes == 0


def test_experts_stay_where_they_are_mapped(tmp_path: Path, small: None) -> None:
    path = write_random_model(tmp_path / "m.gguf", Type.Q4_0, n_layer=6, experts=(5, 2))
    with Model.open(path, memory_limit=None) as whole:
        everything = sum(tensor.nbytes for tensor in whole.weights.values())
        assert whole.plan.kept_bytes < everything / 3  # others count: attention, routers, norms
        with Model.open(path, memory_limit=share_of(path, 0.3)) as model:
            assert len(model.plan.streamed) > 6
            assert not any("exps" in tensor.name for tensor in model.plan.streamed)
            got, want = model.session(), whole.session()
            for piece in (TOKENS, [3], [4]):
                np.testing.assert_array_equal(got.eval(piece, "all"), want.eval(piece, "all"))


def test_the_window_is_all_that_is_copied(limited: Model) -> None:
    window = limited.network.window
    assert window is not None
    assert limited.copied_weight_bytes == window.nbytes == limited.plan.window_bytes
    session = limited.session()
    session.eval(TOKENS)
    read = window.read_bytes
    session.eval(TOKENS)
    assert limited.plan.streamed_bytes * 0.5 <= window.read_bytes - read


def test_sessions_take_turns(path: Path, limited: Model) -> None:
    with Model.open(path, memory_limit=None) as whole:
        want = whole.session().eval(TOKENS)
    results: list[Any] = []

    def run() -> None:
        session = limited.session()
        for _ in range(3):
            session.reset()
            results.append(session.eval(TOKENS))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 9
    assert all((result == want).all() for result in results)


def test_a_cancelled_pass_leaves_no_trace(path: Path, limited: Model) -> None:
    session = limited.session()
    checkpoint, calls = session._checkpoint, 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            session.cancel()
        checkpoint()

    session._checkpoint = stop  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        session.eval(TOKENS)
    with Model.open(path, memory_limit=None) as whole:
        np.testing.assert_array_equal(session.eval(TOKENS), whole.session().eval(TOKENS))


def test_a_long_prompt_is_one_pass(path: Path, small: None) -> None:
    with Model.open(path, memory_limit=share_of(path, 0.4)) as model:
        window, session = model.network.window, model.session()
        assert window is not None
        session.eval(TOKENS)
        before = window.read_bytes
        session.eval(TOKENS * 20)
        assert window.read_bytes - before <= model.plan.streamed_bytes + model.plan.window_bytes


def test_a_file_cut_short_meanwhile_raises(tmp_path: Path, small: None) -> None:
    path = write_random_model(tmp_path / "m.gguf", Type.Q4_0, n_layer=6)
    with Model.open(path, memory_limit=share_of(path, 0.3)) as model:
        session = model.session()
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(ModelFileError):
            session.eval(TOKENS)


def test_limits_that_cannot_be_kept_are_refused(path: Path, small: None) -> None:
    for limit, message in ((1000, "raise memory_limit"), ("a lot", "no size"), (0, "above zero")):
        with pytest.raises(InvalidArgumentError, match=message):
            Model.open(path, memory_limit=limit)
    with pytest.raises(InvalidArgumentError, match="prefetch must be"):
        Model.open(path, prefetch="sometimes")


def test_profiles_of_a_limited_model(limited: Model) -> None:
    rows = profile(limited, Test(n_gen=4), rounds=1).rows
    assert sum(row.share for row in rows) == pytest.approx(1.0)
    assert {"qkv", "gate_up", "down"} <= {row.name for row in rows}


def test_through_llama_and_the_command_line(path: Path) -> None:
    with Llama(path, memory_limit="8G", prefetch=False) as llama:
        llama.eval(TOKENS)
    command = [sys.executable, "-m", "llamacpp", "generate", "-p", "Once", "-n", "8", "--temp", "0"]
    runs = [
        subprocess.run([*command, *more], capture_output=True, check=True).stdout
        for more in ([], ["--no-mmap"], ["--mlock"], ["--memory-limit", "4G"])
    ]
    assert len(set(runs)) == 1
    refused = subprocess.run(
        [*command, "--memory-limit", "1M"], capture_output=True, check=False, text=True
    )
    assert refused.returncode == 2
    assert "raise memory_limit" in refused.stderr


# ---- read instead of mapped, fetched, locked ----------------------------------------------------


def test_a_file_that_is_read_gives_the_same(path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with Model.open(path, use_mmap=False, progress=lambda *at: seen.append(at)) as read:
        assert seen[-1] == (path.stat().st_size, path.stat().st_size)
        with Model.open(path) as mapped:
            np.testing.assert_array_equal(
                read.session().eval(TOKENS), mapped.session().eval(TOKENS)
            )


def test_progress_can_end_the_opening(path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Model.open(path, use_mmap=False, progress=stop)


@pytest.mark.parametrize("options", [{"prefetch": True}, {"prefetch": False}, {"mlock": True}])
@pytest.mark.parametrize("experts", [None, (4, 2)])
def test_how_weights_come_changes_no_result(
    tmp_path: Path, options: dict[str, Any], experts: tuple[int, int] | None
) -> None:
    path = write_random_model(tmp_path / "m.gguf", Type.Q4_0, experts=experts)
    with Model.open(path) as plain, Model.open(path, **options) as other:
        np.testing.assert_array_equal(plain.session().eval(TOKENS), other.session().eval(TOKENS))


def test_pickles_carry_the_path_and_the_options(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    with (
        Model.open(path.name, n_threads=1, memory_limit="3G") as model,
        Llama(path.name, n_ctx=64, seed=3, type_k="f32", type_v="f32", n_gpu_layers=-1) as llama,
    ):
        pickled = pickle.dumps((model, llama))
        assert len(pickled) < 2000
        want = model.session().eval(TOKENS)
    monkeypatch.chdir(tmp_path)
    other, again = pickle.loads(pickled)
    with other, again:
        assert other.n_threads == 1
        np.testing.assert_array_equal(other.session().eval(TOKENS), want)
        assert again.n_ctx() == 64
