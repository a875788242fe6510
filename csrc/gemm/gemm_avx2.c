/*
 * gemm_gG[_min]: formula in gemm_scalar.c, tile and panel in kernels.h. Rows lie in lanes: 8 rows
 * meet 4 columns at a time, a column's dword being broadcast. VPMADDUBSW and VPMADDWD make the sum.
 * Bounds in int16: codes are at most 63 when zero < 128, so a pair of products is at most
 * 2 * 63 * 127 = 16002 and two pairs fit; Q8_0 (zero = 128) moves the sign to the activation,
 * 2 * 128 * 127 = 32512. The int32 start is -zero * sum. Unused columns are zero and not stored;
 * fewer than 8 rows are a masked store. The order of additions is that of the scalar.
 */
#include "half.h"
#include "kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

typedef __m256i u8x32, i8x32, sum_i16x16, sum_i32x8;
typedef __m256 sum_f32x8;

#define ROW_LANES 8
#define COLS 4 /* computed together */

/* Four columns of one group of 16 or 32 elements. */
typedef struct {
    const int8_t *q; /* the first column's; the next is 32 bytes on */
    const float *d;
    int32_t start[COLS]; /* -zero * sum of q */
    float d_sum[COLS];   /* d * sum of q */
} columns;

LK_INLINE columns columns_of(const lk_panel_block *panel, int c, int half, const int32_t *sum,
                             int zero) {
    columns a = {.q = panel->q[c] + 16 * half, .d = panel->d + c};
    const __m128i q_sum = _mm_loadu_si128((const __m128i *)(sum + c));
    _mm_storeu_si128((__m128i *)a.start, _mm_mullo_epi32(q_sum, _mm_set1_epi32(-zero)));
    _mm_storeu_ps(a.d_sum, _mm_mul_ps(_mm_cvtepi32_ps(q_sum), _mm_loadu_ps(a.d)));
    return a;
}

LK_INLINE i8x32 four_of(const int8_t *a) {
    return _mm256_set1_epi32((int)lk_load_u32(a));
}

/* Codes to 63: two dwords' pairs are added in int16. */
LK_INLINE void dot_codes(sum_i32x8 *sum, const uint8_t *w, const int8_t *a) {
    const u8x32 w0 = _mm256_loadu_si256((const __m256i *)w);
    const u8x32 w1 = _mm256_loadu_si256((const __m256i *)(w + 64));
    LK_UNROLL
    for (int c = 0; c < COLS; c++) {
        const sum_i16x16 pairs =
            _mm256_add_epi16(_mm256_maddubs_epi16(w0, four_of(a + 32 * c)),
                             _mm256_maddubs_epi16(w1, four_of(a + 32 * c + 4)));
        sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
}

/* Q8_0: bytes ^ 0x80. |w| is unsigned, a takes its sign. */
LK_INLINE void dot_bytes(sum_i32x8 *sum, const uint8_t *w, const int8_t *a) {
    LK_UNROLL
    for (int i = 0; i < 2; i++) {
        const i8x32 signed_w = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(w + 64 * i)),
                                                _mm256_set1_epi8(-128));
        const u8x32 magnitude = _mm256_abs_epi8(signed_w);
        LK_UNROLL
        for (int c = 0; c < COLS; c++) {
            const i8x32 turned = _mm256_sign_epi8(four_of(a + 32 * c + 4 * i), signed_w);
            const sum_i16x16 pairs = _mm256_maddubs_epi16(magnitude, turned);
            sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
    }
}

/* acc[c] += one group; w, scale and min point at this half of the rows. */
LK_INLINE void group_step(sum_f32x8 *acc, const uint8_t *w, const float *scale, const float *min,
                          const columns *a, int group, int bytes) {
    sum_i32x8 sum[COLS];
    LK_UNROLL
    for (int c = 0; c < COLS; c++)
        sum[c] = bytes ? _mm256_setzero_si256() : _mm256_set1_epi32(a->start[c]);
    LK_UNROLL
    for (int i = 0; i < group; i += 8) {
        if (bytes)
            dot_bytes(sum, w + 16 * i, a->q + i);
        else
            dot_codes(sum, w + 16 * i, a->q + i);
    }
    const __m256 s = _mm256_loadu_ps(scale);
    LK_UNROLL
    for (int c = 0; c < COLS; c++) {
        const __m256 product = _mm256_mul_ps(s, _mm256_set1_ps(a->d[c]));
        acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[c]), product, acc[c]);
        if (min)
            acc[c] = _mm256_fnmadd_ps(_mm256_loadu_ps(min), _mm256_set1_ps(a->d_sum[c]), acc[c]);
    }
}

/* Up to 8 rows x 4 columns over the whole k. */
LK_INLINE void block(float *y, ptrdiff_t y_stride, const lk_tile *tile, const lk_panel_block *panel,
                     int k, int r, int c, int rows, int cols, int accumulate, int group,
                     int has_min, int bytes) {
    sum_f32x8 acc[COLS];
    const int groups = group == 32 ? 1 : 2;
    const uint8_t *w = tile->q + 4 * r;
    const float *scale = tile->scale + r, *min = has_min ? tile->min + r : NULL;
    LK_UNROLL
    for (int i = 0; i < COLS; i++)
        acc[i] = _mm256_setzero_ps();
    for (int b = 0; b < k / 32; b++) {
        LK_UNROLL
        for (int g = 0; g < groups; g++) {
            const int32_t *sum = group == 32 ? panel[b].sum : g ? panel[b].sum_hi : panel[b].sum_lo;
            const columns a = columns_of(&panel[b], c, g, sum, tile->zero);
            group_step(acc, w, scale, min, &a, group, bytes);
            w += group * LK_TILE_ROWS;
            scale += LK_TILE_ROWS;
            if (has_min)
                min += LK_TILE_ROWS;
        }
    }
    const __m256i lanes =
        _mm256_cmpgt_epi32(_mm256_set1_epi32(rows), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    LK_UNROLL
    for (int i = 0; i < COLS; i++) {
        float *out = y + (c + i) * y_stride + r;
        const __m256i stored = i < cols ? lanes : _mm256_setzero_si256();
        if (accumulate)
            acc[i] = _mm256_add_ps(acc[i], _mm256_maskload_ps(out, stored));
        _mm256_maskstore_ps(out, stored, acc[i]);
    }
}

LK_INLINE void gemm(float *y, ptrdiff_t y_stride, const lk_tile *tile, const lk_panel_block *panel,
                    int k, int rows, int cols, int accumulate, int group, int has_min) {
    for (int r = 0; r < rows; r += ROW_LANES) {
        for (int c = 0; c < cols; c += COLS) {
            if (tile->zero == 128)
                block(y, y_stride, tile, panel, k, r, c, rows - r, cols - c, accumulate, group,
                      has_min, 1);
            else
                block(y, y_stride, tile, panel, k, r, c, rows - r, cols - c, accumulate, group,
                      has_min, 0);
        }
    }
}

#define GEMM(name, group, has_min)                                                                 \
    void name##_avx2(float *y, ptrdiff_t y_stride, const lk_tile *tile,                            \
                     const lk_panel_block *panel, int k, int rows, int cols, int accumulate) {     \
        gemm(y, y_stride, tile, panel, k, rows, cols, accumulate, group, has_min);                 \
    }
GEMM(gemm_g32, 32, 0)
GEMM(gemm_g32_min, 32, 1)
GEMM(gemm_g16, 16, 0)
GEMM(gemm_g16_min, 16, 1)

LK_END
#endif
