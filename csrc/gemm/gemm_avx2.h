/*
 * gemm_gG[_min] on 256-bit vectors, for every way to multiply codes; include it inside the target
 * region. Rows lie in lanes: the 16 of a tile meet up to 4 columns at a time, a column's dword
 * being loaded once and broadcast. Columns beyond cols are computed, not stored; fewer rows than
 * lanes are a masked store. The order of additions is that of the scalar.
 */
#ifndef LK_GEMM_AVX2_H
#define LK_GEMM_AVX2_H

#include "half.h"
#include "kernels.h"

typedef __m256i i8x32, u8x32, sum_i32x8;
typedef __m256 sum_f32x8;

#define LANES 8
#define VECTORS (LK_TILE_ROWS / LANES)
#define COLS 4 /* computed together */

/* The same dword of `a` in all lanes. */
LK_INLINE u8x32 four_of(const uint8_t *a) {
    return _mm256_set1_epi32((int)lk_load_u32(a));
}

/* Dword i of 8 rows. */
LK_INLINE i8x32 load_q(const int8_t *q, int i, int vector) {
    return _mm256_loadu_si256((const __m256i *)(q + 4 * LK_TILE_ROWS * i + 32 * vector));
}

/* The includer's: adds n dwords of the codes of 16 rows times those of the columns, 32 bytes apart;
 * in one of its ways, of which 0 takes the 128 off the activations. */
LK_INLINE void multiply(sum_i32x8 sum[VECTORS][COLS], const int8_t *q, const uint8_t *a, int n,
                        int way);

/* Where the groups of the next 32 elements begin. */
typedef struct {
    const int8_t *q;
    const int32_t *start;
    const float *scale, *min;
} place;

/* acc += the 32 elements of one panel step. */
LK_INLINE void step(sum_f32x8 acc[VECTORS][COLS], const place *at, const lk_panel_block *panel,
                    int column, int groups, int has_min, int way) {
    sum_f32x8 scaled[VECTORS][COLS];
    LK_UNROLL
    for (int g = 0; g < groups; g++) {
        const int n = 8 / groups;
        sum_i32x8 sum[VECTORS][COLS];
        LK_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            const int32_t *start = at->start + LK_TILE_ROWS * g + LANES * v;
            LK_UNROLL
            for (int c = 0; c < COLS; c++)
                sum[v][c] =
                    way ? _mm256_loadu_si256((const __m256i *)start) : _mm256_setzero_si256();
        }
        multiply(sum, at->q + 4 * LK_TILE_ROWS * n * g, panel->q[column] + 4 * n * g, n, way);
        LK_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            const __m256 scale = _mm256_loadu_ps(at->scale + LK_TILE_ROWS * g + LANES * v);
            LK_UNROLL
            for (int c = 0; c < COLS; c++) {
                const __m256 value = _mm256_cvtepi32_ps(sum[v][c]);
                scaled[v][c] = g == 0 ? _mm256_mul_ps(value, scale)
                                      : _mm256_fmadd_ps(value, scale, scaled[v][c]);
            }
        }
    }
    LK_UNROLL
    for (int c = 0; c < COLS; c++) {
        LK_UNROLL
        for (int v = 0; v < VECTORS; v++)
            acc[v][c] =
                _mm256_fmadd_ps(scaled[v][c], _mm256_set1_ps(panel->d[column + c]), acc[v][c]);
        LK_UNROLL
        for (int g = 0; g < groups && has_min; g++) {
            const float s = (groups == 1 ? panel->s32 : panel->s16[g])[column + c];
            LK_UNROLL
            for (int v = 0; v < VECTORS; v++)
                acc[v][c] =
                    _mm256_fnmadd_ps(_mm256_loadu_ps(at->min + LK_TILE_ROWS * g + LANES * v),
                                     _mm256_set1_ps(s), acc[v][c]);
        }
    }
}

/* A tile times COLS columns over the whole k. */
LK_INLINE void block(float *y, ptrdiff_t y_stride, const lk_tile *t, const lk_panel_block *panel,
                     int k, int column, int rows, int cols, int accumulate, int groups, int has_min,
                     int way) {
    place at = {t->q, t->start, t->scale, t->min};
    sum_f32x8 acc[VECTORS][COLS];
    LK_UNROLL
    for (int v = 0; v < VECTORS; v++) {
        LK_UNROLL
        for (int c = 0; c < COLS; c++)
            acc[v][c] = _mm256_setzero_ps();
    }
    for (const lk_panel_block *end = panel + k / 32; panel < end; panel++) {
        step(acc, &at, panel, column, groups, has_min, way);
        at.q += 32 * LK_TILE_ROWS;
        at.start += groups * LK_TILE_ROWS;
        at.scale += groups * LK_TILE_ROWS;
        if (has_min)
            at.min += groups * LK_TILE_ROWS;
    }
    LK_UNROLL
    for (int v = 0; v < VECTORS; v++) {
        const __m256i lanes = _mm256_cmpgt_epi32(_mm256_set1_epi32(rows - LANES * v),
                                                 _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        if (LANES * v >= rows)
            break;
        LK_UNROLL
        for (int c = 0; c < COLS; c++) {
            if (column + c >= cols) /* storing nothing takes hundreds of cycles beyond a page */
                break;
            float *out = y + (column + c) * y_stride + LANES * v;
            if (accumulate)
                acc[v][c] = _mm256_add_ps(acc[v][c], _mm256_maskload_ps(out, lanes));
            _mm256_maskstore_ps(out, lanes, acc[v][c]);
        }
    }
}

LK_INLINE void gemm(float *y, ptrdiff_t y_stride, const lk_tile *tiles, const lk_panel_block *panel,
                    int k, int rows, int cols, int accumulate, int groups, int has_min, int way) {
    for (int r = 0; r < rows; r += LK_TILE_ROWS, tiles++)
        for (int c = 0; c < cols; c += COLS)
            block(y + r, y_stride, tiles, panel, k, c, rows - r, cols, accumulate, groups, has_min,
                  way);
}

#endif
