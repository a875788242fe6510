/*
 * K-quant super-blocks of 16 rows to the lines of a tile, with AVX-512; include it inside the
 * target region. The words of a super-block are transposed as they lie in the file: a vector then
 * holds one word of 16 rows, and four elements of each come out of it by a shift and a mask. So do
 * four scales, of all rows at once. k_unpack_TYPE: scales and minima to t, codes to `put`.
 */
#ifndef LK_K_TILE_AVX512_H
#define LK_K_TILE_AVX512_H

#include <stddef.h>

#include "tile_avx512.h"

/* Words of fields of a super-block at byte `at` of the rows. */
#define K_WORDS4(line, type, field) lk_load_words4(line, rows, at + offsetof(block_##type, field))
#define K_WORDS16(line, type, field) lk_load_words16(line, rows, at + offsetof(block_##type, field))

LK_INLINE __m512i k_masked(__m512i x, int mask) {
    return _mm512_and_si512(x, _mm512_set1_epi8((char)mask));
}

/* a | (b & mask) */
LK_INLINE __m512i k_or_masked(__m512i a, __m512i b, int mask) {
    return _mm512_ternarylogic_epi64(a, b, _mm512_set1_epi8((char)mask), 0xf8);
}

/* By n bits, to the left if n < 0; bits that cross from byte to byte are noise. */
LK_INLINE __m512i k_shift_right(__m512i x, int n) {
    return n < 0 ? _mm512_slli_epi32(x, (unsigned)-n) : _mm512_srli_epi32(x, (unsigned)n);
}

LK_INLINE __m512i k_minus(__m512i x, int zero) {
    return zero ? _mm512_sub_epi8(x, _mm512_set1_epi8((char)zero)) : x;
}

/* factor times the four bytes of each word, to groups from `to` on. */
LK_INLINE void k_put_scales(float *to, __m512i bytes_x4, __m512 factor, int is_signed) {
    LK_UNROLL
    for (int i = 0; i < 4; i++) {
        const unsigned above = 24 - 8 * (unsigned)i;
        const __m512i top = _mm512_slli_epi32(bytes_x4, above);
        const __m512i x_i32x16 =
            is_signed ? _mm512_srai_epi32(top, 24) : _mm512_srli_epi32(top, 24);
        _mm512_storeu_ps(to + LK_TILE_ROWS * i,
                         _mm512_mul_ps(_mm512_cvtepi32_ps(x_i32x16), factor));
    }
}

LK_INLINE __m512 k_upper_half(__m512i word) {
    return lk_halves_f32x16(_mm512_srli_epi32(word, 16));
}

/* ---- Q4_K, Q5_K: groups of 32 with minima -------------------------------------------------- */

/* d, dmin and twelve bytes of six-bit scales and minima (blocks.h). */
LK_INLINE void k_put_head32(const lk_tile *t, const __m512i head[4]) {
    const __m512 d = lk_halves_f32x16(head[0]), dmin = k_upper_half(head[0]);
    const __m512i *s = head + 1;
    k_put_scales(t->scale, k_masked(s[0], 63), d, 0);
    k_put_scales(t->min, k_masked(s[1], 63), dmin, 0);
    k_put_scales(t->scale + 4 * LK_TILE_ROWS,
                 k_or_masked(k_masked(s[2], 15), k_shift_right(s[0], 2), 0x30), d, 0);
    k_put_scales(t->min + 4 * LK_TILE_ROWS,
                 k_or_masked(k_masked(k_shift_right(s[2], 4), 15), k_shift_right(s[1], 2), 0x30),
                 dmin, 0);
}

/* Groups 4 i .. 4 i + 3 from 16 words of nibbles; high: NULL, or eight words of fifth bits. */
LK_INLINE void k_put_groups32(int i, const __m512i nibbles[16], const __m512i *high,
                              lk_weight_rows *rows, lk_group_fn put, void *to) {
    LK_UNROLL
    for (int g = 0; g < 4; g++) {
        __m512i q[8];
        LK_UNROLL
        for (int c = 0; c < 8; c++) {
            q[c] = k_masked(k_shift_right(nibbles[g / 2 * 8 + c], g % 2 * 4), 15);
            if (high)
                q[c] = k_or_masked(q[c], k_shift_right(high[c], 4 * i + g - 4), 16);
        }
        put(to, 4 * i + g, q, 8);
        lk_prefetch_next(rows, high ? sizeof(block_q5_K) / 8 : sizeof(block_q4_K) / 8);
    }
}

