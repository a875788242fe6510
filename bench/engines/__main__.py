"""The process of an engine: python -m bench.engines FILE:CLASS.

Standard output belongs to the protocol: whatever else writes there, from Python or from C, ends up
on standard error.
"""

from __future__ import annotations

import importlib.util
import os
import sys

from bench.engines.protocol import MissingEngineError, Worker, serve


def load_class(spec: str) -> type[Worker]:
    """Import an adapter by `FILE:CLASS`.

    Raises:
        MissingEngineError: there is no such file, no such class in it, or a part of it is missing.
    """
    path, _, name = spec.rpartition(":")
    found = importlib.util.spec_from_file_location("bench_adapter", path)
    if found is None or found.loader is None:
        raise MissingEngineError(f"{path}: no Python file")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except FileNotFoundError as error:
        raise MissingEngineError(f"{path}: {error.strerror}") from error
    adapter = getattr(module, name, None)
    if not (isinstance(adapter, type) and issubclass(adapter, Worker)):
        raise MissingEngineError(f"{path} has no subclass of Worker named {name!r}")
    if adapter.__abstractmethods__:
        missing = ", ".join(sorted(adapter.__abstractmethods__))
        raise MissingEngineError(f"{path}: {name} does not implement {missing}")
    return adapter


def main() -> None:
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    serve(lambda: load_class(sys.argv[1])(), requests, replies)


if __name__ == "__main__":
    main()
