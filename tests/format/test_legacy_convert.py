"""Old files made into GGUF files: values, parts, memory; all or nothing."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from legacy_models import Codes, OldModel, OldTensor, pack, random_codes
from random_models import write_random_model

from llamacpp.errors import FormatError, InvalidArgumentError, ModelFileError
from llamacpp.format import ModelFile
from llamacpp.format.legacy import convert
from llamacpp.format.legacy.convert import convert_legacy

SHAPE = {"n_embd": 64, "n_ff": 128, "n_layer": 1, "n_head": 2, "n_kv_head": 2, "head_dim": 32,
         "n_vocab": 270}  # fmt: skip
FORMATS = [("ggml", 0, 1), ("ggmf", 1, 1), ("ggjt", 1, 1), ("ggjt", 2, 2), ("ggjt", 3, 3)]
BLOCKS = [
    *[(name, layout) for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0") for layout in (1, 2, 3)],
    ("Q4_2", 1),
    ("Q4_3", 1),
]
NAME = "blk.0.ffn_up.weight"  # the tensor whose blocks a test replaces: 128 rows of 64


@pytest.fixture(scope="module")
def f32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("m") / "m.gguf", Type.F32, **SHAPE)


def tensors_of(path: Path) -> dict[str, tuple[Type, bytes]]:
    return {
        t.name: (t.tensor_type, np.array(t.data).tobytes()) for t in gguf.GGUFReader(path).tensors
    }


def with_blocks(model: OldModel, name: str, codes: Codes, layout: int) -> OldModel:
    """The model with a tensor of these blocks."""
    index = next(i for i, t in enumerate(model.tensors) if t.name.endswith("w3.weight"))
    rows = pack(name, codes, layout).reshape(SHAPE["n_ff"], -1)
    model.tensors[index] = OldTensor(model.tensors[index].name, name, (64, 128), rows)
    return model


def converted(model: OldModel, layout: int, tmp_path: Path) -> tuple[str, np.ndarray]:
    """Type and values that the tensor `NAME` has after conversion, as `gguf` reads them."""
    old = model.write(tmp_path / "old.bin", "ggjt", layout)
    convert_legacy(old, tmp_path / "new.gguf")
    tensor = next(t for t in gguf.GGUFReader(tmp_path / "new.gguf").tensors if t.name == NAME)
    return tensor.tensor_type.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type)


@pytest.mark.parametrize(("name", "layout"), BLOCKS)
def test_values_stay_what_the_old_blocks_stand_for(
    f32: Path, tmp_path: Path, name: str, layout: int
) -> None:
    n_blocks = 64 * 128 // (16 if name in ("Q4_2", "Q4_3") else 32)
    codes = random_codes(np.random.default_rng(5), name, n_blocks, half=True)
    kind, values = converted(
        with_blocks(OldModel.of(f32, layout), name, codes, layout), layout, tmp_path
    )
    wanted = codes.values(name).reshape(128, 64)
    if name in ("Q4_2", "Q4_3"):
        assert kind == "F16"
        assert (values == wanted.astype(np.float16)).all()
    else:
        assert kind == name
        assert (values == wanted.astype(np.float32)).all()


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q8_0"])
def test_scales_that_were_float32_are_rounded_to_float16(
    f32: Path, tmp_path: Path, name: str
) -> None:
    codes = random_codes(np.random.default_rng(6), name, 256, half=False)
    codes.d[:4] = 0.0, 2.0**-14, 2.0**-20, 65504.0
    _, values = converted(with_blocks(OldModel.of(f32, 2), name, codes, 2), 2, tmp_path)
    d, m = (array.astype(np.float16).astype(np.float32) for array in (codes.d, codes.m))
    wanted = Codes(codes.q, d, m).values(name).reshape(128, 64)
    assert (values == wanted.astype(np.float32)).all()
    assert (abs(d - codes.d) <= np.maximum(2.0**-11 * abs(codes.d), 2.0**-25)).all()


@pytest.mark.parametrize("scale", [65536.0, -1e30, np.inf, np.nan])
@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q8_0"])
def test_scales_that_no_weights_have_are_refused(
    f32: Path, tmp_path: Path, name: str, scale: float
) -> None:
    codes = random_codes(np.random.default_rng(7), name, 256, half=True)
    codes.d[200] = scale
    with pytest.raises(FormatError, match=f"{NAME}.*a {name} block has a scale that no weights"):
        converted(with_blocks(OldModel.of(f32, 1), name, codes, 1), 1, tmp_path)
    assert not (tmp_path / "new.gguf").exists()


@pytest.mark.parametrize(("family", "version", "layout"), FORMATS)
@pytest.mark.parametrize("kind", [Type.F32, Type.F16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1,
                                  Type.Q8_0], ids=lambda t: t.name)  # fmt: skip
def test_every_tensor_of_every_format_comes_out(
    tmp_path: Path, kind: Type, family: str, version: int, layout: int
) -> None:
    source = write_random_model(tmp_path / "m.gguf", kind, **SHAPE)
    old = OldModel.of(source, layout).write(tmp_path / "old.bin", family, version)
    convert_legacy(old, tmp_path / "new.gguf")
    assert tensors_of(tmp_path / "new.gguf") == tensors_of(source)


@pytest.mark.parametrize("kind", [Type.Q2_K, Type.Q6_K], ids=lambda t: t.name)
def test_super_blocks_come_out(tmp_path: Path, kind: Type) -> None:
    source = write_random_model(tmp_path / "m.gguf", kind, n_layer=1, n_kv_head=4)
    old = OldModel.of(source, 3).write(tmp_path / "old.bin", "ggjt", 3)
    convert_legacy(old, tmp_path / "new.gguf")
    assert tensors_of(tmp_path / "new.gguf") == tensors_of(source)


@pytest.mark.parametrize("piece", [1, 700, 1 << 20])
@pytest.mark.parametrize("n_parts", [2, 4])
def test_parts_are_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_parts: int, piece: int
) -> None:
    """Whatever the size of the pieces in which they are read."""
    monkeypatch.setattr(convert, "PIECE_NBYTES", piece)
    shape = {**SHAPE, "n_embd": 128, "n_head": 4, "n_kv_head": 4, "n_vocab": 272}
    source = write_random_model(tmp_path / "m.gguf", Type.Q4_1, **shape)
    old = OldModel.of(source, 1).write(tmp_path / "old.bin", "ggmf", 1, n_parts)
    convert_legacy(old, tmp_path / "new.gguf")
    assert tensors_of(tmp_path / "new.gguf") == tensors_of(source)


def test_the_metadata_is_what_the_old_file_shows(f32: Path, tmp_path: Path) -> None:
    old = OldModel.of(f32, 1).write(tmp_path / "old.bin", "ggmf", 1)
    convert_legacy(old, tmp_path / "new.gguf", n_ctx=4096, norm_eps=1e-5)
    with ModelFile(old) as before, ModelFile(tmp_path / "new.gguf") as after:
        assert after.format == "GGUF v3"
        told = {"llama.context_length", "llama.attention.layer_norm_rms_epsilon"}
        assert list(after.metadata) == list(before.metadata)
        for key, value in before.metadata.items():
            found = after.metadata[key]
            if key not in told:
                same = value if isinstance(value, (int, str)) else list(value)  # type: ignore[arg-type]
                assert (found if isinstance(found, (int, str)) else list(found)) == same, key  # type: ignore[arg-type]
        assert after.metadata["llama.context_length"] == 4096
        eps = after.metadata["llama.attention.layer_norm_rms_epsilon"]
        assert eps == np.float32(1e-5)


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "PIECE_NBYTES", 1 << 16)
    shape = {**SHAPE, "n_embd": 256, "n_ff": 8192, "n_head": 8, "n_kv_head": 8}
    source = write_random_model(tmp_path / "m.gguf", Type.Q4_0, **shape)
    old = OldModel.of(source, 1).write(tmp_path / "old.bin", "ggml", 0)
    assert old.stat().st_size > 4_000_000
    tracemalloc.start()
    try:
        convert_legacy(old, tmp_path / "new.gguf")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_progress_counts_the_bytes(f32: Path, tmp_path: Path) -> None:
    old = OldModel.of(f32, 1).write(tmp_path / "old.bin", "ggmf", 1, n_parts=2)
    seen: list[tuple[int, int]] = []
    convert_legacy(old, tmp_path / "new.gguf", progress=lambda *numbers: seen.append(numbers))
    done, totals = zip(*seen, strict=True)
    with ModelFile(f32) as file:
        assert set(totals) == {sum(info.nbytes for info in file.tensors.values())}
    assert done == tuple(sorted(done))
    assert done[-1] == totals[0]


# ---- All or nothing ------------------------------------------------------------------------------


def test_an_existing_file_is_left_alone_unless_asked(f32: Path, tmp_path: Path) -> None:
    old = OldModel.of(f32, 1).write(tmp_path / "old.bin", "ggml", 0)
    new = tmp_path / "new.gguf"
    new.write_bytes(b"precious")
    with pytest.raises(ModelFileError, match=r"new\.gguf: exists already"):
        convert_legacy(old, new)
    assert new.read_bytes() == b"precious"
    convert_legacy(old, new, overwrite=True)
    assert tensors_of(new) == tensors_of(f32)


def test_a_file_that_appears_meanwhile_is_left_alone(f32: Path, tmp_path: Path) -> None:
    old = OldModel.of(f32, 1).write(tmp_path / "old.bin", "ggml", 0)
    new = tmp_path / "new.gguf"
    with pytest.raises(ModelFileError, match=r"new\.gguf: exists already"):
        convert_legacy(old, new, progress=lambda *_: new.write_bytes(b"precious") and None)
    assert new.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.gguf", "old.bin"]


def test_an_interruption_leaves_nothing(f32: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    old = OldModel.of(f32, 1).write(tmp_path / "old.bin", "ggml", 0)
    with pytest.raises(KeyboardInterrupt):
        convert_legacy(old, tmp_path / "new.gguf", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["old.bin"]


def test_a_source_that_shrinks_or_changes_is_an_error(f32: Path, tmp_path: Path) -> None:
    old = OldModel.of(f32, 1).write(tmp_path / "old.bin", "ggml", 0)
    with pytest.raises(ModelFileError, match="became shorter while it was read"):
        convert_legacy(old, tmp_path / "new.gguf", progress=lambda *_: os.truncate(old, 10_000))
    OldModel.of(f32, 1).write(old, "ggml", 0)
    with pytest.raises(ModelFileError, match="changed while in use"):
        convert_legacy(old, tmp_path / "new.gguf", progress=lambda *_: os.utime(old))
    assert [path.name for path in tmp_path.iterdir()] == ["old.bin"]


def test_what_cannot_be_converted_is_refused(f32: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"m\.gguf: is a GGUF file already"):
        convert_legacy(f32, tmp_path / "new.gguf")
    old = OldModel.of(f32, 1).write(tmp_path / "old.bin", "ggml", 0)
    for wrong in ({"n_ctx": 0}, {"n_ctx": 2**31}, {"norm_eps": 0.0}, {"norm_eps": float("nan")}):
        with pytest.raises(InvalidArgumentError, match=r"is not possible|not positive and finite"):
            convert_legacy(old, tmp_path / "new.gguf", **wrong)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["old.bin"]
