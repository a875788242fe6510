"""What `make bench` runs: the shape of a 1.1B model in the three most common types.

    python -m bench.standard [-m FILES] [anything that bench.compare takes]

Files are made once, of random weights, in $LLAMACPP_BENCH_DIR or ~/.cache/llamacpp-bench.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from bench import compare
from bench.make_model import make_model
from llamacpp.engine.threads import default_threads
from llamacpp.errors import LlamaError

__all__ = ["cache", "files", "main"]

MODEL = "TinyLlama-1.1B"
TYPES = ("Q4_0", "Q4_K_M", "Q8_0")


def cache() -> Path:
    """The folder of the files."""
    folder = os.environ.get("LLAMACPP_BENCH_DIR")
    return Path(folder) if folder else Path.home() / ".cache" / "llamacpp-bench"


def files(
    folder: Path,
    model: str = MODEL,
    n_layer: int | None = None,
    types: Sequence[str] = TYPES,
) -> list[Path]:
    """The files, made where they are not there yet.

    Args:
        folder: where they lie.
        model: whose shapes.
        n_layer: how many layers instead of the model's.
        types: which of them.

    Raises:
        LlamaError: one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{model}-{kind}.gguf" for kind in types]
    for path, kind in zip(paths, types, strict=True):
        if not path.exists():
            print(f"making {path}", file=sys.stderr)
            make_model(path, model, kind, n_layer=n_layer, progress=True)
    return paths


def main(argv: Sequence[str] | None = None) -> int:
    """Make the files if need be, compare, and return what `bench.compare` returns."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not any(word.startswith(("-m", "--models")) for word in argv):
        try:
            paths = files(cache())
        except (LlamaError, OSError) as error:
            print(f"python -m bench.standard: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
        argv = ["-m", ",".join(map(str, paths)), *argv]
    threads = ",".join(str(n) for n in (1, 2) if n <= default_threads())
    defaults = ["-p", "512", "-n", "64", "-t", threads]
    if find_spec("matplotlib"):
        defaults.append("--plots")
    return compare.main([*defaults, *argv])


if __name__ == "__main__":
    sys.exit(main())
