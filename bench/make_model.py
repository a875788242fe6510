"""Write a GGUF file with the exact shapes and type mix of a known model, and random weights.

No quality, the true amount of work: sizes, types and their mix are those of real files, and values
keep the size that activations have in a model, so that nothing overflows and samplers have
something to choose from. Written as fast as the disk takes it: blocks are random bytes drawn once
per type and size of value, and laid end to end from changing starting points.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.shapes import MIXES, SHAPES, Matrix, Shape, matrices, weight_type
from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.errors import InvalidArgumentError, LlamaError
from llamacpp.format import GGMLType, ModelFile
from llamacpp.format.types import FILE_TYPES
from llamacpp.format.writer import GGUFWriter
from llamacpp.tensors import Tensor

__all__ = ["make_model"]

Bytes = npt.NDArray[np.uint8]
POOL_BYTES = 32 << 20  # random blocks of one kind; far more than any cache holds
# Where the half floats of a block lie, and their ratio to the first, which centres the values.
_SCALES = {
    GGMLType.Q4_0: {0: 1.0},
    GGMLType.Q4_1: {0: 1.0, 2: -7.5},
    GGMLType.Q5_0: {0: 1.0},
    GGMLType.Q5_1: {0: 1.0, 2: -15.5},
    GGMLType.Q8_0: {0: 1.0},
    GGMLType.Q2_K: {80: 1.0, 82: 1.5},
    GGMLType.Q3_K: {108: 1.0},
    GGMLType.Q4_K: {0: 1.0, 2: 7.5},
    GGMLType.Q5_K: {0: 1.0, 2: 15.5},
    GGMLType.Q6_K: {208: 1.0},
}
_FILE_TYPES = {name: number for number, name in FILE_TYPES.items()}  # general.file_type


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.make_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"models: {', '.join(SHAPES)}\ntypes:  {', '.join(MIXES)}",
    )
    parser.add_argument("model", choices=SHAPES, metavar="MODEL", help="whose shapes (see below)")
    parser.add_argument("type", choices=MIXES, metavar="TYPE", help="which mix of weight types")
    parser.add_argument("out", type=Path, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--vocab", type=Path, metavar="GGUF",
        help="take the tokenizer of this file, and its size (default: a made-up vocabulary)",
    )  # fmt: skip
    parser.add_argument("--layers", type=int, metavar="N", help="only so many layers")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    args = parser.parse_args()
    if args.out.exists() and not args.force:
        sys.exit(f"{args.out} exists; --force replaces it")
    start = time.perf_counter()
    try:
        make_model(
            args.out, args.model, args.type,
            vocabulary=args.vocab, n_layer=args.layers, seed=args.seed, progress=True,
        )  # fmt: skip
    except LlamaError as error:
        sys.exit(f"{parser.prog}: {error}")
    seconds, nbytes = time.perf_counter() - start, args.out.stat().st_size
    print(
        f"{args.out}: {nbytes / 1e9:.2f} GB in {seconds:.1f} s, {nbytes / seconds / 1e9:.2f} GB/s",
        file=sys.stderr,
    )


def make_model(
    path: Path,
    model: str,
    mix: str,
    *,
    vocabulary: Path | None = None,
    n_layer: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> None:
    """Write a model file.

    Args:
        path: where to; replaced if it exists.
        model: a name of `SHAPES`.
        mix: a name of `MIXES`.
        vocabulary: a GGUF file whose tokenizer to take; the embedding gets its size.
        n_layer: how many layers instead of the model's.
        seed: of the random weights.
        progress: show a bar on stderr where that is a terminal.

    Raises:
        InvalidArgumentError: an unknown model or mix, or no layers.
        LlamaError: the vocabulary cannot be read, or the file cannot be written.
    """
    if model not in SHAPES or mix not in MIXES:
        raise InvalidArgumentError(f"there is no {model} in {mix}; see SHAPES and MIXES")
    shape = SHAPES[model]
    tokens = _vocabulary_size(vocabulary) if vocabulary else shape.n_vocab
    n_layer = shape.n_layer if n_layer is None else n_layer
    if n_layer < 1:
        raise InvalidArgumentError("a model has at least one layer")
    shape = Shape(**{**vars(shape), "n_vocab": tokens, "n_layer": n_layer})
    plan = [(matrix, weight_type(mix, shape, matrix)) for matrix in matrices(shape)]
    pools = _Pools(np.random.default_rng(seed))
    with GGUFWriter(path) as writer:
        _add_metadata(writer, f"{model} {mix}, random weights", shape, mix)
        if vocabulary:
            _copy_vocabulary(writer, vocabulary)
        else:
            _add_vocabulary(writer, tokens)
        for matrix, kind in plan:
            writer.add_tensor(matrix.name + ".weight", kind, matrix.dims)
        vectors = dict(_vectors(shape))
        for name, n in vectors.items():
            writer.add_tensor(name, GGMLType.F32, (n,))
        bar = _Bar(sum(_nbytes(m, kind) for m, kind in plan), progress)
        for matrix, kind in plan:
            std = _gain(shape, matrix) / math.sqrt(matrix.columns)
            pieces = pools.take(kind, std, _nbytes(matrix, kind))
            writer.write_tensor(matrix.name + ".weight", bar.watch(pieces))
        bar.close()
        for name, n in vectors.items():
            value = 0.0 if name.endswith("bias") else 1.0
            writer.write_tensor(name, np.full(n, value, np.float32))


# ---- weights ------------------------------------------------------------------------------------


class _Pools:
    """Random blocks by type and size of value, drawn once and handed out in pieces."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._pools: dict[tuple[GGMLType, float], Bytes] = {}

    def take(self, kind: GGMLType, std: float, nbytes: int) -> Iterator[memoryview]:
        """`nbytes` of blocks whose values have the standard deviation `std`."""
        pool = self._pools.get((kind, std))
        if pool is None:
            pool = self._pools[kind, std] = self._draw(kind, std)
        start = int(self._rng.integers(len(pool)))
        while nbytes:
            piece = pool[start:].data.cast("B")[:nbytes]
            nbytes -= len(piece)
            start = 0
            yield piece

    def _draw(self, kind: GGMLType, std: float) -> Bytes:
        size = kind.block.nbytes
        n = POOL_BYTES // size
        if kind not in _SCALES:
            return _as_stored(std * self._rng.standard_normal((n, 1), np.float32), kind)
        blocks: Bytes = np.array(np.frombuffer(self._rng.bytes(n * size), np.uint8))
        blocks = blocks.reshape((n, size))
        _put_scales(blocks, kind, np.ones(n))
        unit = _standard_deviation(blocks[:4096], kind)
        _put_scales(blocks, kind, std / unit * self._rng.uniform(0.5, 1.5, n))
        return blocks


