"""Importance matrices: measured against an independent pass, written, read, and hostile ones."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from random_models import write_random_model

from llamacpp import Model
from llamacpp.errors import FormatError, InvalidArgumentError, LlamaError, ModelFileError
from llamacpp.format import GGMLType
from llamacpp.format.writer import GGUFWriter
from llamacpp.quantize import Importance, read_importance, write_importance
from llamacpp.quantize.collect import collect_importance
from tests.reference import ReferenceModel
from tests.small_models import talker_vocabulary

TEXT = "the other one was there when the rain began to fall on the old house. " * 12
NAME = "blk.0.attn_q.weight"


class Watched(ReferenceModel):
    """A reference that keeps the squares of what its matrices are multiplied with."""

    def linear(self, x, name):
        self.sums[name + ".weight"] = self.sums.get(name + ".weight", 0) + (x * x).sum(axis=0)
        return super().linear(x, name)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(
        tmp_path_factory.mktemp("m") / "m.gguf", Type.F32, n_layer=2,
        vocabulary=talker_vocabulary(None),
    )  # fmt: skip


def test_what_is_collected_is_what_an_independent_pass_sees(path: Path) -> None:
    n, seen = 48, []
    with Model.open(path) as model:
        importance = collect_importance(
            model, TEXT, n_ctx=n, dataset="rain", progress=lambda *args: seen.append(args)
        )
        tokens = model.tokenizer.encode(TEXT, add_bos=True)
    n_chunks = len(tokens) // n
    assert n_chunks >= 3
    assert seen == [(n * (i + 1), n * n_chunks) for i in range(n_chunks)]
    assert (importance.n_chunks, importance.chunk_size) == (n_chunks, n)
    reference = Watched(path)
    reference.sums = {}
    for i in range(n_chunks):
        chunk = [*tokens[i * n : (i + 1) * n]]
        chunk[0] = tokens[0]
        reference.logits(chunk)
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    assert set(importance.sums) == {f"blk.{i}.{p}.weight" for i in range(2) for p in parts}
    for name, sums in importance.sums.items():
        assert importance.counts[name].tolist() == [n * n_chunks]
        np.testing.assert_allclose(sums[0], reference.sums[name], rtol=2e-3)


def test_the_file_is_that_of_llama_cpp(path: Path, tmp_path: Path) -> None:
    with Model.open(path) as model:
        importance = collect_importance(model, TEXT, n_ctx=32, dataset="rain.txt")
    write_importance(importance, tmp_path / "i.gguf")
    reader = gguf.GGUFReader(tmp_path / "i.gguf")
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.type"] == "imatrix"
    assert fields["imatrix.datasets"] == ["rain.txt"]
    assert fields["imatrix.chunk_count"] == importance.n_chunks
    assert fields["imatrix.chunk_size"] == 32
    tensors = {t.name: t for t in reader.tensors}
    assert tensors[f"{NAME}.in_sum2"].shape.tolist() == [256, 1]
    assert tensors[f"{NAME}.counts"].shape.tolist() == [1, 1]
    again = read_importance(tmp_path / "i.gguf")
    assert again.path == tmp_path / "i.gguf"
    assert (again.datasets, again.n_chunks, again.chunk_size) == (
        ["rain.txt"], importance.n_chunks, 32,
    )  # fmt: skip
    for name, sums in importance.sums.items():
        assert (again.sums[name] == sums).all()
        assert (again.counts[name] == importance.counts[name]).all()
    with pytest.raises(ModelFileError, match="exists already"):
        write_importance(importance, tmp_path / "i.gguf")


def test_weights_have_a_mean_of_one_in_each_matrix() -> None:
    sums = np.array([[1, 3, 0, 0], [0, 0, 0, 0]], np.float32)
    importance = Importance({NAME: sums}, {NAME: np.array([5, 0], np.float32)})
    weights = importance.of(NAME, 4, 2)
    assert weights is not None
    np.testing.assert_allclose(weights, [[1, 3, 1e-6, 1e-6], [1, 1, 1, 1]])
    assert importance.of("absent", 4, 1) is None
    with pytest.raises(InvalidArgumentError, match="another model"):
        importance.of(NAME, 5, 2)


def dat(n_calls: int = 4, values: tuple[float, ...] = (1.0, 2.0), tail: bytes = b"") -> bytes:
    name = NAME.encode()
    head = struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", n_calls, len(values))
    return head + struct.pack(f"<{len(values)}f", *values) + tail


def test_the_older_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.dat"
    path.write_bytes(dat())
    assert read_importance(path).sums[NAME].tolist() == [[1.0, 2.0]]
    path.write_bytes(dat(tail=struct.pack("<ii", 7, 4) + b"wiki"))
    found = read_importance(path)
    assert (found.n_chunks, found.datasets) == (7, ["wiki"])
    assert found.counts[NAME].tolist() == [4.0]


def test_the_older_format_has_experts_in_one_row(tmp_path: Path) -> None:
    path = tmp_path / "old.dat"
    path.write_bytes(dat(values=(1.0, 3.0, 0.0, 0.0, 6.0, 2.0)))
    found = read_importance(path)
    np.testing.assert_allclose(found.of(NAME, 2, 3), [[0.5, 1.5], [1, 1], [1.5, 0.5]])
    with pytest.raises(InvalidArgumentError, match="another model"):
        found.of(NAME, 2, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short"),
        (b"\xff\xff\xff\x7f", "cut short"),
        (struct.pack("<i", 0), "holds no importances"),
        (struct.pack("<ii", 1, -5), "cut short"),
        (dat()[:-1], "cut short"),
        (dat(values=()), "has no values"),
        (dat(values=(1.0, float("nan"))), "not finite"),
        (dat(values=(1.0, -2.0)), "negative"),
        (dat(n_calls=-1), "negative"),
        (dat(tail=b"\x01"), "cut short"),
        (dat(tail=struct.pack("<ii", 1, 1 << 30)), "cut short"),
        (b"GGUF" + bytes(60), "i.dat"),
    ],
)
def test_hostile_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "i.dat"
    path.write_bytes(content)
    with pytest.raises(LlamaError, match=message):
        read_importance(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "holds no importances"),
        ({f"{NAME}.in_sum2": np.ones((1, 4), np.float32)}, "no counts"),
        ({f"{NAME}.in_sum2": np.ones((2, 4), np.float32),
          f"{NAME}.counts": np.ones((3, 1), np.float32)}, "do not fit"),
        ({f"{NAME}.in_sum2": np.full((1, 4), np.inf, np.float32),
          f"{NAME}.counts": np.ones((1, 1), np.float32)}, "not finite"),
        ({f"{NAME}.in_sum2": np.ones((1, 4), np.float16),
          f"{NAME}.counts": np.ones((1, 1), np.float32)}, "instead of F32"),
    ],
    ids=["empty", "no counts", "shapes", "infinite", "type"],
)  # fmt: skip
def test_hostile_gguf_files_are_refused(
    tensors: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    with GGUFWriter(tmp_path / "i.gguf") as writer:
        writer.add("general.type", "imatrix")
        for name, values in tensors.items():
            kind = GGMLType.F16 if values.dtype == np.float16 else GGMLType.F32
            writer.add_tensor(name, kind, values.shape[::-1])
        for name, values in tensors.items():
            writer.write_tensor(name, values)
    with pytest.raises(FormatError, match=message):
        read_importance(tmp_path / "i.gguf")


def test_texts_that_are_too_short_are_refused(path: Path) -> None:
    with Model.open(path) as model:
        with pytest.raises(InvalidArgumentError, match="less than a chunk of 200"):
            collect_importance(model, "the", n_ctx=200)
        with pytest.raises(InvalidArgumentError, match="too short"):
            collect_importance(model, TEXT, n_ctx=1)
