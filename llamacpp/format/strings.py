"""Walking the strings of a metadata array, whose byte length no field states: done in C."""

from __future__ import annotations

from array import array

from llamacpp._native import check, ffi, lib

__all__ = ["string_offsets", "walk_strings"]


def walk_strings(
    data: memoryview, have: int, pos: int, count: int, length_width: int
) -> tuple[int, int]:
    """Step over up to `count` strings that lie wholly before `have`.

    Returns:
        How many strings were stepped over, and the position after the last of them.
    """
    walked, end = ffi.new("size_t *"), ffi.new("size_t *")
    status = lib.lk_gguf_walk_strings(
        ffi.from_buffer("uint8_t[]", data), have, pos, count, length_width, walked, end
    )
    if status != lib.LK_ERR_TRUNCATED:
        check(status, "walk the strings of a metadata array")
    return walked[0], end[0]


def string_offsets(data: memoryview, count: int, length_width: int) -> array[int]:
    """Positions of the length fields of the `count` strings in `data`, and the end of the last."""
    offsets = array("Q", bytes(8 * (count + 1)))
    status = lib.lk_gguf_string_offsets(
        ffi.from_buffer("uint8_t[]", data),
        len(data),
        count,
        length_width,
        ffi.from_buffer("uint64_t[]", offsets, require_writable=True),
    )
    check(status, "index the strings of a metadata array")
    return offsets
