"""Pictures of pages: every pattern has its look, and pictures keep to their width."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from llamacpp import Model
from llamacpp.format import GGMLType, TensorInfo
from llamacpp.measure.page_map import page_map, shares
from llamacpp.memory import Pages, resident_pages
from llamacpp.memory.pages import PAGE


def tensor(name: str, first: int, n: int) -> TensorInfo:
    return TensorInfo(name, GGMLType.F32, (n * PAGE // 4,), first * PAGE, n * PAGE)


def pages(text: str) -> Pages:
    return Pages([np.array([mark == "x" for mark in text])])


TENSORS = [tensor("rows", 0, 8), tensor("matrix", 8, 4), tensor("unused", 12, 2)]
TOUCHED = pages("x.......xxxx..")
RESIDENT = pages("xxxxxxx.xxxx.x")


def test_shares_of_cells() -> None:
    flags = np.array([True, True, True, False, False, False, True])
    assert shares(flags, 3).tolist() == [1.0, 0.0, 1.0]
    assert shares(flags, 2).tolist() == [1.0, 0.5, 0.0, 1.0]
    assert shares(flags, 100).tolist() == [4 / 7]


def test_one_page_a_character() -> None:
    assert page_map(TENSORS, RESIDENT, TOUCHED).splitlines() == [
        "rows        0.0 MB  █▒▒▒▒▒▒·",
        "matrix      0.0 MB  ████",
        "unused      0.0 MB  ·▒",
        "",
        "█ touched   ▒ in memory   · not in memory   a character: 1 page",
    ]


def test_many_pages_a_character() -> None:
    assert page_map(TENSORS, RESIDENT, TOUCHED, width=10).splitlines() == [
        "rows        0.0 MB  ▓▒▒░",
        "matrix      0.0 MB  ██",
        "unused      0.0 MB  ░",
        "",
        "█ touched   ▓ touched in part   ▒ in memory   ░ in memory in part   a character: 2 pages",
    ]


def test_without_a_trace_and_without_residency() -> None:
    assert page_map(TENSORS[2:], RESIDENT, None).splitlines() == [
        "unused      0.0 MB  ·▒",
        "",
        "▒ in memory   · not in memory   a character: 1 page",
    ]
    assert page_map(TENSORS[:1], None, TOUCHED).splitlines() == [
        "rows      0.0 MB  █·······",
        "",
        "█ touched   · not touched   a character: 1 page",
    ]


@pytest.mark.parametrize(("encoding", "look"), [("ascii", "#======."), ("cp437", "█▒▒▒▒▒▒·")])
def test_a_terminal_without_blocks_gets_ascii(encoding: str, look: str) -> None:
    drawn = page_map(TENSORS, RESIDENT, TOUCHED, encoding=encoding)
    drawn.encode(encoding)
    assert look in drawn


def test_lines_that_look_alike_are_folded() -> None:
    many = [tensor("first", 0, 1), *(tensor(f"blk.{i}", 1 + i, 1) for i in range(9))]
    drawn = page_map(many, pages("." + "x" * 9), None).splitlines()
    assert [line.split()[0] for line in drawn[:4]] == ["first", "blk.0", "blk.1", "blk.2"]
    assert drawn[4] == "... and 6 more, all in memory"
    four = page_map(many[:5], pages("." + "x" * 9), None)
    assert "more" not in four


@pytest.mark.parametrize("width", [40, 80, 133])
def test_it_keeps_to_the_width(width: int) -> None:
    wide = [tensor("blk.0.ffn_down.weight"[: width // 3], 0, 5000)]
    everything = pages("x" * 5000)
    line = page_map(wide, everything, None, width=width).splitlines()[0]
    assert width / 2 < len(line) <= width


def test_a_name_plays_no_tricks() -> None:
    drawn = page_map([tensor("a\x1b[2J\n", 0, 1)], pages("x"), None)
    assert drawn.splitlines()[0].startswith(r"a\x1b[2J\n  ")


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_png(model: Model, tmp_path: Path) -> None:
    import matplotlib.image

    from llamacpp.measure.page_picture import ABSENT, RESIDENT, TOUCHED, save_picture

    path, there = tmp_path / "pages.png", resident_pages(model.file)
    nothing = Pages([np.zeros_like(part) for part in there.parts]) if there else None
    for resident, touched, colour in (
        (there, there, TOUCHED), (there, nothing, RESIDENT), (nothing, None, ABSENT),
    ):  # fmt: skip
        save_picture(path, model.file, resident, touched)
        pixels = matplotlib.image.imread(path)[..., :3].reshape(-1, 3)
        near = np.abs(pixels - colour).max(axis=1) < 0.01
        assert near.mean() > 0.05
