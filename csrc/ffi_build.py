"""cffi build script: lk_api.h is the cdef, every C file below csrc/ is a source.

One set of baseline flags serves all sources; files of higher levels open target regions
(target.h) and are chosen at run time (dispatch.c), so there is no -march here.
"""

from pathlib import Path

from cffi import FFI

CSRC = Path(__file__).resolve().parent
ROOT = CSRC.parent

ffi = FFI()
ffi.cdef((CSRC / "lk_api.h").read_text(encoding="utf-8"))
ffi.set_source(
    "llamacpp._lk",
    '#include "lk.h"',
    sources=sorted(str(path.relative_to(ROOT)) for path in CSRC.rglob("*.c")),
    depends=[str(path) for path in CSRC.rglob("*") if path.suffix in {".h", ".inc"}],
    include_dirs=[str(CSRC)],
    # Contraction off: a fused multiply-add appears only where a kernel asks for one, so that the
    # scalar twins mean the same everywhere. CPython's own -fwrapv would keep loop counters narrow.
    extra_compile_args=[
        "-std=gnu11",
        "-O2",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fno-wrapv",
        "-fvisibility=hidden",
        "-g0",
        "-pthread",
    ],
    extra_link_args=["-pthread"],
    libraries=["m"],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
