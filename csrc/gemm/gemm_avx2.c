/*
 * gemm_gG[_min]: formula in gemm_scalar.c, tile and panel in kernels.h. Rows lie in lanes: 8 rows
 * meet 4 columns at a time, a column's dword being broadcast. VPMADDUBSW multiplies activations of
 * up to 255 with weights and adds pairs in int16, where further pairs are added as long as they
 * fit: 2 * 255 * |q| * pairs <= 32767 allows 8 for |q| <= 8, 4 for 16, 2 for 32 (32640 each).
 * VPMADDWD by ones widens to int32, which starts at the tile's -128 * sum of q. Q8_0, |q| <= 128,
 * moves the sign of q to the activation without its 128: 2 * 128 * 127 = 32512, one pair at a time.
 * Columns beyond cols are computed, not stored; fewer than 8 rows are a masked store. The order of
 * additions is that of the scalar.
 */
#include "half.h"
#include "kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

typedef __m256i i8x32, u8x32, sum_i16x16, sum_i32x8;
typedef __m256 sum_f32x8;

#define ROW_LANES 8
#define COLS 4 /* computed together */

LK_INLINE u8x32 four_of(const uint8_t *a) {
    return _mm256_set1_epi32((int)lk_load_u32(a));
}

LK_INLINE i8x32 load_q(const int8_t *q, int i) {
    return _mm256_loadu_si256((const __m256i *)(q + 4 * LK_TILE_ROWS * i));
}

/* Adds n dwords of 4 columns; `pairs` of them go together in int16. */
LK_INLINE void dot_codes(sum_i32x8 sum[COLS], const int8_t *q, const uint8_t *a, int n, int pairs) {
    LK_UNROLL
    for (int i = 0; i < n; i += pairs) {
        sum_i16x16 part[COLS];
        LK_UNROLL
        for (int j = 0; j < pairs; j++) {
            const i8x32 w = load_q(q, i + j);
            LK_UNROLL
            for (int c = 0; c < COLS; c++) {
                const sum_i16x16 two = _mm256_maddubs_epi16(four_of(a + 32 * c + 4 * (i + j)), w);
                part[c] = j == 0 ? two : _mm256_add_epi16(part[c], two);
            }
        }
        LK_UNROLL
        for (int c = 0; c < COLS; c++)
            sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(part[c], _mm256_set1_epi16(1)));
    }
}

LK_INLINE void dot_bytes(sum_i32x8 sum[COLS], const int8_t *q, const uint8_t *a, int n) {
    LK_UNROLL
    for (int i = 0; i < n; i++) {
        const i8x32 w = load_q(q, i);
        const u8x32 magnitude = _mm256_abs_epi8(w);
        LK_UNROLL
        for (int c = 0; c < COLS; c++) {
            const i8x32 x =
                _mm256_xor_si256(four_of(a + 32 * c + 4 * i), _mm256_set1_epi8((char)0x80));
            const sum_i16x16 two = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, w));
            sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(two, _mm256_set1_epi16(1)));
        }
    }
}

/* Where the groups of the next 32 elements of 8 rows begin. */
typedef struct {
    const int8_t *q;
    const int32_t *start;
    const float *scale, *min;
} place;

