"""llama-cpp-python, through the C interface that it binds: what `llama-bench` measures.

Not through its class `Llama`, whose Python would be measured as well. Options are the C library's
defaults, but for what the test asks and a batch of 512 tokens at once.
"""

from __future__ import annotations

import array
import ctypes
import re
from typing import Any

from bench.engines.protocol import Answer, MissingEngineError, RefusedError, Worker

try:
    import llama_cpp as lib
except ImportError as error:
    raise MissingEngineError(
        f"{error}. Name an interpreter that has it with --peer-python, or install it, compiled for "
        "this machine: CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python "
        "llama-cpp-python"
    ) from error

BATCH = 512  # tokens evaluated at once


class LlamaCppPython(Worker):
    """As it comes: at load, weights are copied into the layout of its fastest kernels."""

    repack = True

    def __init__(self) -> None:
        lib.llama_backend_init()
        self._model: Any = None
        self._context: Any = None
        self._batch: Any = None
        self._n_seq = 1

    def about(self) -> Answer:
        flags = re.findall(r"(\w+) = 1", lib.llama_print_system_info().decode())
        return {
            "name": "llama-cpp-python",
            "version": lib.__version__,
            "build": " ".join(flags) + ("" if self.repack else "; told not to repack"),
        }

    def load(self, path: str, n_threads: int) -> None:
        self._close()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        _map_weights(params)
        if not self.repack:
            _set(params, "use_extra_bufts", False)
        self._model = lib.llama_model_load_from_file(path.encode(), params)
        if not self._model:
            raise RefusedError("llama_model_load_from_file refuses the file; its log says why")
        self.n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        self._n_threads = n_threads

    def start(self, n_ctx: int, n_seq: int, cache_type: str) -> None:
        self._close_context()
        params = lib.llama_context_default_params()
        params.n_ctx = n_ctx * n_seq  # shared out evenly
        params.n_batch = params.n_ubatch = BATCH
        params.n_seq_max = n_seq
        params.n_threads = params.n_threads_batch = self._n_threads
        params.type_k = params.type_v = getattr(lib, f"GGML_TYPE_{cache_type.upper()}")
        params.no_perf = True
        self._context = lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise RefusedError("llama_init_from_model makes no context; its log says why")
        self._memory = lib.llama_get_memory(self._context)
        self._n_seq = n_seq
        self._batch = lib.llama_batch_init(BATCH, 0, 1)
        for i in range(BATCH):
            self._batch.n_seq_id[i] = 1

    def prompt(self, tokens: list[int], pos: int, seq: int) -> None:
        for start in range(0, len(tokens), BATCH):
            piece = tokens[start : start + BATCH]
            n = len(piece)
            last = start + n == len(tokens)
            positions = range(pos + start, pos + start + n)
            self._decode(piece, positions, [seq] * n, [0] * (n - 1) + [int(last)])
        self._read_logits()

    def step(self, tokens: list[int], pos: int) -> None:
        n = len(tokens)
        self._decode(tokens, [pos] * n, range(n), [1] * n)
        self._read_logits()

    def rewind(self, n: int, n_seq: int) -> None:
        for seq in range(n_seq):
            if not lib.llama_memory_seq_rm(self._memory, seq, n, -1):
                raise RefusedError("llama_memory_seq_rm cannot forget part of a sequence")

    def _decode(self, tokens: Any, positions: Any, seqs: Any, wanted: Any) -> None:
        batch, n = self._batch, len(tokens)
        batch.n_tokens = n
        _put(batch.token, "i", tokens)
        _put(batch.pos, "i", positions)
        _put(batch.logits, "b", wanted)
        for i, seq in enumerate(seqs):
            batch.seq_id[i][0] = seq
        status = lib.llama_decode(self._context, batch)
        if status:
            raise RefusedError(f"llama_decode returned {status}; its log says why")

    def _read_logits(self) -> None:
        lib.llama_synchronize(self._context)
        if not lib.llama_get_logits_ith(self._context, -1):
            raise RefusedError("there are no logits")

    def _close_context(self) -> None:
        if self._batch is not None:
            lib.llama_batch_free(self._batch)
        if self._context:
            lib.llama_free(self._context)
        self._batch = self._context = None

    def _close(self) -> None:
        self._close_context()
        if self._model:
            lib.llama_model_free(self._model)
        self._model = None


class NoRepack(LlamaCppPython):
    """Weights stay where the file is mapped, in the layout of the file."""

    repack = False


def _map_weights(params: Any) -> None:
    """Map the file; how to say so has changed over the versions."""
    if hasattr(lib, "LLAMA_LOAD_MODE_MMAP"):
        _set(params, "load_mode", lib.LLAMA_LOAD_MODE_MMAP)
    else:
        _set(params, "use_mmap", True)


def _set(params: Any, name: str, value: Any) -> None:
    """Set a field that a version may lack; a ctypes structure would take any name in silence."""
    if name not in (field[0] for field in params._fields_):
        raise RefusedError(f"llama-cpp-python {lib.__version__} has no parameter {name}")
    setattr(params, name, value)


def _put(pointer: Any, code: str, values: Any) -> None:
    """Copy integers to where a C pointer points."""
    data = array.array(code, values)
    ctypes.memmove(pointer, data.buffer_info()[0], len(data) * data.itemsize)
