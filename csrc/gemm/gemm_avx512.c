/*
 * gemm_gG[_min]: formula in gemm_scalar.c, tile and panel in kernels.h. Rows lie in lanes. Two
 * tiles, 32 rows, meet up to 6 columns at a time: each dword of a column is loaded once, broadcast,
 * and multiplied with both tiles by VPDPBUSD, activations unsigned, weights signed, no shuffle. A
 * sum starts at the tile's -128 * sum of q and moves by at most 32 * 255 * 128 < 2^21. Of the slots
 * of the multipliers, 8 of 10 are products of weights, the others scale a sum (9 of 11 with
 * minima). Columns beyond cols are computed, not stored; fewer rows than a tile are a masked store.
 * The order of additions is that of the scalar.
 */
#include "kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

typedef __m512i q_i8x64, a_u8x64, sum_i32x16;
typedef __m512 sum_f32x16;
typedef int32_t __attribute__((may_alias, aligned(1))) four_u8;

#define MAX_TILES 2
#define MAX_COLS 12

/* Sums of `steps` dwords from step `first` on: n_tiles by n columns of a group. */
LK_INLINE void multiply(sum_i32x16 sum[MAX_TILES][MAX_COLS], const int8_t *const q[MAX_TILES],
                        const lk_panel_block *panel, int column, int first, int steps, int n_tiles,
                        int n) {
    LK_UNROLL
    for (int i = first; i < first + steps; i++) {
        q_i8x64 w[MAX_TILES];
        LK_UNROLL
        for (int t = 0; t < n_tiles; t++)
            w[t] = _mm512_loadu_si512(q[t] + 64 * i);
        LK_UNROLL
        for (int c = 0; c < n; c++) {
            const a_u8x64 a = _mm512_set1_epi32(*(const four_u8 *)&panel->q[column + c][4 * i]);
            LK_UNROLL
            for (int t = 0; t < n_tiles; t++)
                sum[t][c] = _mm512_dpbusd_epi32(sum[t][c], a, w[t]);
        }
    }
}

/* Where the groups of the next 32 elements begin in each tile. */
typedef struct {
    const int8_t *q[MAX_TILES];
    const int32_t *start[MAX_TILES];
    const float *scale[MAX_TILES], *min[MAX_TILES];
} place;

/* acc += the 32 elements of one panel step. */
LK_INLINE void step(sum_f32x16 acc[MAX_TILES][MAX_COLS], const place *at,
                    const lk_panel_block *panel, int column, int groups, int has_min, int n_tiles,
                    int n) {
    sum_f32x16 scaled[MAX_TILES][MAX_COLS];
    LK_UNROLL
    for (int g = 0; g < groups; g++) {
        sum_i32x16 sum[MAX_TILES][MAX_COLS];
        LK_UNROLL
        for (int t = 0; t < n_tiles; t++) {
            const sum_i32x16 start = _mm512_loadu_si512(at->start[t] + LK_TILE_ROWS * g);
            LK_UNROLL
            for (int c = 0; c < n; c++)
                sum[t][c] = start;
        }
        multiply(sum, at->q, panel, column, g * 8 / groups, 8 / groups, n_tiles, n);
        LK_UNROLL
        for (int t = 0; t < n_tiles; t++) {
            const __m512 scale = _mm512_loadu_ps(at->scale[t] + LK_TILE_ROWS * g);
            LK_UNROLL
            for (int c = 0; c < n; c++) {
                const __m512 value = _mm512_cvtepi32_ps(sum[t][c]);
                scaled[t][c] = g == 0 ? _mm512_mul_ps(value, scale)
                                      : _mm512_fmadd_ps(value, scale, scaled[t][c]);
            }
        }
    }
    LK_UNROLL
    for (int t = 0; t < n_tiles; t++) {
        LK_UNROLL
        for (int c = 0; c < n; c++)
            acc[t][c] =
                _mm512_fmadd_ps(scaled[t][c], _mm512_set1_ps(panel->d[column + c]), acc[t][c]);
        LK_UNROLL
        for (int g = 0; g < groups && has_min; g++) {
            const __m512 min = _mm512_loadu_ps(at->min[t] + LK_TILE_ROWS * g);
            const float *s = groups == 1 ? panel->s32 : panel->s16[g];
            LK_UNROLL
            for (int c = 0; c < n; c++)
                acc[t][c] = _mm512_fnmadd_ps(min, _mm512_set1_ps(s[column + c]), acc[t][c]);
        }
    }
}

