"""Tensors of a folder: safetensors files, or what PyTorch saved; read piece by piece.

Of safetensors the format is read here: a header in JSON with names, types, shapes and places
(https://github.com/huggingface/safetensors#format). The library of that name hands out bfloat16
only as tensors of other libraries, and tensors only as wholes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from llamacpp.errors import FormatError, ModelFileError, UnsupportedError

__all__ = ["Checkpoint", "Stored", "open_checkpoint", "read_json", "read_list"]

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

MAX_HEADER = 100 << 20  # bytes, as the format has it
PIECE = 16 << 20  # bytes of float32 at a time


class Stored(NamedTuple):
    """A tensor: its type in the words of safetensors, and its shape (rows, columns)."""

    dtype: str
    shape: tuple[int, ...]


class Checkpoint(Protocol):
    """The tensors of a model, by name."""

    tensors: dict[str, Stored]

    def rows(self, name: str, start: int, stop: int) -> Float32:
        """Some rows, along the first axis, as float32."""
        ...

    def codes(self, name: str, start: int, stop: int) -> UInt8:
        """The same of a tensor of bytes, as they are."""
        ...


def open_checkpoint(folder: Path) -> Checkpoint:
    """Find the weights of a model.

    Raises:
        ModelFileError: there are none, or they cannot be read, or (FormatError) are damaged.
        UnsupportedError: they are of PyTorch, which is not installed.
    """
    for suffix, index in (
        ("safetensors", "model.safetensors.index.json"),
        ("bin", "pytorch_model.bin.index.json"),
    ):
        if (folder / index).exists():
            names = set(read_json(folder / index).get("weight_map", {}).values())
            if not names or any(not isinstance(n, str) or Path(n).name != n for n in names):
                raise FormatError(f"{folder / index}: names no files of this folder")
            files = [folder / name for name in sorted(names)]
        else:
            files = sorted(folder.glob(f"*.{suffix}"))
            if suffix == "bin":
                files = [f for f in files if f.name.startswith("pytorch_model")]
                files += sorted(folder.glob("*.pth"))
        if files:
            return _Safetensors(files) if suffix == "safetensors" else _PyTorch(files)
    raise ModelFileError(f"{folder}: holds no *.safetensors, pytorch_model*.bin or *.pth")


def read_json(path: Path) -> dict[str, Any]:
    """An object from a file.

    Raises:
        ModelFileError: it cannot be read, or (FormatError) is no JSON object.
    """
    found = _parsed(path)
    if not isinstance(found, dict):
        raise FormatError(f"{path}: is no JSON object")
    return found


def read_list(path: Path) -> list[dict[str, Any]]:
    """A list of objects from a file; empty, if there is no such file.

    Raises:
        ModelFileError: it cannot be read, or (FormatError) is no such list.
    """
    found = _parsed(path) if path.exists() else []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise FormatError(f"{path}: is no list of JSON objects")
    return found


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is no JSON: {error}") from None


def pieces(checkpoint: Checkpoint, name: str) -> Iterator[Float32]:
    """All rows, some at a time."""
    shape = checkpoint.tensors[name].shape
    step = max(PIECE // (4 * max(math.prod(shape[1:]), 1)), 1)
    for start in range(0, shape[0], step):
        yield checkpoint.rows(name, start, min(start + step, shape[0]))


class _Place(NamedTuple):
    path: Path
    offset: int


_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # of what is a number by itself
_CODES = "U8"  # what is not: half of two of MXFP4's numbers, or a scale
_STORED = {**_SIZES, _CODES: 1}


class _Safetensors:
    def __init__(self, files: list[Path]) -> None:
        self.tensors: dict[str, Stored] = {}
        self._places: dict[str, _Place] = {}
        for path in files:
            self._add(path)

    def _add(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                start = file.read(8)
                length = int.from_bytes(start, "little")
                size = path.stat().st_size
                if len(start) < 8 or length > min(MAX_HEADER, size - 8):
                    raise FormatError(f"{path}: is no safetensors file, or cut short")
                raw = file.read(length)
        except OSError as error:
            raise ModelFileError(f"{path}: cannot read: {error.strerror}") from error
        try:
            header = json.loads(raw)
            entries = {k: v for k, v in header.items() if k != "__metadata__"}
            for name, entry in entries.items():
                self._add_tensor(path, 8 + length, size, name, entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FormatError(f"{path}: the header is damaged: {error!r}") from None

    def _add_tensor(self, path: Path, data: int, size: int, name: str, entry: Any) -> None:
        dtype, shape = str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
        begin, end = (int(n) for n in entry["data_offsets"])
        if name in self.tensors:
            raise FormatError(f"{path}: tensor {name!r} is there twice")
        if dtype in _STORED and (
            min(shape, default=1) < 0 or math.prod(shape) * _STORED[dtype] != end - begin
        ):
            raise FormatError(f"{path}: tensor {name!r} has not the size of its shape")
        if not 0 <= begin <= end <= size - data:
            raise FormatError(f"{path}: tensor {name!r} ends beyond the file, which is cut short")
        self.tensors[name] = Stored(dtype, shape)
        self._places[name] = _Place(path, data + begin)

    def rows(self, name: str, start: int, stop: int) -> Float32:
        dtype, shape = self.tensors[name]
        if dtype not in _SIZES:
            raise _unsupported(name, dtype)
        return _as_float32(self._read(name, start, stop), dtype).reshape(-1, *shape[1:])

    def codes(self, name: str, start: int, stop: int) -> UInt8:
        dtype, shape = self.tensors[name]
        if dtype != _CODES:
            raise _unsupported(name, dtype)
        return np.frombuffer(self._read(name, start, stop), np.uint8).reshape(-1, *shape[1:])

    def _read(self, name: str, start: int, stop: int) -> bytes:
        dtype, shape = self.tensors[name]
        path, offset = self._places[name]
        row = math.prod(shape[1:]) * _STORED[dtype]
        count = (stop - start) * row
        try:
            with path.open("rb") as file:
                file.seek(offset + start * row)
                data = file.read(count)
        except OSError as error:
            raise ModelFileError(f"{path}: cannot read: {error.strerror}") from error
        if len(data) != count:
            raise ModelFileError(f"{path}: became shorter while it was read")
        return data


def _unsupported(name: str, dtype: str) -> UnsupportedError:
    return UnsupportedError(f"tensor {name!r} is stored as {dtype}, which is not supported here")


def _as_float32(data: bytes, dtype: str) -> Float32:
    if dtype == "BF16":
        wide = np.frombuffer(data, "<u2").astype(np.uint32) << 16
        return wide.view(np.float32)
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
    return np.frombuffer(data, kinds[dtype]).astype(np.float32)


class _PyTorch:
    def __init__(self, files: list[Path]) -> None:
        try:
            import torch
        except ImportError:
            raise UnsupportedError(
                f"{files[0]}: was saved by PyTorch, which has to be installed to read it:"
                " pip install torch; or save the model as safetensors"
            ) from None
        self._torch = torch
        self._data: dict[str, Any] = {}
        self.tensors: dict[str, Stored] = {}
        for path in files:
            try:
                found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except Exception as error:  # of many kinds
                raise FormatError(f"{path}: PyTorch cannot read it: {error}") from None
            for name, tensor in found.items():
                if isinstance(tensor, torch.Tensor):
                    self._data[name] = tensor
                    self.tensors[name] = Stored(str(tensor.dtype), tuple(tensor.shape))

    def rows(self, name: str, start: int, stop: int) -> Float32:
        found: Float32 = self._data[name][start:stop].to(self._torch.float32).numpy()
        return found

    def codes(self, name: str, start: int, stop: int) -> UInt8:
        if self._data[name].dtype != self._torch.uint8:
            raise _unsupported(name, str(self._data[name].dtype))
        found: UInt8 = self._data[name][start:stop].numpy()
        return found
