/*
 * From rows to the lines of a tile, with AVX-512: blocks are transposed as they lie in the file, by
 * words of 32 bits, before their bits are spread over bytes: that moves half to a quarter of what
 * the codes would take. Include it inside the target region.
 */
#ifndef LK_TILE_AVX512_H
#define LK_TILE_AVX512_H

#include "tile.h"

/* Four rows, words inside the 128-bit lanes: lane l of quad[c] is word 4 l + c of the four. */
LK_INLINE void lk_quad_of_rows(__m512i quad[4], const __m512i row[4]) {
    const __m512i low01 = _mm512_unpacklo_epi32(row[0], row[1]);
    const __m512i high01 = _mm512_unpackhi_epi32(row[0], row[1]);
    const __m512i low23 = _mm512_unpacklo_epi32(row[2], row[3]);
    const __m512i high23 = _mm512_unpackhi_epi32(row[2], row[3]);
    quad[0] = _mm512_unpacklo_epi64(low01, low23);
    quad[1] = _mm512_unpackhi_epi64(low01, low23);
    quad[2] = _mm512_unpacklo_epi64(high01, high23);
    quad[3] = _mm512_unpackhi_epi64(high01, high23);
}

/* Line c = word c of the 16 rows; quad[i]: rows 4 i .. 4 i + 3. */
LK_INLINE void lk_lines_of_quads(__m512i line[16], const __m512i quad[4][4]) {
    LK_UNROLL
    for (int c = 0; c < 4; c++) {
        const __m512i a01 = _mm512_shuffle_i32x4(quad[0][c], quad[1][c], 0x44);
        const __m512i b01 = _mm512_shuffle_i32x4(quad[2][c], quad[3][c], 0x44);
        const __m512i a23 = _mm512_shuffle_i32x4(quad[0][c], quad[1][c], 0xee);
        const __m512i b23 = _mm512_shuffle_i32x4(quad[2][c], quad[3][c], 0xee);
        line[c] = _mm512_shuffle_i32x4(a01, b01, 0x88);
        line[4 + c] = _mm512_shuffle_i32x4(a01, b01, 0xdd);
        line[8 + c] = _mm512_shuffle_i32x4(a23, b23, 0x88);
        line[12 + c] = _mm512_shuffle_i32x4(a23, b23, 0xdd);
    }
}

/* Words 0..15 from byte `at` of the rows on. */
LK_INLINE void lk_load_words16(__m512i line[16], const lk_weight_rows *rows, size_t at) {
    __m512i quad[4][4];
    LK_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512i row[4];
        LK_UNROLL
        for (int j = 0; j < 4; j++)
            row[j] = _mm512_loadu_si512(rows->row[4 * i + j] + at);
        lk_quad_of_rows(quad[i], row);
    }
    lk_lines_of_quads(line, quad);
}

/* Words 0..3. */
LK_INLINE void lk_load_words4(__m512i line[4], const lk_weight_rows *rows, size_t at) {
    __m512i row[4]; /* j: lane l is row 4 l + j */
#define PIECE(r) _mm_loadu_si128((const __m128i *)(rows->row[r] + at))
    LK_UNROLL
    for (int j = 0; j < 4; j++) {
        row[j] = _mm512_castsi128_si512(PIECE(j));
        row[j] = _mm512_inserti32x4(row[j], PIECE(4 + j), 1);
        row[j] = _mm512_inserti32x4(row[j], PIECE(8 + j), 2);
        row[j] = _mm512_inserti32x4(row[j], PIECE(12 + j), 3);
    }
#undef PIECE
    lk_quad_of_rows(line, row);
}

/* The lower halves of the words as half floats. */
LK_INLINE __m512 lk_halves_f32x16(__m512i word_u32x16) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(word_u32x16));
}

/* What becomes of group g of a tile: n lines of codes. */
typedef void (*lk_group_fn)(void *to, int g, const __m512i *q_i8x64, int n);

/* It is stored in the lk_tile, and its start, -128 * the sum of its codes. */
LK_INLINE void lk_store_group(void *to, int g, const __m512i *q_i8x64, const int n) {
    const lk_tile *t = (const lk_tile *)to;
    const __m512i u128_u8x64 = _mm512_set1_epi8((char)128);
    __m512i sum_i32x16 = _mm512_setzero_si512();
    LK_UNROLL
    for (int i = 0; i < n; i++) {
        _mm512_storeu_si512(t->q + 64 * (n * g + i), q_i8x64[i]);
        sum_i32x16 = _mm512_dpbusd_epi32(sum_i32x16, u128_u8x64, q_i8x64[i]);
    }
    _mm512_storeu_si512(t->start + LK_TILE_ROWS * g,
                        _mm512_sub_epi32(_mm512_setzero_si512(), sum_i32x16));
}

#endif
