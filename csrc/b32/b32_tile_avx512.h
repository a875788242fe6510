/*
 * Blocks of 32 of 16 rows to the lines of a tile, with AVX-512; include it inside the target
 * region. Four blocks of a row (Q8_0: two) are two loads, from which VPERMT2B takes 64 bytes of
 * quants, and VPERMB the words in which d and m lie; both are transposed. Nibbles are split after
 * that, on half the vectors; VPMULTISHIFTQB brings fifth bits to bit 4.
 */
#ifndef LK_B32_TILE_AVX512_H
#define LK_B32_TILE_AVX512_H

#include "b32_avx512.h"
#include "tile_avx512.h"

/* Blocks that are transposed together. */
LK_INLINE int b32_run(b32_type type) {
    return type == B32_q8_0 ? 2 : 4;
}

/* A word of each block of a run: where it lies in the first or the last load, in every lane. */
typedef struct {
    __m512i low_u8x64, high_u8x64;
    uint16_t in_low, in_high; /* bytes of a lane */
} b32_words;

/* Where the fields of a run lie within its two loads: constant for a type. */
typedef struct {
    __m512i quants_u8x64;
    b32_words heads;  /* d, and what follows */
    b32_words fifths; /* qh */
} b32_fields;

LK_INLINE b32_words b32_words_of_blocks(b32_type type, const int at) {
    const int bytes = (int)b32_bytes(type), run = b32_run(type), second = run * bytes - 64;
    b32_words w = {.in_low = 0};
    int low[4] = {0}, high[4] = {0};
    for (int b = 0; b < run; b++) {
        const int first = b * bytes + at;
        const int is_low = first + 4 <= 64;
        *(is_low ? &low[b] : &high[b]) =
            0x03020100 + (is_low ? first : first - second) * 0x01010101;
        *(is_low ? &w.in_low : &w.in_high) |= (uint16_t)(15 << 4 * b);
    }
    w.low_u8x64 = _mm512_broadcast_i32x4(_mm_setr_epi32(low[0], low[1], low[2], low[3]));
    w.high_u8x64 = _mm512_broadcast_i32x4(_mm_setr_epi32(high[0], high[1], high[2], high[3]));
    return w;
}

/* Those of a row into lane `lane` of x. */
LK_INLINE __m512i b32_insert_words(__m512i x, const b32_words *at, int lane, __m512i low_u8x64,
                                   __m512i high_u8x64) {
    x = _mm512_mask_permutexvar_epi8(x, (__mmask64)at->in_low << 16 * lane, at->low_u8x64,
                                     low_u8x64);
    return at->in_high ? _mm512_mask_permutexvar_epi8(x, (__mmask64)at->in_high << 16 * lane,
                                                      at->high_u8x64, high_u8x64)
                       : x;
}

