"""The kernel table of the built extension: what must have a version of its own, and where."""

from __future__ import annotations

import platform

import pytest

from llamacpp._native import ffi, lib

SLOTS = {ffi.string(lib.lk_kernel_name(i)).decode(): i for i in range(lib.lk_n_kernels())}
LEVELS = {ffi.string(lib.lk_level_name(i)).decode(): i for i in range(lib.LK_N_LEVELS)}
SIMD = ("avx2", "avx512") if platform.machine() in ("x86_64", "AMD64") else ("neon", "neon_dot")


def missing(level: str, prefixes: tuple[str, ...]) -> list[str]:
    names = [slot for slot in SLOTS if slot.startswith(prefixes)]
    return [name for name in names if not lib.lk_kernel_has(SLOTS[name], LEVELS[level])]


def test_every_slot_has_a_scalar_version() -> None:
    assert missing("scalar", ("",)) == []


@pytest.mark.parametrize("level", SIMD)
def test_every_quantised_type_and_tile_product_has_its_own_version(level: str) -> None:
    assert missing(level, ("dot_q", "gemm_")) == []


def test_the_lowest_simd_level_covers_all_but_rows_skinny_products_and_what_sorts() -> None:
    rest = [
        n for n in missing(SIMD[0], ("",)) if not n.startswith(("row_", "skinny_", "quantize_tq"))
    ]
    assert rest == []


def test_slots_and_levels_that_do_not_exist_are_refused() -> None:
    assert lib.lk_kernel_name(-1) == ffi.NULL
    assert lib.lk_kernel_name(len(SLOTS)) == ffi.NULL
    assert lib.lk_kernel_has(len(SLOTS), 0) == 0
    assert lib.lk_kernel_has(0, lib.LK_N_LEVELS) == 0
