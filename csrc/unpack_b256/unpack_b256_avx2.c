/*
 * K-quant rows to the tile of kernels.h (unpack_b256_scalar.c, k_quants_avx2.h). 32 quants of a row
 * are eight words of four, and half a line of the tile is one such word of eight rows: so either
 * half of the tile is a chain of 8 x 8 transposes of 32-bit words, and so are scales and minima.
 * Values are those of the scalar version bit for bit.
 */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

#include "../k_quants_avx2.h"
#include "tile_avx2.h"

#define ROWS 8 /* that fill a vector */

/* One super-block of eight rows. Of eight scales and minima, vector 1 is unused. */
typedef struct {
    __m256i q[8][ROWS];
    __m256 scale[2][ROWS];
    __m256 min[2][ROWS];
} k_rows;

typedef void (*k_load_fn)(k_rows *rows, int r, const void *super_block);

/* Half-lines of eight words, a tile's line apart; half-line c has word c of every row. */
static __attribute__((noinline)) void transpose(void *out, const void *rows) {
    const __m256i *row = (const __m256i *)rows;
    __m256i quad[8]; /* 4 i + c: 128-bit lane l has words 4 l + c of rows 4 i .. 4 i + 3 */
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        __m256i low01 = _mm256_unpacklo_epi32(row[i], row[i + 1]);
        __m256i high01 = _mm256_unpackhi_epi32(row[i], row[i + 1]);
        __m256i low23 = _mm256_unpacklo_epi32(row[i + 2], row[i + 3]);
        __m256i high23 = _mm256_unpackhi_epi32(row[i + 2], row[i + 3]);
        quad[i] = _mm256_unpacklo_epi64(low01, low23);
        quad[i + 1] = _mm256_unpackhi_epi64(low01, low23);
        quad[i + 2] = _mm256_unpacklo_epi64(high01, high23);
        quad[i + 3] = _mm256_unpackhi_epi64(high01, high23);
    }
    char *line = (char *)out;
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++, line += 4 * LK_TILE_ROWS) {
        __m256i low = _mm256_permute2x128_si256(quad[c], quad[4 + c], 0x20);
        __m256i high = _mm256_permute2x128_si256(quad[c], quad[4 + c], 0x31);
        _mm256_storeu_si256((__m256i *)line, low);
        _mm256_storeu_si256((__m256i *)(line + 4 * 4 * LK_TILE_ROWS), high);
    }
}

/* n_scale and n_min: vectors of eight in a super-block. */
LK_INLINE void unpack_all(k_load_fn load, const int bytes, int n_scale, int n_min,
                          const lk_tile *tile, const uint8_t *w, size_t w_stride, int k,
                          int n_rows) {
    const int group = n_scale == 1 ? 32 : 16;
    lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, (size_t)(k / LK_QK256 * bytes));
    k_rows half;
    for (int i = 0; i < 2 * k; i += LK_QK256) { /* first rows 0..7, then rows 8..15 */
        const int first = i < k ? 0 : ROWS, element = i < k ? i : i - k;
        const lk_tile step = lk_tile_from(tile, element, group);
        const lk_tile t = lk_tile_rows(&step, first);
        for (int r = 0; r < ROWS; r++)
            load(&half, r, rows.row[first + r] + element / LK_QK256 * bytes);
        for (int j = 0; j < 8; j++)
            transpose(t.q + 32 * LK_TILE_ROWS * j, half.q[j]);
        for (int j = 0; j < n_scale; j++)
            transpose(t.scale + 8 * LK_TILE_ROWS * j, half.scale[j]);
        for (int j = 0; j < n_min; j++)
            transpose(t.min + 8 * LK_TILE_ROWS * j, half.min[j]);
        lk_prefetch_next(&rows, bytes / 2);
    }
    lk_tile_starts(tile, k, group);
}

/* The eight vectors of one row go to its places, less the zero point. */
LK_INLINE void put_quants(k_rows *rows, int r, const __m256i q[8], const int zero) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        rows->q[j][r] = zero ? _mm256_sub_epi8(q[j], _mm256_set1_epi8((char)zero)) : q[j];
}