/* acc += the 32 elements of one panel step; pairs = 0: bytes. */
LK_INLINE void step(sum_f32x8 acc[COLS], const place *at, const lk_panel_block *panel, int column,
                    int groups, int has_min, int pairs) {
    sum_f32x8 scaled[COLS];
    LK_UNROLL
    for (int g = 0; g < groups; g++) {
        const int n = 8 / groups;
        const int8_t *q = at->q + 4 * LK_TILE_ROWS * n * g;
        const uint8_t *a = panel->q[column] + 4 * n * g;
        const __m256i start = _mm256_loadu_si256((const __m256i *)(at->start + LK_TILE_ROWS * g));
        const __m256 scale = _mm256_loadu_ps(at->scale + LK_TILE_ROWS * g);
        sum_i32x8 sum[COLS];
        LK_UNROLL
        for (int c = 0; c < COLS; c++)
            sum[c] = pairs ? start : _mm256_setzero_si256();
        if (pairs)
            dot_codes(sum, q, a, n, pairs < n ? pairs : n);
        else
            dot_bytes(sum, q, a, n);
        LK_UNROLL
        for (int c = 0; c < COLS; c++) {
            const __m256 value = _mm256_cvtepi32_ps(sum[c]);
            scaled[c] =
                g == 0 ? _mm256_mul_ps(value, scale) : _mm256_fmadd_ps(value, scale, scaled[c]);
        }
    }
    LK_UNROLL
    for (int c = 0; c < COLS; c++)
        acc[c] = _mm256_fmadd_ps(scaled[c], _mm256_set1_ps(panel->d[column + c]), acc[c]);
    LK_UNROLL
    for (int g = 0; g < groups; g++) {
        const float *s = groups == 1 ? panel->s32 : panel->s16[g];
        LK_UNROLL
        for (int c = 0; c < COLS; c++)
            if (has_min)
                acc[c] = _mm256_fnmadd_ps(_mm256_loadu_ps(at->min + LK_TILE_ROWS * g),
                                          _mm256_set1_ps(s[column + c]), acc[c]);
    }
}

/* Up to 8 rows x 4 columns over the whole k. */
LK_INLINE void block(float *y, ptrdiff_t y_stride, place at, const lk_panel_block *panel, int k,
                     int column, int rows, int cols, int accumulate, int groups, int has_min,
                     int pairs) {
    sum_f32x8 acc[COLS];
    LK_UNROLL
    for (int i = 0; i < COLS; i++)
        acc[i] = _mm256_setzero_ps();
    for (const lk_panel_block *end = panel + k / 32; panel < end; panel++) {
        step(acc, &at, panel, column, groups, has_min, pairs);
        at.q += 32 * LK_TILE_ROWS;
        at.start += groups * LK_TILE_ROWS;
        at.scale += groups * LK_TILE_ROWS;
        if (has_min)
            at.min += groups * LK_TILE_ROWS;
    }
    const __m256i lanes =
        _mm256_cmpgt_epi32(_mm256_set1_epi32(rows), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    LK_UNROLL
    for (int i = 0; i < COLS; i++) {
        float *out = y + (column + i) * y_stride;
        const __m256i stored = column + i < cols ? lanes : _mm256_setzero_si256();
        if (accumulate)
            acc[i] = _mm256_add_ps(acc[i], _mm256_maskload_ps(out, stored));
        _mm256_maskstore_ps(out, stored, acc[i]);
    }
}

LK_INLINE void gemm(float *y, ptrdiff_t y_stride, const lk_tile *tiles, const lk_panel_block *panel,
                    int k, int rows, int cols, int accumulate, int groups, int has_min, int pairs) {
    for (int r = 0; r < rows; r += ROW_LANES) {
        const lk_tile *t = &tiles[r / LK_TILE_ROWS];
        const int lane = r % LK_TILE_ROWS;
        const place at = {t->q + 4 * lane, t->start + lane, t->scale + lane,
                          has_min ? t->min + lane : NULL};
        for (int c = 0; c < cols; c += COLS)
            block(y + r, y_stride, at, panel, k, c, rows - r, cols, accumulate, groups, has_min,
                  pairs);
    }
}

#define GEMM(name, groups, has_min)                                                                \
    void name##_avx2(float *y, ptrdiff_t y_stride, const lk_tile *tiles,                           \
                     const lk_panel_block *panel, int k, int rows, int cols, int accumulate) {     \
        const int q_max = tiles->q_max;                                                            \
        if (q_max <= 8)                                                                            \
            gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min, 8);        \
        else if (q_max <= 16)                                                                      \
            gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min, 4);        \
        else if (q_max <= 32)                                                                      \
            gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min, 2);        \
        else                                                                                       \
            gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min, 0);        \
    }
GEMM(gemm_g32, 1, 0)
GEMM(gemm_g32_min, 1, 1)
GEMM(gemm_g16, 2, 0)
GEMM(gemm_g16_min, 2, 1)

LK_END
#endif