def _as_stored(values: npt.NDArray[np.float32], kind: GGMLType) -> Bytes:
    """Bytes (n, size) of values (n, 1) in a float type; BF16 is the upper half of a float."""
    stored = values.astype("<f2" if kind == GGMLType.F16 else "<f4")
    as_bytes: Bytes = np.frombuffer(stored.tobytes(), np.uint8).reshape(len(values), -1)
    if kind == GGMLType.BF16:
        return np.ascontiguousarray(as_bytes[:, 2:], np.uint8)
    return as_bytes


def _put_scales(blocks: Bytes, kind: GGMLType, d: npt.NDArray[np.float64]) -> None:
    for offset, ratio in _SCALES[kind].items():
        blocks[:, offset : offset + 2] = (d * ratio).astype("<f2").view(np.uint8).reshape(-1, 2)


def _standard_deviation(blocks: Bytes, kind: GGMLType) -> float:
    """Of the values that some blocks stand for."""
    n = len(blocks) * kind.block.length
    tensor = Tensor.from_buffer("sample", kind, (n, 1), blocks.data.cast("B"))
    values = ops.Buffer(1, n)
    weight = ffi.new("lk_matrix *", ops.matrix(tensor))
    ops.embed(weight, n, ffi.new("int32_t[]", [0]), 1, values.ptr)
    return float(values.array.std())


def _nbytes(matrix: Matrix, kind: GGMLType) -> int:
    return kind.row_nbytes(matrix.columns) * matrix.rows * matrix.count


def _gain(shape: Shape, matrix: Matrix) -> float:
    """Over a product that keeps the size of its input: unit embeddings, small residual steps."""
    if matrix.name == "token_embd" and not shape.tied:
        return math.sqrt(matrix.columns)
    if matrix.name.endswith(("attn_output", "ffn_down", "ffn_down_exps")):
        return 1 / math.sqrt(2 * shape.n_layer)
    return 1.0


