/*
 * K-quant rows to the tile of kernels.h (unpack_b256_scalar.c, k_quants_avx512.h). 64 quants of a
 * row are 16 words of four, and a line of the tile is one such word of 16 rows: so the tile is a
 * chain of 16 x 16 transposes of 32-bit words, and so are scales and minima. Values are those of
 * the scalar version bit for bit; exactly rows * k / 256 super-blocks are read.
 */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "../k_quants_avx512.h"
#include "tile_avx512.h"

/* One super-block of 16 rows. */
typedef struct {
    __m512i q[4][LK_TILE_ROWS];
    __m512i
        scale[LK_TILE_ROWS];   /* floats; types of eight groups: their scales, then their minima */
    __m512i min[LK_TILE_ROWS]; /* floats of Q2_K */
} k_rows;

typedef void (*k_load_fn)(k_rows *rows, int r, const void *super_block);

/* low, high: eight lines of 16 words each; line c has word c of every row. */
static __attribute__((noinline)) void transpose(void *low, void *high, const __m512i *row) {
    __m512i quad[16]; /* 4 i + c: 128-bit lane l has words 4 l + c of rows 4 i .. 4 i + 3 */
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        __m512i low01 = _mm512_unpacklo_epi32(row[i], row[i + 1]);
        __m512i high01 = _mm512_unpackhi_epi32(row[i], row[i + 1]);
        __m512i low23 = _mm512_unpacklo_epi32(row[i + 2], row[i + 3]);
        __m512i high23 = _mm512_unpackhi_epi32(row[i + 2], row[i + 3]);
        quad[i] = _mm512_unpacklo_epi64(low01, low23);
        quad[i + 1] = _mm512_unpackhi_epi64(low01, low23);
        quad[i + 2] = _mm512_unpacklo_epi64(high01, high23);
        quad[i + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    char *line = (char *)low, *line8 = (char *)high;
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++, line += 64, line8 += 64) {
        __m512i a01 = _mm512_shuffle_i32x4(quad[c], quad[4 + c], 0x44);
        __m512i b01 = _mm512_shuffle_i32x4(quad[8 + c], quad[12 + c], 0x44);
        __m512i a23 = _mm512_shuffle_i32x4(quad[c], quad[4 + c], 0xee);
        __m512i b23 = _mm512_shuffle_i32x4(quad[8 + c], quad[12 + c], 0xee);
        _mm512_storeu_si512(line, _mm512_shuffle_i32x4(a01, b01, 0x88));
        _mm512_storeu_si512(line + 256, _mm512_shuffle_i32x4(a01, b01, 0xdd));
        _mm512_storeu_si512(line8, _mm512_shuffle_i32x4(a23, b23, 0x88));
        _mm512_storeu_si512(line8 + 256, _mm512_shuffle_i32x4(a23, b23, 0xdd));
    }
}

LK_INLINE void unpack_all(k_load_fn load, size_t bytes, const int group, int has_min,
                          const lk_tile *tile, const uint8_t *w, size_t w_stride, int k, int n) {
    k_rows rows;
    memset(&rows, 0, sizeof rows);
    lk_next_rows next = lk_rows_after(w, w_stride, (size_t)(k / LK_QK256) * bytes);
    for (int i = 0; i < k; i += LK_QK256, w += bytes) {
        const lk_tile t = lk_tile_from(tile, i, group);
        for (int r = 0; r < n; r++) {
            lk_prefetch_lines(&next, (int)bytes / 64 + 1);
            load(&rows, r, w + (size_t)r * w_stride);
        }
        for (int j = 0; j < 4; j++) {
            int8_t *q = t.q + 64 * LK_TILE_ROWS * j;
            transpose(q, q + 32 * LK_TILE_ROWS, rows.q[j]);
        }
        if (group == 32) {
            transpose(t.scale, t.min, rows.scale);
            continue;
        }
        transpose(t.scale, t.scale + 8 * LK_TILE_ROWS, rows.scale);
        if (has_min)
            transpose(t.min, t.min + 8 * LK_TILE_ROWS, rows.min);
    }
    lk_tile_starts(tile, k, group);
}

