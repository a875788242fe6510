"""A picture of a model's pages, PNG: tensors are rows, pages are columns. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from llamacpp.format import ModelFile, TensorInfo
from llamacpp.measure.page_map import shares
from llamacpp.memory import Pages
from llamacpp.memory.pages import PAGE, count_pages

__all__ = ["save_picture"]

ABSENT, RESIDENT, TOUCHED = (
    np.array(colour) / 255 for colour in ((0xE3, 0xE3, 0xE3), (0x9C, 0xCB, 0xE8), (0, 0x4C, 0x80))
)
LEAST = 0.35  # how much of its colour a cell has that is touched at all
COLUMNS = 1200
ROW, MARGIN, WIDTH = 0.07, 1.5, 11.0  # inches


def save_picture(
    path: str | Path, file: ModelFile, resident: Pages | None, touched: Pages | None
) -> None:
    """Draw all tensors of a model file, in order and at one scale.

    Args:
        path: the PNG to write.
        file: whose tensors.
        resident: pages in the page cache; None if this is not known.
        touched: pages that were touched; None if this is not known.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = list(file.tensors.values())
    pages = max(count_pages(info.nbytes) for info in tensors) + 1  # one may be shared
    per_cell = -(-pages // COLUMNS)
    image = np.ones((len(tensors), -(-pages // per_cell), 3))
    for row, info in zip(image, tensors, strict=True):
        colours = _colours(info, resident, touched, per_cell)
        row[: len(colours)] = colours
    drawn = Figure(figsize=(WIDTH, MARGIN + ROW * len(tensors)), layout="constrained")
    axes = drawn.add_subplot()
    axes.imshow(
        image, aspect="auto", interpolation="nearest",
        extent=(0, image.shape[1] * per_cell * PAGE / 1e6, len(tensors), 0),
    )  # fmt: skip
    axes.spines[:].set_visible(False)
    marks = _marks(tensors)
    axes.set_yticks([i + 0.5 for i in marks], list(marks.values()), fontsize=5)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel(f"MB of the tensor, in pages of {PAGE:,} bytes", fontsize=8)
    axes.set_title(file.path.name, loc="left", fontsize=11, weight="bold")
    states = {"touched": TOUCHED, "in memory, not touched": RESIDENT, "not in memory": ABSENT}
    drawn.legend(
        handles=[Patch(color=colour, label=name) for name, colour in states.items()],
        loc="outside lower left", ncols=3, frameon=False, fontsize=8,
    )  # fmt: skip
    drawn.savefig(path, format="png", dpi=150)


def _colours(
    info: TensorInfo, resident: Pages | None, touched: Pages | None, per_cell: int
) -> npt.NDArray[np.float64]:
    """A colour (cells, 3) for each cell of a tensor."""
    there, read = (
        np.zeros((1, 1)) if pages is None else shares(pages.of(info), per_cell)[:, None]
        for pages in (resident, touched)
    )
    strength = np.where(read > 0, LEAST + (1 - LEAST) * read, 0)
    below = ABSENT + (RESIDENT - ABSENT) * there
    return below + (TOUCHED - below) * strength


def _marks(tensors: Sequence[TensorInfo]) -> dict[int, str]:
    """Rows that have a label: those outside blocks, and the first one of each block."""
    marks, block = dict[int, str](), ""
    for i, info in enumerate(tensors):
        of = ".".join(info.name.split(".")[:2]) if info.name.startswith("blk.") else info.name
        if of != block:
            marks[i] = block = of
    return marks
