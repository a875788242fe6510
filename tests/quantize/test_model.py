"""Whole files: what is written, that it runs, and that nothing is left of what fails."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from random_models import write_random_model

from llamacpp import Model
from llamacpp.errors import FormatError, InvalidArgumentError, ModelFileError
from llamacpp.format import GGMLType, ModelFile
from llamacpp.quantize import MIXES, Importance, plan_model, quantize_model
from llamacpp.quantize.mixes import FILE_TYPE_NUMBERS
from tests.reference import ReferenceModel, nmse
from tests.small_models import talker_vocabulary

TOKENS = np.random.default_rng(5).integers(0, 250, 30).tolist()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(
        tmp_path_factory.mktemp("m") / "m.gguf", Type.F16, n_layer=3,
        vocabulary=talker_vocabulary(None),
    )  # fmt: skip


@pytest.mark.parametrize("mix", MIXES)
def test_every_mix_makes_a_file_that_runs(mix: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.gguf"
    plan = quantize_model(source, target, mix, n_threads=2)
    with ModelFile(source) as before, ModelFile(target) as after:
        assert list(after.tensors) == list(before.tensors)
        assert {n: t.type for n, t in after.tensors.items()} == {
            p.tensor.name: p.type for p in plan.tensors
        }
        assert sum(t.nbytes for t in after.tensors.values()) == plan.nbytes
        assert after.metadata.integer("general.file_type") == FILE_TYPE_NUMBERS[mix]
        assert after.metadata.integer("general.quantization_version") == 2
        for key in before.metadata:
            if key not in ("general.file_type", "general.quantization_version"):
                values = [file.metadata[key] for file in (before, after)]
                if not isinstance(values[0], (int, float, str)):
                    values = [list(value) for value in values]
                assert values[0] == values[1]
                assert after.metadata.type_of(key) == before.metadata.type_of(key)
        norms = [n for n in after.tensors if "norm" in n]
        assert norms
        assert all(after.tensors[n].type == GGMLType.F32 for n in norms)
    with Model.open(target) as model:
        got = model.session(cache_type="f32").eval(TOKENS, "all")
    assert nmse(got, ReferenceModel(target).logits(TOKENS)) <= 3e-4  # gguf-py reads it as we do
    limit = {"F": 1e-4, "B": 1e-4, "8": 1e-3, "6": 3e-3, "5": 0.01, "4": 0.04, "3": 0.15, "2": 0.6}
    limit |= {"X": 0.04, "T": 1.0, "1": 1.0}
    bits = mix.removeprefix("I").removeprefix("M").removeprefix("Q")[0]
    assert nmse(got, ReferenceModel(source).logits(TOKENS)) <= limit[bits]


def test_the_output_matrix_can_be_kept(source: Path, tmp_path: Path) -> None:
    quantize_model(source, tmp_path / "new.gguf", "Q4_0", output_type=GGMLType.Q8_0)
    with ModelFile(tmp_path / "new.gguf") as file:
        assert file.tensors["output.weight"].type == GGMLType.Q8_0
        assert file.tensors["blk.0.attn_q.weight"].type == GGMLType.Q4_0


@pytest.mark.parametrize("n_expert", [5, 8])
def test_experts_are_quantised_and_routers_kept(n_expert: int, tmp_path: Path) -> None:
    source = write_random_model(tmp_path / "m.gguf", Type.F16, n_layer=8, experts=(n_expert, 2))
    target = tmp_path / "new.gguf"
    with ModelFile(source) as file:
        planned = plan_model(file, "Q4_K_M")
    quantize_model(source, target, "Q4_K_M", n_threads=2)
    with ModelFile(target) as file:
        types = {n: t.type.name for n, t in file.tensors.items()}
        assert sum(t.nbytes for t in file.tensors.values()) == planned.nbytes
        assert [t.nbytes for t in file.tensors.values()] == [p.nbytes for p in planned.tensors]
        assert file.tensors["blk.1.ffn_up_exps.weight"].shape == (256, 512, n_expert)
    small = ("Q8_0", "Q8_0", "Q5_K") if n_expert == 8 else ("Q6_K", "Q4_K", "Q4_K")
    for layer, down in ((0, "Q6_K"), (1, "Q4_K"), (3, "Q6_K"), (7, "Q6_K")):
        found = {n.removeprefix(f"blk.{layer}."): t for n, t in types.items()}
        assert found["ffn_gate_inp.weight"] == "F32"
        assert found["ffn_gate_exps.weight"] == found["ffn_up_exps.weight"] == "Q4_K"
        assert found["ffn_down_exps.weight"] == down
        if n_expert == 8 or layer != 1:
            assert found["attn_v.weight"] == small[0]
        assert (found["attn_k.weight"], found["attn_output.weight"]) == small[1:]
    exact, ours = (_values(path, "blk.2.ffn_up_exps.weight") for path in (source, target))
    errors = ((ours - exact) ** 2).mean(axis=(1, 2)) / (exact**2).mean(axis=(1, 2))
    assert len(errors) == n_expert
    assert (errors < 0.01).all()


def _values(path: Path, name: str) -> np.ndarray:
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == name)
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


def test_threads_do_not_change_the_file(source: Path, tmp_path: Path) -> None:
    for n in (1, 3):
        quantize_model(source, tmp_path / f"{n}.gguf", "Q4_K_M", n_threads=n)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


def test_importance_is_used_and_told_of(source: Path, tmp_path: Path) -> None:
    with ModelFile(source) as file:
        shapes = {n: t.shape for n, t in file.tensors.items() if n.startswith("blk")}
    rng = np.random.default_rng(3)
    sums = {n: rng.gamma(0.5, size=(1, s[0])).astype(np.float32) for n, s in shapes.items()
            if len(s) == 2}  # fmt: skip
    importance = Importance(sums, dict.fromkeys(sums, np.ones(1, np.float32)), ["tales"], 4, 128)
    plan = quantize_model(source, tmp_path / "w.gguf", "Q3_K_S", importance=importance)
    quantize_model(source, tmp_path / "n.gguf", "Q3_K_S")
    assert {p.tensor.name for p in plan.tensors if p.is_weighted} == set(sums)
    weighted, plain = (ReferenceModel(tmp_path / n).w for n in ("w.gguf", "n.gguf"))
    exact = ReferenceModel(source).w
    for name, sum_ in sums.items():
        errors = [((w[name] - exact[name]) ** 2 * sum_).sum() for w in (weighted, plain)]
        assert errors[0] < errors[1], name
    fields = gguf.GGUFReader(tmp_path / "w.gguf").fields
    assert fields["quantize.imatrix.dataset"].contents() == "tales"
    assert fields["quantize.imatrix.entries_count"].contents() == len(sums)
    assert fields["quantize.imatrix.chunks_count"].contents() == 4
    wrong = Importance({"blk.0.attn_q.weight": np.ones((1, 7), np.float32)},
                       {"blk.0.attn_q.weight": np.ones(1, np.float32)})  # fmt: skip
    with pytest.raises(InvalidArgumentError, match="made with another model"):
        quantize_model(source, tmp_path / "x.gguf", "Q4_0", importance=wrong)
    assert not (tmp_path / "x.gguf").exists()


def test_quantised_models_are_refused_unless_allowed(source: Path, tmp_path: Path) -> None:
    quantize_model(source, tmp_path / "q8.gguf", "Q8_0")
    with pytest.raises(InvalidArgumentError, match=r"is Q8_0 already.*add error to error"):
        quantize_model(tmp_path / "q8.gguf", tmp_path / "q4.gguf", "Q4_0")
    quantize_model(tmp_path / "q8.gguf", tmp_path / "q4.gguf", "Q4_0", allow_requantize=True)
    quantize_model(source, tmp_path / "straight.gguf", "Q4_0")
    twice, once, exact = (
        ReferenceModel(path).w["blk.1.ffn_up.weight"]
        for path in (tmp_path / "q4.gguf", tmp_path / "straight.gguf", source)
    )
    assert nmse(once, exact) < nmse(twice, exact) < 1.05 * nmse(once, exact)
    quantize_model(tmp_path / "q8.gguf", tmp_path / "same.gguf", "Q8_0")  # nothing to encode anew
    a, b = (ReferenceModel(tmp_path / n).w for n in ("q8.gguf", "same.gguf"))
    assert all((a[name] == b[name]).all() for name in a)


def test_a_failure_or_an_interruption_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    target = tmp_path / "new.gguf"
    with pytest.raises(KeyboardInterrupt):
        quantize_model(source, target, "Q4_0", progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"precious")
    with pytest.raises(ModelFileError, match="exists already"):
        quantize_model(source, target, "Q4_0")
    with pytest.raises(KeyboardInterrupt):
        quantize_model(source, target, "Q4_0", overwrite=True, progress=interrupt)
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]


def test_the_source_is_never_the_target(source: Path, tmp_path: Path) -> None:
    copy, link = tmp_path / "m.gguf", tmp_path / "link.gguf"
    copy.write_bytes(source.read_bytes())
    link.symlink_to(copy)
    for target in (copy, link):
        with pytest.raises(InvalidArgumentError, match="the model itself"):
            quantize_model(copy, target, "Q4_0", overwrite=True)
    assert copy.read_bytes() == source.read_bytes()


def test_a_weight_that_is_nan_is_named(source: Path, tmp_path: Path) -> None:
    data = bytearray(source.read_bytes())
    with ModelFile(source) as file:
        info = file.tensors["blk.2.ffn_gate.weight"]
    data[info.offset + 2 : info.offset + 4] = b"\x00\x7e"
    (tmp_path / "bad.gguf").write_bytes(data)
    with pytest.raises(FormatError, match=r"'blk.2.ffn_gate.weight'.*element 1 of row 0 is nan"):
        quantize_model(tmp_path / "bad.gguf", tmp_path / "new.gguf", "Q4_K_M")
    assert not (tmp_path / "new.gguf").exists()


def test_a_plan_says_what_will_be(source: Path, tmp_path: Path) -> None:
    with ModelFile(source) as file:
        plan = plan_model(file, "Q4_K_M")
        types = {p.tensor.name: p.type.name for p in plan.tensors}
        with pytest.raises(InvalidArgumentError, match="there is no type 'Q9'"):
            plan_model(file, "Q9")
    assert types["output.weight"] == "Q6_K"
    assert types["token_embd.weight"] == "Q4_K"
    assert types["blk.2.ffn_down.weight"] == "Q6_K"
    assert 4.5 < plan.bits_per_weight < 6.6
    quantize_model(source, tmp_path / "new.gguf", "Q4_K_M")
    with ModelFile(tmp_path / "new.gguf") as file:
        assert {n: t.type.name for n, t in file.tensors.items()} == types


def test_stories260k_whose_rows_fit_no_super_block(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "stories260K-f32.gguf"
    quantize_model(source, tmp_path / "new.gguf", "Q4_K_M")
    with ModelFile(tmp_path / "new.gguf") as file:
        types = {n: t.type.name for n, t in file.tensors.items()}
    assert types["blk.0.attn_q.weight"] == "Q5_0"
    assert types["blk.0.ffn_down.weight"] == "F16"  # rows of 172
    assert types["token_embd.weight"] == "Q8_0"  # the output matrix, too
    tokens = [1, *TOKENS]
    with Model.open(tmp_path / "new.gguf") as model:
        got = model.session().eval(tokens, "all")
    assert nmse(got, ReferenceModel(source).logits(tokens)) < 0.01