LK_INLINE void k_unpack_q4_K(const lk_tile *t, lk_weight_rows *rows, size_t at, lk_group_fn put,
                             void *to) {
    __m512i head[4], nibbles[16];
    K_WORDS4(head, q4_K, d);
    k_put_head32(t, head);
    K_WORDS16(nibbles, q4_K, qs);
    k_put_groups32(0, nibbles, NULL, rows, put, to);
    K_WORDS16(nibbles, q4_K, qs[64]);
    k_put_groups32(1, nibbles, NULL, rows, put, to);
}

LK_INLINE void k_unpack_q5_K(const lk_tile *t, lk_weight_rows *rows, size_t at, lk_group_fn put,
                             void *to) {
    __m512i head[4], high[8], nibbles[16];
    K_WORDS4(head, q5_K, d);
    k_put_head32(t, head);
    K_WORDS4(high, q5_K, qh);
    K_WORDS4(high + 4, q5_K, qh[16]);
    K_WORDS16(nibbles, q5_K, qs);
    k_put_groups32(0, nibbles, high, rows, put, to);
    K_WORDS16(nibbles, q5_K, qs[64]);
    k_put_groups32(1, nibbles, high, rows, put, to);
}

/* ---- Q2_K, Q3_K, Q6_K: groups of 16 -------------------------------------------------------- */

LK_INLINE void k_unpack_q2_K(const lk_tile *t, lk_weight_rows *rows, size_t at, lk_group_fn put,
                             void *to) {
    __m512i scales[4], end[4], bits[16];
    K_WORDS4(scales, q2_K, scales);
    K_WORDS4(end, q2_K, qs[52]); /* 12 bytes of quants, d and dmin */
    const __m512 d = lk_halves_f32x16(end[3]), dmin = k_upper_half(end[3]);
    LK_UNROLL
    for (int i = 0; i < 4; i++) {
        k_put_scales(t->scale + 4 * LK_TILE_ROWS * i, k_masked(scales[i], 15), d, 0);
        k_put_scales(t->min + 4 * LK_TILE_ROWS * i, k_masked(k_shift_right(scales[i], 4), 15), dmin,
                     0);
    }
    K_WORDS16(bits, q2_K, qs);
    LK_UNROLL
    for (int g = 0; g < 16; g++) { /* planes of 32 elements, of which the groups are halves */
        __m512i q[4];
        LK_UNROLL
        for (int c = 0; c < 4; c++)
            q[c] = k_masked(k_shift_right(bits[g / 8 * 8 + g % 2 * 4 + c], g % 8 / 2 * 2), 3);
        put(to, g, q, 4);
        lk_prefetch_next(rows, sizeof(block_q2_K) / 16);
    }
}

LK_INLINE void k_unpack_q3_K(const lk_tile *t, lk_weight_rows *rows, size_t at, lk_group_fn put,
                             void *to) {
    __m512i end[4], high[8], bits[16];
    K_WORDS4(end, q3_K, qs[62]); /* two bytes of quants, 12 of scales, d */
    const __m512 d = k_upper_half(end[3]);
    __m512i s[3];
    LK_UNROLL
    for (int i = 0; i < 3; i++)
        s[i] = _mm512_or_si512(_mm512_srli_epi32(end[i], 16), _mm512_slli_epi32(end[i + 1], 16));
    LK_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m512i low = k_masked(k_shift_right(s[i % 2], i / 2 * 4), 15);
        k_put_scales(t->scale + 4 * LK_TILE_ROWS * i,
                     k_minus(k_or_masked(low, k_shift_right(s[2], 2 * i - 4), 0x30), 32), d, 1);
    }
    K_WORDS4(high, q3_K, hmask);
    K_WORDS4(high + 4, q3_K, hmask[16]);
    K_WORDS16(bits, q3_K, qs);
    LK_UNROLL
    for (int g = 0; g < 16; g++) {
        __m512i q[4];
        LK_UNROLL
        for (int c = 0; c < 4; c++) {
            const int word = g % 2 * 4 + c;
            q[c] = k_masked(k_shift_right(bits[g / 8 * 8 + word], g % 8 / 2 * 2), 3);
            q[c] =
                k_minus(k_or_masked(q[c], k_shift_right(high[word], g / 2 - 2), 4), LK_ZERO_Q3_K);
        }
        put(to, g, q, 4);
        lk_prefetch_next(rows, sizeof(block_q3_K) / 16);
    }
}

