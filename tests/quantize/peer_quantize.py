"""What llama.cpp makes of the same values: run by the interpreter that has llama-cpp-python.

    python peer_quantize.py rows IN.npz OUT.npz   encode each array of IN, as its name says
    python peer_quantize.py model IN OUT FTYPE    quantize a file; importances of 1, as many as JSON
        says for each tensor, may follow

IN holds arrays NUMBER.x, values (rows, columns), and NUMBER.w, the weights of columns, and names of
what to make, "jobs": NUMBER.TYPE or NUMBER.TYPE.weighted.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import numpy as np


def encode_rows(source: str, target: str) -> None:
    import llama_cpp

    folder = Path(llama_cpp.__file__).parent / "lib"
    ggml = ctypes.CDLL(str(folder / "libggml-base.so"))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p
    ]  # fmt: skip
    ggml.ggml_row_size.restype = ctypes.c_size_t
    ggml.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    ggml.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    given = np.load(source)
    made = {}
    for name in given["jobs"]:
        number, kind, *weighted = str(name).split(".")
        x = np.ascontiguousarray(given[number + ".x"], np.float32)
        rows, columns = x.shape
        w = np.ascontiguousarray(given[number + ".w"], np.float32) if weighted else None
        if w is None and ggml.ggml_quantize_requires_imatrix(int(kind)):
            w = np.ones(columns, np.float32)
        out = np.zeros((rows, ggml.ggml_row_size(int(kind), columns)), np.uint8)
        ggml.ggml_quantize_chunk(
            int(kind), x.ctypes.data, out.ctypes.data, 0, rows, columns,
            None if w is None else w.ctypes.data,
        )  # fmt: skip
        made[str(name)] = out
    np.savez(target, **made)


def quantize_file(source: str, target: str, file_type: str, importances: str = "{}") -> None:
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = int(file_type), 2, True
    sizes = json.loads(importances)
    if sizes:
        ones = np.ones(max(sizes.values()), np.float32)
        data = ones.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entries = [(name.encode(), data, size) for name, size in sizes.items()]
        params.imatrix = (llama_cpp.llama_model_imatrix_data * (len(entries) + 1))(*entries)
    sys.exit(llama_cpp.llama_model_quantize(source.encode(), target.encode(), params))


if __name__ == "__main__":
    {"rows": encode_rows, "model": quantize_file}[sys.argv[1]](*sys.argv[2:])