/* n_tiles by n columns from `column` on, over the whole k. */
LK_INLINE void block(float *y, ptrdiff_t y_stride, const lk_tile *tiles,
                     const lk_panel_block *panel, int k, int rows, int column, int cols,
                     int accumulate, int groups, int has_min, int n_tiles, int n) {
    sum_f32x16 acc[MAX_TILES][MAX_COLS];
    place at;
    LK_UNROLL
    for (int t = 0; t < n_tiles; t++) {
        at.q[t] = tiles[t].q;
        at.start[t] = tiles[t].start;
        at.scale[t] = tiles[t].scale;
        at.min[t] = tiles[t].min;
        LK_UNROLL
        for (int c = 0; c < n; c++)
            acc[t][c] = _mm512_setzero_ps();
    }
    for (const lk_panel_block *end = panel + k / 32; panel < end; panel++) {
        step(acc, &at, panel, column, groups, has_min, n_tiles, n);
        LK_UNROLL
        for (int t = 0; t < n_tiles; t++) {
            at.q[t] += 32 * LK_TILE_ROWS;
            at.start[t] += groups * LK_TILE_ROWS;
            at.scale[t] += groups * LK_TILE_ROWS;
            if (has_min)
                at.min[t] += groups * LK_TILE_ROWS;
        }
    }
    LK_UNROLL
    for (int t = 0; t < n_tiles; t++) {
        const int left = rows - LK_TILE_ROWS * t;
        const __mmask16 lanes = (__mmask16)(left >= LK_TILE_ROWS ? 0xffff : (1u << left) - 1);
        LK_UNROLL
        for (int c = 0; c < n; c++) {
            if (column + c >= cols) /* storing nothing takes hundreds of cycles beyond a page */
                break;
            float *out = y + (column + c) * y_stride + LK_TILE_ROWS * t;
            const __mmask16 before = accumulate ? lanes : 0;
            _mm512_mask_storeu_ps(out, lanes,
                                  _mm512_add_ps(acc[t][c], _mm512_maskz_loadu_ps(before, out)));
        }
    }
}

/* Columns to take next of those left: 8 are twice 4, not 6 and 2, which keep fewer sums going. */
LK_INLINE int columns_of(int left) {
    return left > 8 || left == 5 || left == 6 ? 6 : left > 2 ? 4 : 2;
}

LK_INLINE void gemm(float *y, ptrdiff_t y_stride, const lk_tile *tiles, const lk_panel_block *panel,
                    int k, int rows, int cols, int accumulate, int groups, int has_min) {
    for (int c = 0, n; c < cols; c += n) {
        n = columns_of(cols - c);
#define BLOCK(tiles_, columns)                                                                     \
    block(y, y_stride, tiles, panel, k, rows, c, cols, accumulate, groups, has_min, tiles_, columns)
        if (rows > LK_TILE_ROWS && n == 6)
            BLOCK(2, 6);
        else if (rows > LK_TILE_ROWS && n == 4)
            BLOCK(2, 4);
        else if (rows > LK_TILE_ROWS)
            BLOCK(2, 2);
        else if (n == 6)
            BLOCK(1, 6);
        else if (n == 4)
            BLOCK(1, 4);
        else
            BLOCK(1, 2);
#undef BLOCK
    }
}

#define GEMM(name, groups, has_min)                                                                \
    void name##_avx512(float *y, ptrdiff_t y_stride, const lk_tile *tiles,                         \
                       const lk_panel_block *panel, int k, int rows, int cols, int accumulate) {   \
        gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min);               \
    }
GEMM(gemm_g32, 1, 0)
GEMM(gemm_g32_min, 1, 1)
GEMM(gemm_g16, 2, 0)
GEMM(gemm_g16_min, 2, 1)

LK_END
#endif
