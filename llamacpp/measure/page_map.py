"""Pictures of a model's pages: for the terminal, and what both kinds of picture are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from llamacpp.format import TensorInfo
from llamacpp.memory import Pages
from llamacpp.memory.pages import BoolArray, count_pages

__all__ = ["page_map", "printable", "shares"]

FEW = 3  # so many lines that look alike are shown, more are folded
BLOCKS, ASCII = "█▓▒░·", "#+=-."
MEANINGS = ("touched", "touched in part", "in memory", "in memory in part")
REST = len(MEANINGS)


def shares(pages: BoolArray, per_cell: int) -> npt.NDArray[np.float64]:
    """Cut pages into cells of so many, the last one smaller; the share of each that is True."""
    starts = np.arange(0, len(pages), per_cell)
    sums = np.add.reduceat(pages, starts, dtype=np.float64)
    return sums / np.diff(starts, append=len(pages))


def page_map(
    tensors: Sequence[TensorInfo],
    resident: Pages | None,
    touched: Pages | None,
    *,
    width: int = 80,
    encoding: str = "utf-8",
) -> str:
    """Draw a line for each tensor, all at one scale, and fold lines that look alike.

    Args:
        tensors: what to draw.
        resident: pages in the page cache; None if this is not known.
        touched: pages that were touched; None if this is not known.
        width: characters of a line.
        encoding: of the terminal; where it lacks blocks, ASCII stands for them.
    """
    glyphs = BLOCKS if _knows(encoding, BLOCKS) else ASCII
    names = max(len(printable(info.name)) for info in tensors)
    columns = max(width - names - len("  1,234.5 MB  "), 8)
    pages = max(count_pages(info.nbytes) for info in tensors) + 1  # one may be shared
    per_cell = -(-pages // columns)
    rows = [(info, _looks(info, resident, touched, per_cell)) for info in tensors]
    meanings = (*MEANINGS, "not touched" if resident is None else "not in memory")
    lines = []
    for look, group in groupby(rows, lambda row: _whole(row[1])):
        same = list(group)
        fold = look is not None and len(same) > FEW + 1
        for info, looks in same[: FEW if fold else None]:
            cells = "".join(glyphs[i] for i in looks)
            lines.append(f"{printable(info.name):{names}}  {info.nbytes / 1e6:7,.1f} MB  {cells}")
        if fold:
            lines.append(f"... and {len(same) - FEW} more, all {meanings[look or 0]}")
    used = sorted({look for _, looks in rows for look in looks})
    legend = [f"{glyphs[look]} {meanings[look]}" for look in used]
    scale = f"a character: {per_cell:,} page{'s' * (per_cell != 1)}"
    return "\n".join([*lines, "", "   ".join([*legend, scale])])


def _looks(
    info: TensorInfo, resident: Pages | None, touched: Pages | None, per_cell: int
) -> list[int]:
    """For each cell of a tensor, what it looks like: an index of glyphs and meanings."""
    found = [
        np.zeros(1) if p is None else shares(p.of(info), per_cell) for p in (touched, resident)
    ]
    read, there = np.broadcast_arrays(*found)
    states = [read == 1, read > 0, there == 1, there > 0]
    looks: list[int] = np.select(states, list(range(REST)), REST).tolist()
    return looks


def _whole(looks: list[int]) -> int | None:
    """What all of a tensor looks like; None if its cells differ."""
    return looks[0] if len(set(looks)) == 1 else None


def printable(name: str) -> str:
    """A name without characters that could play tricks on a terminal."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _knows(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
