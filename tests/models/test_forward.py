"""The forward pass against an independent one in float64, for every weight type and level."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp.engine import Model
from tests.evaluation import ways
from tests.random_models import WEIGHT_TYPES, write_random_model
from tests.reference import ReferenceModel, nmse

# Largest error allowed. Float weights: rounding alone; F16 keys and values cost up to 8e-8;
# quantised weights meet activations of 8 bits.
LIMITS = {Type.F32: 2e-7, Type.F16: 1e-6, Type.BF16: 1e-5, Type.Q8_0: 1.5e-4}
OTHERS = 3e-4
F32_CACHE = 1e-10  # F32 weights and F32 cache

LENGTH = 45
TOKENS = np.random.default_rng(7).integers(0, 300, LENGTH).tolist()
_table: list[tuple[str, str, str, float, float]] = []


@pytest.fixture(scope="module", autouse=True)
def report(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print the table of errors when the module is done."""
    yield
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _table:
        reporter.write_line(
            "\n\nNMSE of logits against float64 (largest over the ways to evaluate)"
        )
        reporter.write_line(f"{'weights':8} {'cache':6} {'level':9} {'nmse':>9} {'limit':>9}")
        for weights, cache, level, error, limit in _table:
            reporter.write_line(f"{weights:8} {cache:6} {level:9} {error:9.1e} {limit:9.1e}")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Type, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {t: write_random_model(folder / f"{t.name}.gguf", t) for t in WEIGHT_TYPES}


@pytest.fixture(scope="module")
def references(models: dict[Type, Path]) -> dict[Type, ReferenceModel]:
    return {t: ReferenceModel(path) for t, path in models.items()}


def worst(model: Model, reference: ReferenceModel, cache: str, tokens: list[int]) -> float:
    want = reference.logits(tokens)
    return max(nmse(got, want) for _, got in ways(model, cache, tokens))


@pytest.mark.parametrize("kind", WEIGHT_TYPES, ids=lambda t: t.name)
def test_logits_of_random_models_match_float64(
    kind: Type,
    level: str,
    models: dict[Type, Path],
    references: dict[Type, ReferenceModel],
) -> None:
    limit = LIMITS.get(kind, OTHERS)
    with Model.open(models[kind], n_threads=2) as model:
        error = worst(model, references[kind], "f16", TOKENS)
    _table.append((kind.name, "f16", level, error, limit))
    assert error <= limit


def test_f32_weights_and_cache_are_exact_to_rounding(
    level: str, models: dict[Type, Path], references: dict[Type, ReferenceModel]
) -> None:
    with Model.open(models[Type.F32], n_threads=2) as model:
        error = worst(model, references[Type.F32], "f32", TOKENS)
    _table.append(("F32", "f32", level, error, F32_CACHE))
    assert error <= F32_CACHE


def test_stories260k_logits_match_float64(level: str, data_dir: Path) -> None:
    path = data_dir / "stories260K-f32.gguf"
    reference, tokens = ReferenceModel(path), [1, *TOKENS]
    for cache, limit in (("f32", F32_CACHE), ("f16", LIMITS[Type.F32])):
        with Model.open(path, n_threads=2) as model:
            error = worst(model, reference, cache, tokens)
        _table.append(("260K F32", cache, level, error, limit))
        assert error <= limit


@pytest.mark.parametrize(
    "options",
    [
        {"tied": True},
        {"biases": True},
        {"rope_freqs": True},
        {"metadata": {"llama.rope.freq_base": 500000.0}},
        {"metadata": {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}},
        {"n_head": 8, "n_kv_head": 1, "head_dim": 16},
        {"n_head": 3, "n_kv_head": 3, "head_dim": 96},
        {"n_embd": 60, "n_ff": 172, "n_head": 6, "n_kv_head": 2, "head_dim": 10, "n_vocab": 77},
    ],
    ids=["tied", "biases", "llama3-rope", "rope-base", "linear-rope", "mqa", "heads", "odd"],
)
def test_variants_of_the_architecture_match_float64(options: dict, tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "model.gguf", Type.F32, **options)
    tokens = [t % 77 for t in TOKENS]
    with Model.open(path) as model:
        assert worst(model, ReferenceModel(path), "f32", tokens) <= F32_CACHE


@pytest.mark.parametrize("kind", [Type.F16, Type.BF16], ids=lambda t: t.name)
def test_rows_that_are_no_multiple_of_a_block_just_work(
    kind: Type, level: str, tmp_path: Path
) -> None:
    odd = {"n_embd": 60, "n_ff": 172, "n_head": 6, "n_kv_head": 2, "head_dim": 10}
    path = write_random_model(tmp_path / "model.gguf", kind, **odd)
    with Model.open(path) as model:
        assert worst(model, ReferenceModel(path), "f32", TOKENS) <= F32_CACHE


def test_no_weight_is_copied_for_any_type(models: dict[Type, Path]) -> None:
    for path in models.values():
        with Model.open(path) as model:
            model.session().eval(TOKENS)
            assert model.copied_weight_bytes == 0
            assert sum(t.nbytes for t in model.weights.values()) > 0


def test_a_long_context_split_over_threads_gives_the_same_bits(tmp_path: Path) -> None:
    path = write_random_model(
        tmp_path / "long.gguf", Type.F16, n_ctx=2600, n_head=2, n_kv_head=1, n_layer=1
    )
    tokens = np.random.default_rng(3).integers(0, 300, 2500).tolist()
    with Model.open(path) as model:
        rows = []
        for n_threads in (1, 2, 5):
            session = model.session(n_threads=n_threads)
            session.eval(tokens[:-1], None)
            rows.append(session.eval(tokens[-1:]))
        rows.append(model.session(n_batch=100).eval(tokens))
    assert all((row == rows[0]).all() for row in rows)