LK_INLINE void k_unpack_q6_K(const lk_tile *t, lk_weight_rows *rows, size_t at, lk_group_fn put,
                             void *to) {
    __m512i scales[4], end[4], low[16], high[16];
    K_WORDS4(scales, q6_K, scales);
    K_WORDS4(end, q6_K, scales[2]); /* up to d */
    const __m512 d = k_upper_half(end[3]);
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        k_put_scales(t->scale + 4 * LK_TILE_ROWS * i, scales[i], d, 1);
    K_WORDS16(high, q6_K, qh);
    LK_UNROLL
    for (int half = 0; half < 2; half++) {
        if (half == 0)
            K_WORDS16(low, q6_K, ql);
        else
            K_WORDS16(low, q6_K, ql[64]);
        LK_UNROLL
        for (int g = 0; g < 8; g++) {
            __m512i q[4];
            LK_UNROLL
            for (int c = 0; c < 4; c++) {
                const int word = g % 2 * 4 + c, plane = g / 2;
                q[c] = k_masked(k_shift_right(low[plane % 2 * 8 + word], plane / 2 * 4), 15);
                q[c] = k_or_masked(q[c], k_shift_right(high[8 * half + word], 2 * plane - 4), 0x30);
                q[c] = k_minus(q[c], LK_ZERO_Q6_K);
            }
            put(to, 8 * half + g, q, 4);
            lk_prefetch_next(rows, sizeof(block_q6_K) / 16);
        }
    }
}

/* ---- IQ4_XS: groups of 32, a table ----------------------------------------------------------- */

LK_INLINE void k_unpack_iq4_xs(const lk_tile *t, lk_weight_rows *rows, size_t at, lk_group_fn put,
                               void *to) {
    const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)lk_iq4_values));
    __m512i head[4], nibbles[16];
    K_WORDS4(head, iq4_xs, d); /* d, scales_h; scales_l; 8 bytes of quants */
    const __m512 d = lk_halves_f32x16(head[0]);
    const __m512i top = _mm512_srli_epi32(head[0], 16);
    LK_UNROLL
    for (int g = 0; g < 8; g++) {
        const __m512i low = _mm512_and_si512(k_shift_right(head[1], 4 * g), _mm512_set1_epi32(15));
        const __m512i sc = _mm512_ternarylogic_epi32(low, k_shift_right(top, 2 * g - 4),
                                                     _mm512_set1_epi32(0x30), 0xf8);
        const __m512i less_32 = _mm512_sub_epi32(sc, _mm512_set1_epi32(32));
        _mm512_storeu_ps(t->scale + LK_TILE_ROWS * g,
                         _mm512_mul_ps(_mm512_cvtepi32_ps(less_32), d));
    }
    LK_UNROLL
    for (int g = 0; g < 8; g++) {
        if (g == 0)
            K_WORDS16(nibbles, iq4_xs, qs);
        if (g == 4)
            K_WORDS16(nibbles, iq4_xs, qs[64]);
        __m512i q[8];
        LK_UNROLL
        for (int c = 0; c < 8; c++)
            q[c] = _mm512_shuffle_epi8(
                table, k_masked(k_shift_right(nibbles[g % 4 * 4 + c % 4], c / 4 * 4), 15));
        put(to, g, q, 8);
        lk_prefetch_next(rows, sizeof(block_iq4_xs) / 8);
    }
}

#endif