/* The four vectors of one row go to its places, less the zero point. */
LK_INLINE void put_quants(k_rows *rows, int r, const __m512i q[4], const int zero) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        rows->q[j][r] = zero ? _mm512_sub_epi8(q[j], _mm512_set1_epi8((char)zero)) : q[j];
}

LK_INLINE __m512i scaled(__m512 x, __m512 d) {
    return _mm512_castps_si512(_mm512_mul_ps(x, d));
}

LK_INLINE void load_q2_K(k_rows *rows, int r, const void *super_block) {
    const block_q2_K *w = (const block_q2_K *)super_block;
    const __m128i low4 = _mm_set1_epi8(15);
    __m128i both = _mm_loadu_si128((const __m128i *)w->scales);
    __m128i m = _mm_and_si128(_mm_srli_epi16(both, 4), low4);
    __m512i q[4];
    lk_quants_q2_K(q, w);
    put_quants(rows, r, q, 0);
    both = _mm_and_si128(both, low4);
    rows->scale[r] = scaled(lk_u8_to_f32(both), lk_half_to_f32x16(w->d));
    rows->min[r] = scaled(lk_u8_to_f32(m), lk_half_to_f32x16(w->dmin));
}

LK_INLINE void load_q3_K(k_rows *rows, int r, const void *super_block) {
    const block_q3_K *w = (const block_q3_K *)super_block;
    __m512i q[4];
    lk_quants_q3_K(q, w);
    put_quants(rows, r, q, LK_ZERO_Q3_K);
    rows->scale[r] = scaled(lk_i8_to_f32(lk_scales_signed_q3_K(w)), lk_half_to_f32x16(w->d));
}

/* Q4_K and Q5_K begin alike. */
LK_INLINE void load_head32(k_rows *rows, int r, const void *super_block) {
    const __m512i d_then_dmin = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m512 d = _mm512_castps128_ps512(lk_d_dmin(super_block));
    __m512 sc_m = lk_u8_to_f32(lk_scales_min(super_block));
    rows->scale[r] = scaled(sc_m, _mm512_permutexvar_ps(d_then_dmin, d));
}

LK_INLINE void load_q4_K(k_rows *rows, int r, const void *super_block) {
    __m512i q[4];
    lk_quants_q4_K(q, super_block);
    put_quants(rows, r, q, 0);
    load_head32(rows, r, super_block);
}

LK_INLINE void load_q5_K(k_rows *rows, int r, const void *super_block) {
    __m512i q[4];
    lk_quants_q5_K(q, super_block);
    put_quants(rows, r, q, 0);
    load_head32(rows, r, super_block);
}

LK_INLINE void load_q6_K(k_rows *rows, int r, const void *super_block) {
    const block_q6_K *w = (const block_q6_K *)super_block;
    __m512i q[4];
    lk_quants_q6_K(q, w);
    put_quants(rows, r, q, LK_ZERO_Q6_K);
    rows->scale[r] = scaled(lk_i8_to_f32(lk_scales_signed_q6_K(w)), lk_half_to_f32x16(w->d));
}

#define UNPACK(name, group, has_min)                                                               \
    void unpack_##name##_avx512(const lk_tile *tile, const void *w, size_t w_stride, int k,        \
                                int rows) {                                                        \
        unpack_all(load_##name, sizeof(block_##name), group, has_min, tile, w, w_stride, k, rows); \
    }

UNPACK(q2_K, 16, 1)
UNPACK(q3_K, 16, 0)
UNPACK(q4_K, 32, 1)
UNPACK(q5_K, 32, 1)
UNPACK(q6_K, 16, 0)

LK_END
#endif
