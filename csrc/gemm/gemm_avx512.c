/*
 * gemm_gG[_min]: formula in gemm_scalar.c, tile and panel in kernels.h. Rows lie in lanes: the 8
 * registers of a tile's 32-element step meet each column's 8 dwords, broadcast from memory inside
 * VPDPBUSD, so the loop has no shuffle. The zero point is the accumulator's start, -zero * sum.
 * Bound: a sum starts within 32 * 128 * 127 and moves by at most 32 * 255 * 127 < 2^21.
 * Columns are computed 4, 8 or 12 at a time (unused ones are zero) and only cols are stored; a
 * tile of fewer than 16 rows has a masked store. The order of additions is that of the scalar.
 */
#include "kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

typedef __m512i u8x64, sum_i32x16;
typedef __m512 sum_f32x16;
typedef int32_t __attribute__((may_alias, aligned(1))) four_i8;

/* Compilers do not fold this broadcast into the instruction by themselves. */
LK_INLINE sum_i32x16 dot4(sum_i32x16 sum, u8x64 w, const int8_t *a) {
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const four_i8 *)a));
    return sum;
}

/* What a step needs of each column beside q: one vector operation, then broadcasts from here. */
typedef struct {
    int32_t start[2][16]; /* -zero * sum of q over the group */
    float d_sum[2][16];   /* d * sum of q over the group */
} __attribute__((aligned(64))) column_terms;

LK_INLINE void group_terms(column_terms *terms, int g, const int32_t *sum, const float *d,
                           __m512i minus_zero, int has_min) {
    const __mmask16 columns = 0xfff;
    const __m512i q_sum = _mm512_maskz_loadu_epi32(columns, sum);
    _mm512_store_si512(terms->start[g], _mm512_mullo_epi32(q_sum, minus_zero));
    if (has_min)
        _mm512_store_ps(terms->d_sum[g], _mm512_mul_ps(_mm512_cvtepi32_ps(q_sum),
                                                       _mm512_maskz_loadu_ps(columns, d)));
}

/* acc[c] += the 32-element step at q, for columns 0 .. n - 1. */
LK_INLINE void step(sum_f32x16 *acc, const uint8_t *q, const float *scale, const float *min,
                    __m512i minus_zero, const lk_panel_block *panel, int groups, int n) {
    column_terms terms;
    u8x64 w[8];
    if (groups == 1) {
        group_terms(&terms, 0, panel->sum, panel->d, minus_zero, min != NULL);
    } else {
        group_terms(&terms, 0, panel->sum_lo, panel->d, minus_zero, min != NULL);
        group_terms(&terms, 1, panel->sum_hi, panel->d, minus_zero, min != NULL);
    }
    LK_UNROLL
    for (int i = 0; i < 8; i++)
        w[i] = _mm512_loadu_si512(q + 64 * i);
    LK_UNROLL
    for (int c0 = 0; c0 < n; c0 += 4) {
        LK_UNROLL
        for (int g = 0; g < groups; g++) {
            const int first = 4 * g, last = groups == 1 ? 8 : first + 4;
            sum_i32x16 sum[4];
            LK_UNROLL
            for (int c = 0; c < 4; c++)
                sum[c] = _mm512_set1_epi32(terms.start[g][c0 + c]);
            LK_UNROLL
            for (int i = first; i < last; i++) {
                LK_UNROLL
                for (int c = 0; c < 4; c++)
                    sum[c] = dot4(sum[c], w[i], &panel->q[c0 + c][4 * i]);
            }
            const __m512 s = _mm512_loadu_ps(scale + 16 * g);
            LK_UNROLL
            for (int c = 0; c < 4; c++) {
                const __m512 d = _mm512_set1_ps(panel->d[c0 + c]);
                acc[c0 + c] =
                    _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[c]), _mm512_mul_ps(s, d), acc[c0 + c]);
                if (min)
                    acc[c0 + c] =
                        _mm512_fnmadd_ps(_mm512_loadu_ps(min + 16 * g),
                                         _mm512_set1_ps(terms.d_sum[g][c0 + c]), acc[c0 + c]);
            }
        }
    }
}

LK_INLINE void gemm_cols(float *y, ptrdiff_t y_stride, const lk_tile *tile,
                         const lk_panel_block *panel, int k, int rows, int cols, int accumulate,
                         int groups, int has_min, int n) {
    sum_f32x16 acc[LK_PANEL_COLS];
    const __m512i minus_zero = _mm512_set1_epi32(-tile->zero);
    const uint8_t *q = tile->q;
    const float *scale = tile->scale, *min = tile->min;
    LK_UNROLL
    for (int c = 0; c < n; c++)
        acc[c] = _mm512_setzero_ps();
    for (int b = 0; b < k / 32; b++) {
        step(acc, q, scale, has_min ? min : NULL, minus_zero, &panel[b], groups, n);
        q += 32 * LK_TILE_ROWS;
        scale += groups * LK_TILE_ROWS;
        if (has_min)
            min += groups * LK_TILE_ROWS;
    }
    const __mmask16 lanes = (__mmask16)(0xffff >> (LK_TILE_ROWS - rows));
    LK_UNROLL
    for (int c = 0; c < n; c++) {
        float *out = y + c * y_stride;
        const __mmask16 stored = c < cols ? lanes : 0;
        if (accumulate)
            acc[c] = _mm512_add_ps(acc[c], _mm512_maskz_loadu_ps(stored, out));
        _mm512_mask_storeu_ps(out, stored, acc[c]);
    }
}

#define GEMM(name, groups, has_min)                                                                \
    void name##_avx512(float *y, ptrdiff_t y_stride, const lk_tile *tile,                          \
                       const lk_panel_block *panel, int k, int rows, int cols, int accumulate) {   \
        if (cols > 8)                                                                              \
            gemm_cols(y, y_stride, tile, panel, k, rows, cols, accumulate, groups, has_min, 12);   \
        else if (cols > 4)                                                                         \
            gemm_cols(y, y_stride, tile, panel, k, rows, cols, accumulate, groups, has_min, 8);    \
        else                                                                                       \
            gemm_cols(y, y_stride, tile, panel, k, rows, cols, accumulate, groups, has_min, 4);    \
    }
GEMM(gemm_g32, 1, 0)
GEMM(gemm_g32_min, 1, 1)
GEMM(gemm_g16, 2, 0)
GEMM(gemm_g16_min, 2, 1)

LK_END
#endif
