/*
 * skinny_TYPE, the specification: what unpack_TYPE and then gemm_gG[_min] make of 16 rows, block by
 * block of the type.
 */
#ifndef LK_SKINNY_H
#define LK_SKINNY_H

#include "blocks.h"
#include "kernels.h"

#define SKINNY(type, k_block, gemm, has_min)                                                       \
    extern __typeof__(*(lk_unpack_fn)0) unpack_##type##_scalar;                                    \
    extern __typeof__(*(lk_gemm_fn)0) gemm##_scalar;                                               \
    void skinny_##type##_scalar(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,      \
                                const lk_panel_block *panel, int k, int rows, int cols,            \
                                int accumulate) {                                                  \
        int8_t q[(k_block) * LK_TILE_ROWS];                                                        \
        int32_t start[(k_block) / 16 * LK_TILE_ROWS];                                              \
        float scale[(k_block) / 16 * LK_TILE_ROWS], min[(k_block) / 16 * LK_TILE_ROWS];            \
        const lk_tile tile = {q, start, scale, (has_min) ? min : NULL, 128};                       \
        const block_##type *block = w;                                                             \
        for (int i = 0; i < k; i += (k_block), panel += (k_block) / 32) {                          \
            unpack_##type##_scalar(&tile, block++, w_stride, k_block, rows);                       \
            gemm##_scalar(y, y_stride, &tile, panel, k_block, rows, cols, accumulate || i > 0);    \
        }                                                                                          \
    }

#endif
