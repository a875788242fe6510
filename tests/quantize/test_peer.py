"""Beside llama.cpp, where LLAMACPP_PEER_PYTHON names an interpreter with llama-cpp-python.

The errors of our encoders are no larger than those of its own on the same values, and a mix has the
same types tensor by tensor.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
from encoding import BLOCK_TYPES, encoded, rmse, values_of
from random_models import write_random_model

from llamacpp import bundled_model
from llamacpp.format import GGMLType, ModelFile
from llamacpp.quantize import MIXES, Importance, plan_model
from llamacpp.quantize.mixes import FILE_TYPE_NUMBERS

PEER_PYTHON = os.environ.get("LLAMACPP_PEER_PYTHON", "")
pytestmark = pytest.mark.skipif(
    not PEER_PYTHON, reason="LLAMACPP_PEER_PYTHON names no interpreter with llama-cpp-python"
)
SCRIPT = Path(__file__).with_name("peer_quantize.py")
MARGIN = 1.001


def peer(*arguments: object) -> None:
    done = subprocess.run(
        [PEER_PYTHON, str(SCRIPT), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def inputs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values (rows, columns), and the weights of their columns, by name."""
    rng = np.random.default_rng(11)
    data = {
        "gaussian": rng.standard_normal((96, 1024)),
        "laplacian": rng.laplace(size=(96, 1024)),
        "bundled": values_of(Path(bundled_model()), "ffn_down.weight")[:400],
        "bundled attn": values_of(Path(bundled_model()), "attn_q.weight")[:400],
    }
    stories = Path(os.environ.get("LLAMACPP_TEST_DATA", "")) / "stories260K-f32.gguf"
    if stories.is_file():  # rows of 64
        data["stories260K"] = values_of(stories, "ffn_up.weight")
    return {
        name: (x.astype(np.float32), (rng.gamma(0.5, size=x.shape[1]) + 1e-3).astype(np.float32))
        for name, x in data.items()
    }


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, tuple[float, float]]]:
    """Ours and the peer's errors, by type and by the name of the input."""
    folder, given = tmp_path_factory.mktemp("peer"), inputs()
    arrays, jobs = {}, []
    for number, (x, w) in enumerate(given.values()):
        arrays[f"{number}.x"], arrays[f"{number}.w"] = x, w
        jobs += [f"{number}.{int(t)}{tail}" for t in BLOCK_TYPES for tail in ("", ".weighted")
                 if x.shape[1] % t.block.length == 0]  # fmt: skip
    np.savez(folder / "in.npz", jobs=jobs, **arrays)
    peer("rows", folder / "in.npz", folder / "out.npz")
    errors: dict[str, dict[str, tuple[float, float]]] = {}
    with np.load(folder / "out.npz") as made:
        for number, (name, (x, w)) in enumerate(given.items()):
            for kind in BLOCK_TYPES:
                for weights, tail in ((None, ""), (w, ".weighted")):
                    job = f"{number}.{int(kind)}{tail}"
                    if job in made:
                        own = rmse(x, encoded(x, kind, weights), kind, weights)
                        theirs = rmse(x, made[job], kind, weights)
                        of_type = errors.setdefault(kind.name, {})
                        of_type[name + tail.replace(".", " ")] = own, theirs
    return errors


@pytest.mark.parametrize("kind", BLOCK_TYPES, ids=lambda t: t.name)
def test_errors_are_no_larger_than_llama_cpps(kind: GGMLType, compared: dict) -> None:
    errors = compared[kind.name]
    worse = {name: pair for name, pair in errors.items() if pair[0] > MARGIN * pair[1]}
    assert not worse


SHAPES = {
    "wide": {"n_layer": 9, "n_head": 8, "n_kv_head": 2, "head_dim": 32},
    "tied": {"n_layer": 3, "tied": True},
    "experts": {"n_layer": 9, "experts": (8, 2), "n_head": 8, "n_kv_head": 2, "head_dim": 32},
    "more experts": {"n_layer": 9, "experts": (16, 2), "n_head": 8, "head_dim": 32},
    "odd": {"n_layer": 2, "n_embd": 96, "n_ff": 288, "n_head": 3, "n_kv_head": 3, "head_dim": 32},
}


@pytest.fixture(scope="module", params=SHAPES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    from tests.small_models import talker_vocabulary

    return write_random_model(
        folder / "m.gguf", gguf.GGMLQuantizationType.F32, vocabulary=talker_vocabulary(None),
        **SHAPES[request.param],
    )  # fmt: skip


@pytest.mark.parametrize("mix", MIXES)
def test_a_mix_has_the_types_that_llama_cpp_gives_it(mix: str, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "peer.gguf"
    sizes, importance = {}, None
    if mix.startswith(("IQ1", "IQ2", "IQ3")):  # most of which it does not make without
        with ModelFile(model) as file:
            sizes = {name: info.shape[0] * (*info.shape, 1, 1)[2]
                     for name, info in file.tensors.items() if len(info.shape) > 1}  # fmt: skip
            shapes = {n: (size // file.tensors[n].shape[0], -1) for n, size in sizes.items()}
        ones = {name: np.ones(size, np.float32).reshape(shapes[name])
                for name, size in sizes.items()}  # fmt: skip
        counts = {name: np.ones(shapes[name][0], np.float32) for name in sizes}
        importance = Importance(ones, counts, ["ones"], 1, 1)
    peer("model", model, target, FILE_TYPE_NUMBERS[mix], json.dumps(sizes))
    with ModelFile(target) as file:
        theirs = {name: info.type.name for name, info in file.tensors.items()}
        assert file.metadata.integer("general.file_type") == FILE_TYPE_NUMBERS[mix]
    with ModelFile(model) as file:
        ours = {
            p.tensor.name: p.type.name for p in plan_model(file, mix, importance=importance).tensors
        }
    assert ours == theirs
