"""Reading valid files: every version, every value type, the real data, several parts."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf as independent
import numpy as np
import pytest
from gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    array,
    entry,
    gguf,
    model,
    string,
    tensor,
)

from llamacpp.format import GGMLType, ModelFile, NumericArray, StringArray, ValueType
from llamacpp.tensors import map_tensors

REAL_FILES = [
    "stories260K-f32.gguf",
    "vocab/llama-spm.gguf",
    "vocab/llama-bpe.gguf",
    "vocab/qwen2.gguf",
    "vocab/gpt-2.gguf",
]

EVERY_SCALAR = {
    U8: 255,
    I8: -128,
    U16: 65535,
    I16: -32768,
    U32: 2**32 - 1,
    I32: -(2**31),
    F32: 0.5,
    BOOL: True,
    STRING: "naïve",
    U64: 2**64 - 1,
    I64: -(2**63),
    F64: 1e300,
}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_value_type_reads_back_in_every_version(tmp_path: Path, version: int) -> None:
    entries = [
        entry(f"one.{kind.name}", kind, string(v, version) if isinstance(v, str) else v, version)
        for kind, v in EVERY_SCALAR.items()
    ]
    entries += [
        entry(f"many.{kind.name}", ARRAY, array(kind, [v, v, v], version), version)
        for kind, v in EVERY_SCALAR.items()
    ]
    entries += [
        entry(f"none.{kind.name}", ARRAY, array(kind, [], version), version)
        for kind in EVERY_SCALAR
    ]
    with ModelFile(write(tmp_path / "m.gguf", gguf(entries, version=version))) as file:
        assert file.version == version
        assert not file.tensors
        for kind, value in EVERY_SCALAR.items():
            one, many = file.metadata[f"one.{kind.name}"], file.metadata[f"many.{kind.name}"]
            none = file.metadata[f"none.{kind.name}"]
            assert one == value
            assert type(one) is type(value)
            assert file.metadata.type_of(f"one.{kind.name}") is kind
            assert isinstance(many, (StringArray, NumericArray))
            assert isinstance(none, (StringArray, NumericArray))
            assert many.element_type is kind
            assert list(many) == [value] * 3
            assert many[1:] == [value] * 2
            assert many[-1] == value
            assert len(none) == 0
            assert list(none) == []


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_tensors_are_views_of_the_right_bytes(tmp_path: Path, version: int, alignment: int) -> None:
    tensors = {
        "matrix": (GGMLType.F32, [3, 2], struct.pack("<6f", *range(6))),
        "blocks": (GGMLType.Q8_0, [64, 3], bytes(range(204))),
        "one": (GGMLType.F16, [1], b"\x00\x3c"),
        "four": (GGMLType.I8, [2, 1, 3, 4], bytes(range(24))),
    }
    data = model({"a": 1}, tensors, version=version, alignment=alignment)
    file = ModelFile(write(tmp_path / "m.gguf", data))
    views = map_tensors(file)
    assert file.alignment == alignment
    assert list(views) == list(tensors)
    for name, (kind, shape, raw) in tensors.items():
        view, info = views[name], file.tensors[name]
        assert (view.type, view.shape, view.nbytes) == (kind, tuple(shape), len(raw))
        assert info.offset % 8 == 0
        assert data[info.offset : info.offset + info.nbytes] == raw
        assert view.data == raw
        assert view.data.readonly
        assert view.address == file.mapping(0).address + info.offset
    assert views["blocks"].row_nbytes == 68
    assert views["blocks"].n_rows == 3
    assert views["four"].n_rows == 12
    assert views["four"].n_elements == 24


def test_gaps_between_tensors_and_any_order_are_fine(tmp_path: Path) -> None:
    records = [tensor("late", [2], offset=96), tensor("early", [2], offset=0)]
    data = struct.pack("<2f", 1, 2) + bytes(88) + struct.pack("<2f", 3, 4)
    with ModelFile(write(tmp_path / "m.gguf", gguf([], records, data))) as file:
        views = map_tensors(file)
    assert views["early"].data == struct.pack("<2f", 1, 2)
    assert views["late"].data == struct.pack("<2f", 3, 4)


@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files_equal_an_independent_reader(
    data_dir: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same bytes, without the cost of a memmap object for each of a vocabulary's strings.
    monkeypatch.setattr(np, "memmap", lambda path, mode: np.fromfile(path, np.uint8))
    theirs: Any = independent.GGUFReader(data_dir / name)
    with ModelFile(data_dir / name) as ours:
        fields = {k: f for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
        assert list(ours.metadata) == list(fields)
        for key, field in fields.items():
            assert ours.metadata.type_of(key) == field.types[0]
            value = ours.metadata[key]
            if isinstance(value, (StringArray, NumericArray)):
                assert value.element_type == field.types[1]
                assert len(value) == len(field.data)
                if isinstance(value, StringArray):
                    assert list(value.iter_raw()) == [bytes(field.parts[i]) for i in field.data]
                else:
                    assert value.tolist() == [field.parts[i][0] for i in field.data]
            else:
                assert value == field.contents()
        assert ours.alignment == theirs.alignment
        assert list(ours.tensors) == [t.name for t in theirs.tensors]
        views = map_tensors(ours)
        for t in theirs.tensors:
            info = ours.tensors[t.name]
            assert info.type == t.tensor_type
            assert info.shape == tuple(t.shape.tolist())
            assert (info.offset, info.nbytes) == (t.data_offset, t.n_bytes)
            assert views[t.name].data == t.data.tobytes()


def test_tensors_outlive_the_closed_file(tmp_path: Path) -> None:
    data = model({}, {"t": (GGMLType.F32, [2], struct.pack("<2f", 7, 8))})
    file = ModelFile(write(tmp_path / "m.gguf", data))
    views = map_tensors(file)
    file.close()
    assert file.closed
    del file
    assert views["t"].data == struct.pack("<2f", 7, 8)


def test_typed_access_gives_values_and_defaults(tmp_path: Path) -> None:
    data = model({"n": 3, "x": 0.5, "s": "text", "b": True, "names": ["a", "b"], "ids": [1, 2]})
    m = ModelFile(write(tmp_path / "m.gguf", data)).metadata
    assert m.integer("n") == 3
    assert m.integer("absent", None) is None
    assert m.integer("absent", 7) == 7
    assert m.number("x") == 0.5
    assert m.string("s") == "text"
    assert m.raw("s") == b"text"
    assert m.boolean("b") is True
    assert list(m.strings("names", length=2)) == ["a", "b"]
    assert m.numbers("ids", ValueType.INT32, length=2).tolist() == [1, 2]
    assert m.get("absent") is None
    assert dict(m.items())["n"] == 3
