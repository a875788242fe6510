"""``llamacpp inspect``: what a model file holds, from its header alone."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from typing import Any

from llamacpp.cli.common import printable
from llamacpp.format import ModelFile, NumericArray, StringArray

__all__ = ["add_parser", "run"]

SHOWN_ENTRIES = 4  # of an array
SHOWN_CHARACTERS = 100  # of a string


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "inspect",
        help="show a file's metadata and tensors",
        description="Show the metadata, the tensors, and the sizes per type of a GGUF file, or of "
        "a ggml, ggmf or ggjt file of 2023 in GGUF's terms. Only what describes the weights is "
        "read, so the size of the file does not matter.",
    )
    parser.add_argument("file", metavar="FILE", help="the file; of a model in parts, any part")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with ModelFile(args.file) as file:
        if args.json:
            print(json.dumps(_as_json(file), indent=1, allow_nan=False))
        else:
            _print(file)
    return 0


def _totals(file: ModelFile) -> list[tuple[str, int, int, int]]:
    """Per tensor type: name, tensors, bytes, weights; largest first."""
    tensors, nbytes, weights = Counter[str](), Counter[str](), Counter[str]()
    for info in file.tensors.values():
        tensors[info.type.name] += 1
        nbytes[info.type.name] += info.nbytes
        weights[info.type.name] += math.prod(info.shape)
    return [(t, tensors[t], n, weights[t]) for t, n in nbytes.most_common()]


def _as_json(file: ModelFile) -> dict[str, Any]:
    totals = _totals(file)
    return {
        "path": str(file.path),
        "format": file.format,
        "version": file.version,
        "alignment": file.alignment,
        "parts": len(file.parts),
        "nbytes": file.nbytes,
        "parameters": sum(weights for *_, weights in totals),
        "metadata": {key: _plain(value) for key, value in file.metadata.items()},
        "tensors": [
            {
                "name": info.name,
                "type": info.type.name,
                "shape": list(info.shape),
                "part": info.part,
                "offset": info.offset,
                "nbytes": info.nbytes,
            }
            for info in file.tensors.values()
        ],
        "types": {
            name: {"tensors": count, "nbytes": nbytes, "parameters": weights}
            for name, count, nbytes, weights in totals
        },
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it, which knows neither NaN nor infinity."""
    if isinstance(value, (StringArray, NumericArray)):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _print(file: ModelFile) -> None:
    parts = f" in {len(file.parts)} parts" if len(file.parts) > 1 else ""
    path = printable(str(file.path))
    print(f"{path}: {file.format}, {_size(file.nbytes)}{parts}\n\nmetadata")
    for key, value in file.metadata.items():
        print(f"  {printable(key)} = {_short(value)}")
    print("\ntensors")
    for info in file.tensors.values():
        shape = " x ".join(map(str, info.shape))
        print(
            f"  {printable(info.name):32} {info.type.name:6} {shape:>16} {_size(info.nbytes):>10}"
        )
    print("\ntypes")
    totals = _totals(file)
    for name, count, nbytes, weights in totals:
        print(
            f"  {name:6} {count:5} tensors {_size(nbytes):>10} {weights:>14,} weights"
            f" {8 * nbytes / weights:7.3f} bits each"
        )
    nbytes = sum(total for _, _, total, _ in totals)
    weights = sum(total for *_, total in totals)
    if weights:
        print(
            f"\n{weights:,} weights in {_size(nbytes)}: {8 * nbytes / weights:.3f} bits per weight"
        )


def _short(value: Any) -> str:
    if isinstance(value, (StringArray, NumericArray)):
        head = ", ".join(_short(entry) for entry in value[:SHOWN_ENTRIES])
        return f"[{head}{', ...' if len(value) > SHOWN_ENTRIES else ''}] ({len(value)} entries)"
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def _size(nbytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.2f} GiB"
