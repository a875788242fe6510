"""Saved sessions: tokens, keys and values, and the last logits of sequence 0.

A state file is a fixed header (magic, version, sizes), the fingerprint of the model, the payload,
and a BLAKE2b checksum over all of it. It holds data only, never code.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.engine.context import Context
from llamacpp.errors import ModelFileError, StateError

__all__ = ["read_file", "read_state", "write_file", "write_state"]

MAGIC = b"llamacpp state\n\x00"
VERSION = 2  # 2: keys in blocks of 16 positions
# magic, version, cache type, tokens, whether logits follow; then the model's fingerprint
_HEADER = struct.Struct("<16sIIQ?32s")
_CHECKSUM_BYTES = 32


def fingerprint(context: Context) -> bytes:
    """32 bytes that identify the model: its hyperparameters, tensors, and the start of each.

    The first bytes of every tensor tell a model from a fine-tuned one without reading it all.
    """
    digest = hashlib.blake2b(digest_size=32)
    digest.update(repr(context.network.config).encode())
    context.file.check_unchanged()
    for name, tensor in sorted(context.network.weights.items()):
        digest.update(f"{name} {tensor.type.name} {tensor.shape}\n".encode())
        digest.update(tensor.data[:64])
    return digest.digest()


def _payload(context: Context) -> Iterator[bytes | memoryview]:
    context.flush()  # a token without its keys and values is no state to continue from
    logits, tokens = context.last_row, context.tokens
    yield _HEADER.pack(
        MAGIC, VERSION, context.cache.type, len(tokens), logits is not None, fingerprint(context)
    )
    yield struct.pack(f"<{len(tokens)}i", *tokens)
    if logits is not None:
        yield bytes(ffi.buffer(logits.ptr))  # little-endian, as all machines that we run on
    yield from context.cache.slices(0, len(tokens))


def write_state(context: Context) -> Iterator[bytes | memoryview]:
    """The bytes of a state, piece by piece, checksum last."""
    digest = hashlib.blake2b(digest_size=_CHECKSUM_BYTES)
    for piece in _payload(context):
        digest.update(piece)
        yield piece
    yield digest.digest()


def write_file(context: Context, path: Path) -> None:
    """Write a state to `path`, in full or not at all."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            try:
                for piece in write_state(context):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(file.name).unlink()
                raise
    except OSError as error:
        raise ModelFileError(f"cannot write the state to {path}: {error.strerror}") from error


def read_file(context: Context, path: Path) -> None:
    """Load the state at `path` into a context."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read the state {path}: {error.strerror}") from error
    read_state(context, data, str(path))


def read_state(context: Context, data: bytes, name: str = "the state") -> None:
    """Load a state into a session; everything is checked before anything is changed."""
    view = memoryview(data)
    if len(view) < _HEADER.size + _CHECKSUM_BYTES:
        raise StateError(f"{name} is too short to be a saved session")
    magic, version, cache_type, n_tokens, has_logits, model = _HEADER.unpack_from(view)
    if magic != MAGIC:
        raise StateError(f"{name} is not a saved session")
    if version != VERSION:
        raise StateError(f"{name} has version {version}; this library reads version {VERSION}")
    if hashlib.blake2b(view[:-_CHECKSUM_BYTES], digest_size=32).digest() != view[-32:]:
        raise StateError(f"{name} is damaged: its checksum does not match")
    if model != fingerprint(context):
        raise StateError(f"{name} was saved with another model file")
    if cache_type != context.cache.type:
        raise StateError(f"{name} was saved with another KV cache type")
    if n_tokens > context.n_ctx:
        raise StateError(
            f"{name} holds {n_tokens} tokens; the context has room for {context.n_ctx}"
        )
    slices = context.cache.slices(0, n_tokens)
    n_logits = context.network.n_vocab if has_logits else 0
    sizes = (_HEADER.size, 4 * n_tokens, 4 * n_logits, sum(map(len, slices)), _CHECKSUM_BYTES)
    if len(view) != sum(sizes):
        raise StateError(f"{name} has {len(view)} bytes instead of {sum(sizes)}")
    at = _HEADER.size
    tokens = list(struct.unpack_from(f"<{n_tokens}i", view, at))
    if n_tokens and (min(tokens) < 0 or max(tokens) >= context.network.n_vocab):
        raise StateError(f"{name} holds tokens outside the vocabulary")
    at += 4 * n_tokens
    logits = ops.Buffer(1, n_logits) if has_logits else None
    if logits:
        ffi.memmove(logits.ptr, view[at : at + 4 * n_logits], 4 * n_logits)
    at += 4 * n_logits
    for target in slices:
        target[:] = view[at : at + len(target)]
        at += len(target)
    context.restore(tokens, logits)
