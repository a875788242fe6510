/*
 * gemm_gG[_min]: formula in gemm_scalar.c, tile and panel in kernels.h, loops in gemm_avx2.h, for
 * CPUs that have VPDPBUSD but not AVX-512. It adds four products of activations of up to 255 and
 * weights to an int32, which starts at the tile's -128 * sum of q and moves by at most
 * 32 * 255 * 128 < 2^21, whatever the type.
 */
#include "kernels.h"

#if LK_AVX_VNNI
#include <immintrin.h>

LK_BEGIN_AVX_VNNI

#include "gemm_avx2.h"

LK_INLINE void multiply(sum_i32x8 sum[VECTORS][COLS], const int8_t *q, const uint8_t *a, int n,
                        int way) {
    (void)way;
    LK_UNROLL
    for (int i = 0; i < n; i++) {
        i8x32 w[VECTORS];
        LK_UNROLL
        for (int v = 0; v < VECTORS; v++)
            w[v] = load_q(q, i, v);
        LK_UNROLL
        for (int c = 0; c < COLS; c++) {
            const u8x32 x = four_of(a + 32 * c + 4 * i);
            LK_UNROLL
            for (int v = 0; v < VECTORS; v++)
                sum[v][c] = _mm256_dpbusd_avx_epi32(sum[v][c], x, w[v]);
        }
    }
}

#define GEMM(name, groups, has_min)                                                                \
    void name##_avx_vnni(float *y, ptrdiff_t y_stride, const lk_tile *tiles,                       \
                         const lk_panel_block *panel, int k, int rows, int cols, int accumulate) { \
        gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min, 1);            \
    }
GEMM(gemm_g32, 1, 0)
GEMM(gemm_g32_min, 1, 1)
GEMM(gemm_g16, 2, 0)
GEMM(gemm_g16_min, 2, 1)

LK_END
#endif
