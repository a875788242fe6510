"""The writer: read back by an independent reader and by our own; streamed; all or nothing."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf as independent
import numpy as np
import pytest
from gguf_bytes import model

from llamacpp.errors import InvalidArgumentError, ModelFileError
from llamacpp.format import GGMLType, ModelFile, NumericArray, StringArray, ValueType
from llamacpp.format.writer import GGUFWriter
from llamacpp.tensors import map_tensors

SCALARS: dict[str, tuple[Any, ValueType | None, ValueType]] = {
    "a.text": ("naïve \0 text", None, ValueType.STRING),
    "a.count": (32, None, ValueType.UINT32),
    "a.negative": (-1, None, ValueType.INT32),
    "a.large": (2**32, None, ValueType.UINT64),
    "a.large_negative": (-(2**31) - 1, None, ValueType.INT64),
    "a.ratio": (0.25, None, ValueType.FLOAT32),
    "a.flag": (True, None, ValueType.BOOL),
    "a.u8": (255, ValueType.UINT8, ValueType.UINT8),
    "a.i8": (-128, ValueType.INT8, ValueType.INT8),
    "a.u16": (65535, ValueType.UINT16, ValueType.UINT16),
    "a.i16": (-32768, ValueType.INT16, ValueType.INT16),
    "a.i64": (-(2**63), ValueType.INT64, ValueType.INT64),
    "a.u64": (2**64 - 1, ValueType.UINT64, ValueType.UINT64),
    "a.f64": (0.1, ValueType.FLOAT64, ValueType.FLOAT64),
}
ARRAYS: dict[str, tuple[Any, ValueType | None, ValueType]] = {
    "b.tokens": (["a", "", "ü▁"], None, ValueType.STRING),
    "b.types": ([1, 2, -3], None, ValueType.INT32),
    "b.large": ([2**31], None, ValueType.UINT32),
    "b.larger": ([2**40, -1], None, ValueType.INT64),
    "b.scores": ((0.5, -1.0), None, ValueType.FLOAT32),
    "b.flags": ([True, False], None, ValueType.BOOL),
    "b.bytes": ([0, 255], ValueType.UINT8, ValueType.UINT8),
}
RNG = np.random.default_rng(1)
TENSORS = {
    "f32.weight": (GGMLType.F32, RNG.standard_normal((5, 3), np.float32)),
    "f16.weight": (GGMLType.F16, RNG.standard_normal((1, 7)).astype(np.float16)),
    "q4.weight": (GGMLType.Q4_0, RNG.integers(0, 256, (3, 36), np.uint8)),
    "q6.weight": (GGMLType.Q6_K, RNG.integers(0, 256, (2, 210), np.uint8)),
    "cube": (GGMLType.F32, RNG.standard_normal((2, 3, 5), np.float32)),
}


def shape_of(kind: GGMLType, data: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """Extents, fastest first, of an array of elements or of block bytes."""
    *rows, last = data.shape
    columns = last if kind.block.length == 1 else last // kind.block.nbytes * kind.block.length
    return (columns, *reversed(rows))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_all(path: Path, alignment: int = 32) -> None:
    with GGUFWriter(path, alignment=alignment) as writer:
        for key, (value, kind, _) in {**SCALARS, **ARRAYS}.items():
            writer.add(key, value, kind)
        for name, (kind, data) in TENSORS.items():
            writer.add_tensor(name, kind, shape_of(kind, data))
        for name, (_, data) in TENSORS.items():
            writer.write_tensor(name, data)


@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_an_independent_reader_reads_what_we_write(tmp_path: Path, alignment: int) -> None:
    path = tmp_path / "m.gguf"
    write_all(path, alignment)
    reader: Any = independent.GGUFReader(path)
    assert reader.alignment == alignment
    for key, (value, _, stored) in SCALARS.items():
        assert reader.fields[key].types == [stored]
        assert reader.fields[key].contents() == value
    for key, (value, _, stored) in ARRAYS.items():
        assert reader.fields[key].types == [ValueType.ARRAY, stored]
        assert reader.fields[key].contents() == list(value)
    assert [t.name for t in reader.tensors] == list(TENSORS)
    for t in reader.tensors:
        kind, data = TENSORS[t.name]
        assert t.tensor_type == kind
        assert tuple(t.shape.tolist()) == shape_of(kind, data)
        assert t.data.tobytes() == data.tobytes()
        assert t.data_offset % alignment == 0
    assert path.stat().st_size % alignment == 0


def test_our_reader_reads_what_we_write(tmp_path: Path) -> None:
    write_all(tmp_path / "m.gguf", 64)
    with ModelFile(tmp_path / "m.gguf") as file:
        for key, (value, _, stored) in SCALARS.items():
            assert file.metadata.type_of(key) is stored
            assert file.metadata[key] == value
        for key, (value, _, stored) in ARRAYS.items():
            read = file.metadata[key]
            assert isinstance(read, (StringArray, NumericArray))
            assert read.element_type is stored
            assert list(read) == list(value)
        for name, tensor in map_tensors(file).items():
            assert tensor.data == TENSORS[name][1].tobytes()


def test_our_reader_reads_what_an_independent_writer_writes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer: Any = independent.GGUFWriter(path, "llama")
    writer.add_block_count(3)
    writer.add_rope_freq_base(10000.0)
    writer.add_token_list(["a", "b"])
    writer.add_token_scores([0.5, 1.5])
    writer.add_custom_alignment(64)
    for name, (kind, data) in TENSORS.items():
        raw = independent.GGMLQuantizationType(kind) if kind.block.length > 1 else None
        writer.add_tensor(name, data, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with ModelFile(path) as file:
        assert file.alignment == 64
        assert file.metadata.string("general.architecture") == "llama"
        assert file.metadata.integer("llama.block_count") == 3
        assert file.metadata.number("llama.rope.freq_base") == 10000.0
        assert list(file.metadata.strings("tokenizer.ggml.tokens")) == ["a", "b"]
        for name, tensor in map_tensors(file).items():
            kind, data = TENSORS[name]
            assert (tensor.type, tensor.shape) == (kind, shape_of(kind, data))
            assert tensor.data == data.tobytes()


@pytest.mark.parametrize("version", [1, 3])
def test_arrays_of_an_open_file_are_written_as_they_are(tmp_path: Path, version: int) -> None:
    source = {"names": ["a", "", "ü"], "ids": [1, -2], "scores": [0.5]}
    (tmp_path / "a.gguf").write_bytes(model(source, version=version))
    with ModelFile(tmp_path / "a.gguf") as a, GGUFWriter(tmp_path / "b.gguf") as writer:
        for key, value in a.metadata.items():
            writer.add(key, value)
    with ModelFile(tmp_path / "b.gguf") as b:
        assert {key: list(b.metadata[key]) for key in source} == source  # type: ignore[arg-type]
        assert b.version == 3


def test_data_may_come_in_pieces(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        for i in range(6):
            yield struct.pack("<f", i)

    with GGUFWriter(tmp_path / "m.gguf") as writer:
        writer.add_tensor("t", GGMLType.F32, (3, 2))
        writer.write_tensor("t", pieces())
    with ModelFile(tmp_path / "m.gguf") as file:
        assert map_tensors(file)["t"].data == struct.pack("<6f", *range(6))


def test_the_file_appears_only_when_complete_and_has_ordinary_permissions(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"old")
    with GGUFWriter(path) as writer:
        writer.add_tensor("t", GGMLType.F32, (2,))
        writer.write_tensor("t", bytes(8))
        assert path.read_bytes() == b"old"
    assert path.read_bytes()[:4] == b"GGUF"
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert names_in(tmp_path) == ["m.gguf", "plain"]


def fail(how: str, writer: GGUFWriter) -> None:
    writer.add_tensor("t", GGMLType.F32, (2,))
    writer.add_tensor("u", GGMLType.F32, (2,))
    if how == "short":
        writer.write_tensor("t", bytes(4))
    elif how == "long":
        writer.write_tensor("t", iter([bytes(8), b"x"]))
    elif how == "order":
        writer.write_tensor("u", bytes(8))
    elif how == "strided":
        writer.write_tensor("t", np.zeros(4, np.float32)[::2])  # type: ignore[arg-type]
    elif how == "number":
        writer.write_tensor("t", 5)  # type: ignore[arg-type]
    elif how == "missing":
        writer.write_tensor("t", bytes(8))
    elif how == "again":
        writer.write_tensor("t", bytes(8))
        writer.write_tensor("t", bytes(8))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("short", r"'t': F32 \[2\] takes 8 bytes, but only 4 were given"),
        ("long", r"'t': F32 \[2\] takes 8 bytes, but more were given"),
        ("order", "'u' cannot be written now: 't' is next"),
        ("strided", "'t': the data is not a contiguous buffer"),
        ("number", "'t': the data is not a contiguous buffer"),
        ("missing", "'u' was added, but its data was not written"),
        ("again", "'t' cannot be written now: 'u' is next"),
    ],
)
def test_a_failure_leaves_nothing_behind(tmp_path: Path, how: str, message: str) -> None:
    with (
        pytest.raises(InvalidArgumentError, match=message),
        GGUFWriter(tmp_path / "m.gguf") as writer,
    ):
        fail(how, writer)
    assert names_in(tmp_path) == []


def test_an_exception_in_the_block_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> Iterator[bytes]:
        yield bytes(4)
        raise KeyboardInterrupt

    writer = GGUFWriter(tmp_path / "m.gguf")
    writer.add_tensor("t", GGMLType.F32, (2,))
    with pytest.raises(KeyboardInterrupt), writer:
        writer.write_tensor("t", interrupted())
    assert names_in(tmp_path) == []


def test_an_unwritable_place_is_a_model_file_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot write: No such file or directory"):
        GGUFWriter(tmp_path / "absent" / "m.gguf").close()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelFileError, match="cannot write: Is a directory"):
        GGUFWriter(tmp_path / "folder").close()
    assert names_in(tmp_path) == ["folder"]


def test_a_file_that_exists_is_replaced_only_if_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    GGUFWriter(path, overwrite=False).close()
    empty = path.read_bytes()
    with pytest.raises(ModelFileError, match=r"m\.gguf: exists already"):
        GGUFWriter(path, overwrite=False)
    path.unlink()
    with (
        pytest.raises(ModelFileError, match=r"m\.gguf: exists already"),
        GGUFWriter(path, overwrite=False),
    ):
        path.write_bytes(b"of another")
    assert path.read_bytes() == b"of another"
    GGUFWriter(path).close()
    assert path.read_bytes() == empty
    assert names_in(tmp_path) == ["m.gguf"]


def test_nothing_can_be_added_once_data_is_written(tmp_path: Path) -> None:
    with GGUFWriter(tmp_path / "m.gguf") as writer:
        writer.add_tensor("t", GGMLType.F32, (2,))
        writer.write_tensor("t", bytes(8))
        with pytest.raises(InvalidArgumentError, match="before the first tensor's data"):
            writer.add("k", 1)
        with pytest.raises(InvalidArgumentError, match="before the first tensor's data"):
            writer.add_tensor("u", GGMLType.F32, (2,))
    with pytest.raises(InvalidArgumentError, match="the writer is closed"):
        writer.add("k", 1)


BAD_ENTRIES: list[tuple[str, Any, ValueType | None, str]] = [
    ("", 1, None, "metadata key '' is 0 bytes long"),
    ("k" * 65536, 1, None, "65536 bytes long; 1 to 65535"),
    ("\ud800", 1, None, "not valid Unicode"),
    ("twice", 1, None, "'twice' was already added"),
    ("general.alignment", 64, None, r"GGUFWriter\(\.\.\., alignment=\.\.\.\)"),
    ("k", [], None, "an empty array needs the type of its elements"),
    ("k", [1, "a"], None, "no one type holds the kinds of value given: int, str"),
    ("k", [1, 0.5], None, "no one type holds the kinds of value given: float, int"),
    ("k", [2**64 - 1, -1], None, "no type holds both -1 and 18446744073709551615"),
    ("k", 2**64, None, "no type holds both"),
    ("k", 256, ValueType.UINT8, "no UINT8: "),
    ("k", 0.5, ValueType.INT32, "no INT32: "),
    ("k", 1e300, ValueType.FLOAT32, "no FLOAT32: "),
    ("k", 1, ValueType.BOOL, "a BOOL must be True or False"),
    ("k", 1, ValueType.STRING, "a int is not text"),
    ("k", "\udc80", None, "not valid Unicode"),
    ("k", [1], ValueType.ARRAY, "arrays do not nest"),
    ("k", None, None, "a NoneType cannot be stored"),
]


@pytest.mark.parametrize(("key", "value", "kind", "message"), BAD_ENTRIES)
def test_metadata_that_cannot_be_stored_is_refused(
    tmp_path: Path, key: str, value: Any, kind: ValueType | None, message: str
) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf")
    writer.add("twice", 1)
    with pytest.raises(InvalidArgumentError, match=message):
        writer.add(key, value, kind)


@pytest.mark.parametrize(
    ("name", "kind", "shape", "message"),
    [
        ("", GGMLType.F32, (1,), "tensor name '' is 0 bytes long"),
        ("n" * 64, GGMLType.F32, (1,), "64 bytes long; 1 to 63"),
        ("twice", GGMLType.F32, (1,), "'twice' was already added"),
        ("t", GGMLType.F32, (), r"1 to 4 positive extents, not \[\]"),
        ("t", GGMLType.F32, (1, 1, 1, 1, 1), "1 to 4 positive extents"),
        ("t", GGMLType.F32, (1, 0), r"1 to 4 positive extents, not \[1, 0\]"),
        ("t", GGMLType.Q4_0, (33,), "rows of 33 elements are not whole Q4_0 blocks of 32"),
        ("t", GGMLType.F32, (2**32, 2**32), "too large"),
    ],
)
def test_tensors_that_break_the_rules_are_refused(
    tmp_path: Path, name: str, kind: GGMLType, shape: tuple[int, ...], message: str
) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf")
    writer.add_tensor("twice", GGMLType.F32, (1,))
    with pytest.raises(InvalidArgumentError, match=message):
        writer.add_tensor(name, kind, shape)


@pytest.mark.parametrize("alignment", [0, 4, 24, -32, 1 << 21])
def test_odd_alignments_are_refused(tmp_path: Path, alignment: int) -> None:
    with pytest.raises(InvalidArgumentError, match="is not a power of two from 8 to 1048576"):
        GGUFWriter(tmp_path / "m.gguf", alignment=alignment)


def test_two_writers_of_one_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    def write(value: int) -> None:
        with GGUFWriter(tmp_path / "m.gguf") as writer:
            writer.add_tensor("t", GGMLType.I8, (100_000,))
            writer.write_tensor("t", (bytes([value]) * 1000 for _ in range(100)))

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ModelFile(tmp_path / "m.gguf") as file:
        assert len(set(bytes(map_tensors(file)["t"].data))) == 1
    assert names_in(tmp_path) == ["m.gguf"]
