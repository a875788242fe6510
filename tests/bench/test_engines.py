"""The adapters on a real model: ours always, the peer where LLAMACPP_PEER_PYTHON names one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.engines.client import Engine, EngineError, EngineSpec
from bench.make_model import make_model
from llamacpp import Model, bundled_model
from llamacpp._native import available_levels
from llamacpp.format import ModelFile

ENGINES = Path(__file__).resolve().parent.parent.parent / "bench" / "engines"
OURS = EngineSpec.adapter("ours", sys.executable, f"{ENGINES}/ours.py:Ours")
PEER_PYTHON = os.environ.get("LLAMACPP_PEER_PYTHON", "")
PEER_FILE = ENGINES / "llama_cpp_python.py"
PEERS = {
    name: EngineSpec.adapter(name, PEER_PYTHON, f"{PEER_FILE}:{adapter}")
    for name, adapter in (("peer", "LlamaCppPython"), ("peer-norepack", "NoRepack"))
}
needs_peer = pytest.mark.skipif(
    not PEER_PYTHON, reason="LLAMACPP_PEER_PYTHON names no interpreter with llama-cpp-python"
)
MODEL = bundled_model()


@pytest.fixture(
    params=["ours", *(pytest.param(name, marks=needs_peer) for name in PEERS)], scope="module"
)
def engine(request) -> Iterator[Engine]:
    with Engine({"ours": OURS, **PEERS}[request.param], 120.0) as engine:
        yield engine


def open_model(engine: Engine, **options: object) -> None:
    engine.ask("open", **{"path": MODEL, "n_threads": 1, "n_ctx": 200, **options})


def test_it_says_what_it_is(engine: Engine) -> None:
    about = engine.ask("about")
    assert set(about) == {"name", "version", "build", "python"}
    assert all(isinstance(value, str) and value for value in about.values())


def test_it_runs_every_kind_of_test(engine: Engine) -> None:
    open_model(engine, n_seq=4)
    tests: list[dict[str, int]] = [
        {"n_prompt": 100},
        {"n_gen": 3},
        {"n_prompt": 8, "n_depth": 150},
        {"n_gen": 3, "n_depth": 150},
        {"n_gen": 3, "n_seq": 4},
        {"n_gen": 3, "n_seq": 4, "n_depth": 20},
        {"n_gen": 3},
        {"n_prompt": 8, "n_depth": 30},
    ]
    for test in tests:
        for seed in range(3):
            assert engine.ask("run", **test, seed=seed)["seconds"] > 0


def test_it_fills_a_context_to_the_last_position(engine: Engine) -> None:
    open_model(engine, n_ctx=256)  # the peer rounds up to this
    for _ in range(2):
        assert engine.ask("run", n_gen=56, n_depth=200)["seconds"] > 0
    with pytest.raises(EngineError) as caught:
        engine.ask("run", n_gen=57, n_depth=200)
    assert caught.value.kind == "refused"
    assert engine.ask("run", n_gen=56, n_depth=200)["seconds"] > 0  # it goes on


def test_long_prompts_go_in_pieces(engine: Engine) -> None:
    open_model(engine, n_ctx=1300)
    assert engine.ask("run", n_prompt=1200, n_depth=100)["seconds"] > 0


def test_the_cache_may_be_of_floats(engine: Engine) -> None:
    open_model(engine, cache_type="f32")
    assert engine.ask("run", n_gen=3)["seconds"] > 0


def test_it_tells_its_memory(engine: Engine) -> None:
    open_model(engine)
    held = engine.ask("memory")
    assert set(held) == {"anonymous", "mapped", "pss"}
    assert all(value > 1_000_000 for value in held.values())


def test_it_refuses_what_is_no_model(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF, but not really")
    with pytest.raises(EngineError) as caught:
        open_model(engine, path=str(path))
    assert caught.value.kind == "refused"
    open_model(engine)
    assert engine.ask("run", n_gen=1)["seconds"] > 0


def test_a_prompt_is_evaluated_as_a_session_does() -> None:
    """What is timed are the tokens that were asked for, at their positions."""
    from bench.engines.ours import Ours

    worker = Ours()
    worker.load(MODEL, 1)
    worker.start(64, 2, "f16")
    with Model.open(MODEL) as model:
        expected = model.session(64).eval([5, 6, 7, 8])
    worker.prompt([5, 6], 0, 0)
    worker.prompt([5, 6, 7], 0, 1)
    worker.rewind(2, 2)
    worker.step([7, 7], 2)
    worker.rewind(3, 2)
    logits = worker.session.forward([8, 8], [3, 3], [0, 1], [0, 1])
    assert abs(logits - expected).max() < 1e-3


def test_a_level_can_be_forced() -> None:
    level = available_levels()[0]
    spec = EngineSpec(OURS.name, OURS.command, {"LLAMACPP_ISA": level})
    with Engine(spec, 120.0) as engine:
        assert engine.ask("about")["build"].startswith(f"level {level} of ")


def test_a_level_that_is_not_there_is_told() -> None:
    spec = EngineSpec(OURS.name, OURS.command, {"LLAMACPP_ISA": "abacus"})
    with Engine(spec, 120.0) as engine, pytest.raises(EngineError, match="abacus") as caught:
        engine.ask("about")
    assert caught.value.kind == "refused"


def test_a_peer_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('there is no llama_cpp here')\n")
    spec = EngineSpec.adapter("peer", sys.executable, f"{PEER_FILE}:LlamaCppPython")
    spec = EngineSpec(spec.name, spec.command, {"PYTHONPATH": str(tmp_path)})
    with Engine(spec, 120.0) as engine, pytest.raises(EngineError) as caught:
        engine.ask("about")
    assert caught.value.kind == "missing"
    assert "there is no llama_cpp here" in caught.value.reason
    assert "-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python" in caught.value.reason


@needs_peer
def test_the_peer_keeps_its_weights_mapped_if_told_to(tmp_path: Path) -> None:
    path = tmp_path / "q4_0.gguf"
    make_model(path, "SmolLM2-135M", "Q4_0", n_layer=8)
    with ModelFile(path) as file:
        repackable = sum(t.nbytes for t in file.tensors.values() if t.type.name == "Q4_0")
    assert repackable > 10_000_000
    held = {}
    for name, spec in PEERS.items():
        with Engine(spec, 120.0) as engine:
            assert ("told not to repack" in engine.ask("about")["build"]) == ("norepack" in name)
            open_model(engine, path=str(path))
            held[name] = engine.ask("memory")["anonymous"]
    assert held["peer"] - held["peer-norepack"] > 0.8 * repackable
