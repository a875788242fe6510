"""Writing the GGUF file: metadata and vocabulary, then tensor after tensor, in bounded memory."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llamacpp.convert.checkpoint import Checkpoint, open_checkpoint, read_json
from llamacpp.convert.experts import ExpertsWeight
from llamacpp.convert.metadata import ARCHITECTURES, Architecture, hyperparameters, rope_tables
from llamacpp.convert.names import Weight, weights_of
from llamacpp.convert.pooling import pooling
from llamacpp.convert.vocabulary import read_vocabulary
from llamacpp.errors import FormatError, InvalidArgumentError, ModelFileError, UnsupportedError
from llamacpp.format.encode import Value
from llamacpp.format.types import FILE_TYPES, GGMLType
from llamacpp.format.writer import GGUFWriter

__all__ = ["TYPES", "convert_hf"]

TYPES = {
    "f32": GGMLType.F32,
    "f16": GGMLType.F16,
    "bf16": GGMLType.BF16,
    "q8_0": GGMLType.Q8_0,
}
_IN_F32 = ("position_embd.weight", "token_types.weight", "ffn_gate_inp.weight", ".bias")
_QUANTIZATION_VERSION = 2  # of the block layouts, which have not changed since
_FILE_TYPES = {name: number for number, name in FILE_TYPES.items()}

Float32 = npt.NDArray[np.float32]


def convert_hf(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    type: str = "f16",
    overwrite: bool = False,
    vocabulary: bool = True,
    pre: str | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Write the model of a folder as a GGUF file.

    The target appears under its name when it is complete; until then, and after any failure,
    the name is untouched.

    Args:
        source: the folder: config.json, weights (safetensors, or PyTorch's), the tokenizer.
        target: the GGUF file to write.
        type: of matrices: "f32", "f16", "bf16" or "q8_0". Vectors stay F32, and what chooses
            experts; matrices whose rows are no multiple of 32 become F16 instead of Q8_0; what is
            MXFP4 stays so.
        overwrite: replace the target if it exists.
        vocabulary: whether the tokenizer is taken along; without, the model works on token ids.
        pre: the pre-tokenizer's name in GGUF, for a tokenizer.json that is not recognised.
        progress: called with the values written and their total.

    Raises:
        InvalidArgumentError: there is no such type.
        ModelFileError: a file cannot be read or written, or is damaged (FormatError).
        UnsupportedError: an architecture, option or tokenizer that is not known here.
    """
    folder = Path(source)
    if type not in TYPES:
        raise InvalidArgumentError(f"there is no type {type!r}; types: {', '.join(TYPES)}")
    if not folder.is_dir():
        raise ModelFileError(f"{folder}: is no folder with a Hugging Face model")
    config, kind = _configuration(folder)
    found = hyperparameters(config, kind) | pooling(folder)
    metadata = {f"{kind.name}.{k}": v for k, v in found.items()}
    checkpoint = open_checkpoint(folder)
    weights = weights_of(checkpoint, config, kind)
    n_vocab = next(w.shape[0] for w in weights if w.name == "token_embd.weight")
    words = read_vocabulary(folder, config, n_vocab, pre) if vocabulary else {}
    general: dict[str, Value] = {
        "general.architecture": kind.name,
        "general.name": folder.resolve().name,
        "general.file_type": _FILE_TYPES[TYPES[type].name],
        "general.quantization_version": _QUANTIZATION_VERSION,
    }
    with GGUFWriter(target, overwrite=overwrite) as writer:
        for key, value in {**general, **metadata, **words}.items():
            writer.add(key, value)
        _write(writer, checkpoint, weights, rope_tables(config), TYPES[type], progress)


def _write(
    writer: GGUFWriter,
    checkpoint: Checkpoint,
    weights: list[Weight | ExpertsWeight],
    tables: dict[str, array[float]],
    kind: GGMLType,
    progress: Callable[[int, int], object],
) -> None:
    for name, values in tables.items():
        writer.add_tensor(name, GGMLType.F32, (len(values),))
    for weight in weights:
        writer.add_tensor(weight.name, _stored_as(weight, kind), weight.shape[::-1])
    for name, values in tables.items():
        writer.write_tensor(name, values.tobytes())
    done, total = 0, sum(math.prod(weight.shape) for weight in weights)

    def encoded(weight: Weight | ExpertsWeight) -> Iterator[bytes]:
        nonlocal done
        stored = _stored_as(weight, kind)
        for rows in weight.rows(checkpoint):
            data = _encode(weight.name, rows, stored)
            yield data
            done += len(data) // stored.block.nbytes * stored.block.length
            progress(done, total)

    for weight in weights:
        writer.write_tensor(weight.name, encoded(weight))


def _configuration(folder: Path) -> tuple[dict[str, Any], Architecture]:
    """What config.json says of the text model, and what architecture that is."""
    config = read_json(folder / "config.json")
    classes = config.get("architectures") or ["none"]
    name = str(classes[0]) if isinstance(classes, list) else str(classes)
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedError(
            f"{folder / 'config.json'}: architecture {name!r} is not supported; supported: {known}"
        )
    kind = ARCHITECTURES[name]
    inner = config.get("text_config")
    if isinstance(inner, dict):  # of a model that sees as well
        config = {**config, **inner}
    return {**kind.defaults, **{k: v for k, v in config.items() if v is not None}}, kind


def _stored_as(weight: Weight | ExpertsWeight, kind: GGMLType) -> GGMLType:
    if isinstance(weight, ExpertsWeight) and weight.scales is not None:
        return GGMLType.MXFP4
    if len(weight.shape) == 1 or weight.name.endswith(_IN_F32):
        return GGMLType.F32
    if weight.shape[-1] % kind.block.length:
        return GGMLType.F16
    return kind


def _encode(name: str, values: npt.NDArray[Any], kind: GGMLType) -> bytes:
    if kind is GGMLType.MXFP4:  # blocks already
        return values.tobytes()
    if kind is GGMLType.F32:
        return np.ascontiguousarray(values, dtype="<f4").tobytes()
    if kind is GGMLType.BF16:
        return _bf16(values).tobytes()
    if kind is GGMLType.F16:
        with np.errstate(over="ignore"):
            half = values.astype("<f2")
        if np.isinf(half).any() and not np.isinf(values).any():
            raise UnsupportedError(f"tensor {name!r} has values beyond F16: take bf16 or f32")
        return half.tobytes()
    return _q8_0(name, values)


def _bf16(values: Float32) -> npt.NDArray[np.uint16]:
    """Round to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    nan = (bits & 0x7FFFFFFF) > 0x7F800000
    result: npt.NDArray[np.uint16] = np.where(nan, (bits >> 16) | 64, rounded).astype("<u2")
    return result


def _q8_0(name: str, values: Float32) -> bytes:
    """Blocks of 32: a scale in F16, the largest magnitude over 127, and 32 codes."""
    blocks = values.reshape(-1, 32)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    if not np.isfinite(largest).all() or (largest > 127 * 65504.0).any():
        raise FormatError(f"tensor {name!r} holds values that Q8_0 cannot")
    scale = largest / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    scaled = blocks * inverse
    codes = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    out = np.empty(len(blocks), [("d", "<f2"), ("qs", "i1", 32)])
    out["d"], out["qs"] = scale[:, 0], codes
    return out.tobytes()
