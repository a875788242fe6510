"""Reading safetensors: what the library writes, and what nobody should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamacpp import FormatError, ModelFileError, UnsupportedError
from llamacpp.convert.checkpoint import open_checkpoint, pieces


def write(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_values_of_every_type_come_back(tmp_path: Path) -> None:
    values = np.array([[1.0, -2.5, 0.0], [3.0, 0.125, -0.0]], np.float32)
    stored = {
        "F64": values.astype("<f8").tobytes(),
        "F32": values.tobytes(),
        "F16": values.astype("<f2").tobytes(),
        "BF16": (values.view(np.uint32) >> 16).astype("<u2").tobytes(),
    }
    header, data = {}, b""
    for dtype, raw in stored.items():
        header[dtype] = entry(dtype, [2, 3], len(data), len(data) + len(raw))
        data += raw
    write(tmp_path / "model.safetensors", {**header, "__metadata__": {"format": "pt"}}, data)
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.tensors) == set(stored)
    for dtype in stored:
        assert np.array_equal(checkpoint.rows(dtype, 0, 2), values)
        assert np.array_equal(checkpoint.rows(dtype, 1, 2), values[1:])
        assert np.array_equal(np.concatenate(list(pieces(checkpoint, dtype))), values)


def test_files_are_those_of_the_index(tmp_path: Path) -> None:
    for i in range(2):
        raw = np.full(4, i, np.float32).tobytes()
        write(tmp_path / f"part{i}.safetensors", {f"t{i}": entry("F32", [4], 0, 16)}, raw)
    write(tmp_path / "stray.safetensors", {"t9": entry("F32", [0], 0, 0)})
    index = {"weight_map": {f"t{i}": f"part{i}.safetensors" for i in range(2)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.tensors) == {"t0", "t1"}
    assert checkpoint.rows("t1", 0, 4).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        (b"{}", b"", 1 << 40, "or cut short"),
        (b"{}", b"", 200, "or cut short"),
        (b"nonsense", b"", None, "the header is damaged"),
        (b"[1]", b"", None, "the header is damaged"),
        (b'{"a": {"dtype": "F32"}}', b"", None, "the header is damaged"),
        (b"[" * 100_000, b"", None, "the header is damaged"),
        ({"a": entry("F32", [2], 0, 4)}, bytes(4), None, "has not the size of its shape"),
        ({"a": entry("F32", [-1], 0, -4)}, b"", None, "has not the size of its shape"),
        ({"a": entry("F32", [2], 0, 8)}, bytes(7), None, "ends beyond the file"),
        ({"a": entry("F32", [1], -4, 0)}, bytes(8), None, "ends beyond the file"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, header: Any, data: bytes, length: int | None, message: str
) -> None:
    write(tmp_path / "model.safetensors", header, data, length)
    with pytest.raises(FormatError, match=message):
        open_checkpoint(tmp_path)


def test_other_things_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="holds no"):
        open_checkpoint(tmp_path)
    write(tmp_path / "model.safetensors", {"a": entry("I64", [1], 0, 8)}, bytes(8))
    with pytest.raises(UnsupportedError, match="stored as I64"):
        open_checkpoint(tmp_path).rows("a", 0, 1)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x"}}')
    with pytest.raises(FormatError, match="names no files of this folder"):
        open_checkpoint(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(FormatError, match="is no JSON"):
        open_checkpoint(tmp_path)