def _vectors(shape: Shape) -> Iterator[tuple[str, int]]:
    """Names and lengths of the norms and biases."""
    yield "output_norm.weight", shape.n_embd
    for i in range(shape.n_layer):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{i}.{name}.weight", shape.n_embd
        if shape.qk_norm:
            yield f"blk.{i}.attn_q_norm.weight", shape.head
            yield f"blk.{i}.attn_k_norm.weight", shape.head
        if shape.qkv_bias:
            yield f"blk.{i}.attn_q.bias", shape.n_head * shape.head
            yield f"blk.{i}.attn_k.bias", shape.n_kv_head * shape.head
            yield f"blk.{i}.attn_v.bias", shape.n_kv_head * shape.head


# ---- metadata -----------------------------------------------------------------------------------


def _add_metadata(writer: GGUFWriter, name: str, shape: Shape, mix: str) -> None:
    arch = shape.architecture
    entries: dict[str, int | float | str] = {
        "general.architecture": arch,
        "general.name": name,
        "general.file_type": _FILE_TYPES[mix],
        "general.quantization_version": 2,
        f"{arch}.context_length": shape.n_ctx,
        f"{arch}.embedding_length": shape.n_embd,
        f"{arch}.block_count": shape.n_layer,
        f"{arch}.feed_forward_length": shape.n_ff,
        f"{arch}.attention.head_count": shape.n_head,
        f"{arch}.attention.head_count_kv": shape.n_kv_head,
        f"{arch}.attention.layer_norm_rms_epsilon": shape.norm_eps,
        f"{arch}.rope.dimension_count": shape.head,
        f"{arch}.rope.freq_base": shape.rope_base,
        f"{arch}.vocab_size": shape.n_vocab,
    }
    if shape.head_dim:
        entries |= {f"{arch}.attention.{name}_length": shape.head for name in ("key", "value")}
    if shape.n_expert:
        entries |= {
            f"{arch}.expert_count": shape.n_expert,
            f"{arch}.expert_used_count": shape.n_expert_used,
        }
    if shape.n_ff_expert:
        entries[f"{arch}.expert_feed_forward_length"] = shape.n_ff_expert
    for key, value in entries.items():
        writer.add(key, value)


def _vocabulary_size(path: Path) -> int:
    with ModelFile(path) as file:
        return len(file.metadata.strings("tokenizer.ggml.tokens"))


def _copy_vocabulary(writer: GGUFWriter, path: Path) -> None:
    with ModelFile(path) as file:
        for key in file.metadata:
            if key.startswith("tokenizer."):
                value = file.metadata[key]
                kind = file.metadata.type_of(key)
                is_scalar = isinstance(value, (int, float, str))
                writer.add(key, value, kind if is_scalar else None)


def _add_vocabulary(writer: GGUFWriter, n: int) -> None:
    """Add a SentencePiece-style vocabulary: three control tokens, all bytes, made-up words."""
    specials = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    words = [_word(i) for i in range(n - len(specials) - len(bytes_))]
    writer.add("tokenizer.ggml.model", "llama")
    writer.add("tokenizer.ggml.tokens", (specials + bytes_ + words)[:n])
    writer.add("tokenizer.ggml.scores", [0.0] * 259 + [-float(i) for i in range(n - 259)])
    writer.add("tokenizer.ggml.token_type", [2, 3, 3] + [6] * 256 + [1] * (n - 259))
    for key, token in (("unknown", 0), ("bos", 1), ("eos", 2)):
        writer.add(f"tokenizer.ggml.{key}_token_id", token)


def _word(i: int) -> str:
    """Word number i: short ones first; every other begins a word."""
    i, starts = divmod(i, 2)
    letters = ""
    while True:
        i, letter = divmod(i, 26)
        letters = chr(ord("a") + letter) + letters
        if i == 0:
            break
        i -= 1
    return ("\u2581" if starts else "") + letters


# ---- progress -----------------------------------------------------------------------------------


class _Bar:
    """Bytes written of those to write, on stderr."""

    def __init__(self, total: int, wanted: bool) -> None:
        self._total, self._done, self._shown = total, 0, -1
        self._on = wanted and sys.stderr.isatty()

    def watch(self, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        for piece in pieces:
            yield piece
            self._done += len(piece)
            percent = self._done * 100 // self._total
            if self._on and percent != self._shown:
                self._shown = percent
                print(f"\rwriting {percent:3d} % of {self._total / 1e9:.1f} GB", end="",
                      file=sys.stderr, flush=True)  # fmt: skip

    def close(self) -> None:
        if self._on:
            print(file=sys.stderr)


if __name__ == "__main__":
    main()