LK_INLINE void put_u8(__m256 to[2][ROWS], int r, __m128i x_u8x16, uint16_t d) {
    __m256 y[2];
    lk_scale_u8(y, x_u8x16, lk_half_to_f32x8(d));
    to[0][r] = y[0];
    to[1][r] = y[1];
}

LK_INLINE void put_i8(__m256 to[2][ROWS], int r, __m128i x_i8x16, uint16_t d) {
    __m256 y[2];
    lk_scale_i8(y, x_i8x16, lk_half_to_f32x8(d));
    to[0][r] = y[0];
    to[1][r] = y[1];
}

/* Q4_K and Q5_K. */
LK_INLINE void put_head32(k_rows *rows, int r, const uint8_t scales[12], uint16_t d,
                          uint16_t dmin) {
    __m128i sc = lk_scales_min(scales);
    put_u8(rows->scale, r, sc, d);
    put_u8(rows->min, r, _mm_unpackhi_epi64(sc, sc), dmin);
}

LK_INLINE void load_q2_K(k_rows *rows, int r, const void *super_block) {
    const block_q2_K *w = (const block_q2_K *)super_block;
    const __m128i low4 = _mm_set1_epi8(15);
    __m128i both = _mm_loadu_si128((const __m128i *)w->scales);
    __m256i q[8];
    lk_quants_q2_K(q, w);
    put_quants(rows, r, q, 0);
    put_u8(rows->scale, r, _mm_and_si128(both, low4), w->d);
    put_u8(rows->min, r, _mm_and_si128(_mm_srli_epi16(both, 4), low4), w->dmin);
}

LK_INLINE void load_q3_K(k_rows *rows, int r, const void *super_block) {
    const block_q3_K *w = (const block_q3_K *)super_block;
    __m256i q[8];
    lk_quants_q3_K(q, w);
    put_quants(rows, r, q, LK_ZERO_Q3_K);
    put_i8(rows->scale, r, lk_scales_signed_q3_K(w), w->d);
}

LK_INLINE void load_q4_K(k_rows *rows, int r, const void *super_block) {
    const block_q4_K *w = (const block_q4_K *)super_block;
    __m256i q[8];
    lk_quants_q4_K(q, w);
    put_quants(rows, r, q, 0);
    put_head32(rows, r, w->scales, w->d, w->dmin);
}

LK_INLINE void load_q5_K(k_rows *rows, int r, const void *super_block) {
    const block_q5_K *w = (const block_q5_K *)super_block;
    __m256i q[8];
    lk_quants_q5_K(q, w);
    put_quants(rows, r, q, 0);
    put_head32(rows, r, w->scales, w->d, w->dmin);
}

LK_INLINE void load_q6_K(k_rows *rows, int r, const void *super_block) {
    const block_q6_K *w = (const block_q6_K *)super_block;
    __m256i q[8];
    lk_quants_q6_K(q, w);
    put_quants(rows, r, q, LK_ZERO_Q6_K);
    put_i8(rows->scale, r, lk_scales_signed_q6_K(w), w->d);
}

LK_INLINE void load_iq4_xs(k_rows *rows, int r, const void *super_block) {
    const block_iq4_xs *w = (const block_iq4_xs *)super_block;
    __m256i q[8];
    lk_quants_iq4_xs(q, w);
    put_quants(rows, r, q, 0);
    put_i8(rows->scale, r, lk_scales_signed_iq4_xs(w), w->d);
}

#define UNPACK(name, n_scale, n_min)                                                               \
    void unpack_##name##_avx2(const lk_tile *tile, const void *w, size_t w_stride, int k,          \
                              int rows) {                                                          \
        unpack_all(load_##name, sizeof(block_##name), n_scale, n_min, tile, w, w_stride, k, rows); \
    }

UNPACK(q2_K, 2, 2)
UNPACK(q3_K, 2, 0)
UNPACK(q4_K, 1, 1)
UNPACK(q5_K, 1, 1)
UNPACK(q6_K, 2, 0)
UNPACK(iq4_xs, 1, 0)

LK_END
#endif