LK_INLINE b32_fields b32_make_fields(b32_type type) {
    b32_fields at;
    if (type == B32_q8_0) {
        const __m512i offset_u8x64 =
            _mm512_setr_epi64(/* 2..33 and 36..67 */
                              0x0908070605040302, 0x11100f0e0d0c0b0a, 0x1918171615141312,
                              0x21201f1e1d1c1b1a, 0x2b2a292827262524, 0x333231302f2e2d2c,
                              0x3b3a393837363534, 0x434241403f3e3d3c);
        at.quants_u8x64 = b32_in_two_loads(type, 2, offset_u8x64);
    } else {
        at.quants_u8x64 =
            b32_lanes(type, b32_quants_at(type),
                      _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    }
    at.heads = b32_words_of_blocks(type, 0);
    at.fifths = b32_words_of_blocks(type, b32_fifth_at(type));
    return at;
}

/* Bit 4 of each byte: the fifth bits of elements 4 step .. 4 step + 3, other bits are noise. */
LK_INLINE __m512i b32_fifth_bits(__m512i qh_u32x16, int step) {
    const __m512i first_u8x64 = _mm512_set1_epi64(0x1f1e1d1c3f3e3d3c); /* -4 + byte, 28 + byte */
    return _mm512_multishift_epi64_epi8(
        _mm512_add_epi8(first_u8x64, _mm512_set1_epi8((char)(4 * step))), qh_u32x16);
}

/* The 32 codes of 16 rows from the words of their nibbles. */
LK_INLINE void b32_codes(b32_type type, __m512i q_i8x64[8], const __m512i nibbles_u8x64[4],
                         __m512i qh_u32x16) {
    LK_UNROLL
    for (int i = 0; i < 8; i++) {
        const __m512i shifted_u8x64 =
            i < 4 ? nibbles_u8x64[i] : _mm512_srli_epi16(nibbles_u8x64[i - 4], 4);
        q_i8x64[i] = _mm512_and_si512(shifted_u8x64, _mm512_set1_epi8(15));
        if (b32_has_fifth_bit(type)) /* q | (bits & 16) */
            q_i8x64[i] = _mm512_ternarylogic_epi32(q_i8x64[i], b32_fifth_bits(qh_u32x16, i),
                                                   _mm512_set1_epi8(16), 0xf8);
        if (b32_table(type))
            q_i8x64[i] = _mm512_shuffle_epi8(b32_table_i8x64(type, 0), q_i8x64[i]);
        else if (b32_zero(type))
            q_i8x64[i] = _mm512_sub_epi8(q_i8x64[i], _mm512_set1_epi8((char)b32_zero(type)));
    }
}

/* d, where blocks begin. */
LK_INLINE __m512 b32_scales(b32_type type, __m512i head_u32x16) {
    return type == B32_mxfp4
               ? b32_half_e8m0_f32x16(_mm512_and_si512(head_u32x16, _mm512_set1_epi32(255)))
               : lk_halves_f32x16(head_u32x16);
}

/* n blocks, no more than a run, from byte `offset` of the rows on: scales and minima to t, codes to
 * `put`. */
LK_INLINE void b32_unpack_run(b32_type type, const b32_fields *at, const lk_tile *t,
                              lk_weight_rows *rows, size_t offset, int n, lk_group_fn put,
                              void *to) {
    const int bytes = n * (int)b32_bytes(type), second = b32_run(type) * (int)b32_bytes(type) - 64;
    const __m512i zero = _mm512_setzero_si512();
    __m512i quad[4][4], word_u32x16[16], head_u32x16[4], fifth_u32x16[4];
    __m512i heads[4] = {zero, zero, zero, zero}, fifths[4] = {zero, zero, zero, zero};
    LK_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512i quants_u8x64[4];
        LK_UNROLL
        for (int j = 0; j < 4; j++) {
            const uint8_t *w = rows->row[4 * i + j] + offset;
            __m512i low_u8x64 = b32_load(w, bytes);
            __m512i high_u8x64 = b32_load(w + second, bytes - second);
            LK_LOADED_ONCE(low_u8x64);
            LK_LOADED_ONCE(high_u8x64);
            heads[j] = b32_insert_words(heads[j], &at->heads, i, low_u8x64, high_u8x64);
            if (b32_has_fifth_bit(type))
                fifths[j] = b32_insert_words(fifths[j], &at->fifths, i, low_u8x64, high_u8x64);
            quants_u8x64[j] = _mm512_permutex2var_epi8(low_u8x64, at->quants_u8x64, high_u8x64);
        }
        lk_quad_of_rows(quad[i], quants_u8x64);
    }
    lk_quad_of_rows(head_u32x16, heads);
    if (b32_has_fifth_bit(type))
        lk_quad_of_rows(fifth_u32x16, fifths);
    lk_lines_of_quads(word_u32x16, quad);
    LK_UNROLL
    for (int b = 0; b < n; b++) {
        lk_prefetch_next(rows, (int)b32_bytes(type));
        _mm512_storeu_ps(t->scale + LK_TILE_ROWS * b, b32_scales(type, head_u32x16[b]));
        if (b32_has_min(type))
            _mm512_storeu_ps(t->min + LK_TILE_ROWS * b,
                             _mm512_xor_ps(lk_halves_f32x16(_mm512_srli_epi32(head_u32x16[b], 16)),
                                           _mm512_set1_ps(-0.0f)));
        if (type == B32_q8_0) {
            put(to, b, word_u32x16 + 8 * b, 8);
        } else {
            __m512i q_i8x64[8];
            b32_codes(type, q_i8x64, word_u32x16 + 4 * b, fifth_u32x16[b]);
            put(to, b, q_i8x64, 8);
        }
    }
}

/* The n blocks after the last whole run; constant counts unroll the loops. */
LK_INLINE void b32_unpack_rest(b32_type type, const b32_fields *at, const lk_tile *t,
                               lk_weight_rows *rows, size_t offset, int n, lk_group_fn put,
                               void *to) {
    if (n == 1)
        b32_unpack_run(type, at, t, rows, offset, 1, put, to);
    else if (n == 2 && b32_run(type) > 2)
        b32_unpack_run(type, at, t, rows, offset, 2, put, to);
    else if (n == 3 && b32_run(type) > 3)
        b32_unpack_run(type, at, t, rows, offset, 3, put, to);
}

#endif
