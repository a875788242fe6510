/*
 * unpack_q4_0 q4_1 q5_0 q5_1 q8_0 into the tile of kernels.h: q[i / 4][row][i % 4], scale = d,
 * min = -m (Q4_1 and Q5_1). Four blocks of a row (Q8_0: two) are two loads, from which VPERMT2B
 * takes 64 bytes of quants and the words in which d and m lie; both are transposed for 16 rows.
 * Nibbles are split after that, on half the vectors; VPMULTISHIFTQB brings fifth bits to bit 4.
 */
#include "b32.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "b32_avx512.h"
#include "tile_avx512.h"

/* Blocks that are transposed together. */
LK_INLINE int run_of(b32_type type) {
    return type == B32_q8_0 ? 2 : 4;
}

/* A word of each block of a run: where it lies in the first or the last load, in every lane. */
typedef struct {
    __m512i low_u8x64, high_u8x64;
    uint16_t in_low, in_high; /* bytes of a lane */
} words;

/* Where the fields of a run lie within its two loads: constant for a type. */
typedef struct {
    __m512i quants_u8x64;
    words heads;  /* d, and what follows */
    words fifths; /* qh */
} fields;

LK_INLINE words words_of_blocks(b32_type type, const int at) {
    const int bytes = (int)b32_bytes(type), run = run_of(type), second = run * bytes - 64;
    words w = {.in_low = 0};
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
LK_INLINE __m512i insert_words(__m512i x, const words *at, int lane, __m512i low_u8x64,
                               __m512i high_u8x64) {
    x = _mm512_mask_permutexvar_epi8(x, (__mmask64)at->in_low << 16 * lane, at->low_u8x64,
                                     low_u8x64);
    return at->in_high ? _mm512_mask_permutexvar_epi8(x, (__mmask64)at->in_high << 16 * lane,
                                                      at->high_u8x64, high_u8x64)
                       : x;
}

LK_INLINE fields make_fields(b32_type type) {
    fields at;
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
    at.heads = words_of_blocks(type, 0);
    at.fifths = words_of_blocks(type, b32_fifth_at(type));
    return at;
}

/* Bit 4 of each byte: the fifth bits of elements 4 step .. 4 step + 3, other bits are noise. */
LK_INLINE __m512i fifth_bits(__m512i qh_u32x16, int step) {
    const __m512i first_u8x64 = _mm512_set1_epi64(0x1f1e1d1c3f3e3d3c); /* -4 + byte, 28 + byte */
    return _mm512_multishift_epi64_epi8(
        _mm512_add_epi8(first_u8x64, _mm512_set1_epi8((char)(4 * step))), qh_u32x16);
}

/* The 32 codes of 16 rows from the words of their nibbles. */
LK_INLINE void codes(b32_type type, __m512i q_i8x64[8], const __m512i nibbles_u8x64[4],
                     __m512i qh_u32x16) {
    LK_UNROLL
    for (int i = 0; i < 8; i++) {
        const __m512i shifted_u8x64 =
            i < 4 ? nibbles_u8x64[i] : _mm512_srli_epi16(nibbles_u8x64[i - 4], 4);
        q_i8x64[i] = _mm512_and_si512(shifted_u8x64, _mm512_set1_epi8(15));
        if (b32_has_fifth_bit(type)) /* q | (bits & 16) */
            q_i8x64[i] = _mm512_ternarylogic_epi32(q_i8x64[i], fifth_bits(qh_u32x16, i),
                                                   _mm512_set1_epi8(16), 0xf8);
        if (b32_zero(type))
            q_i8x64[i] = _mm512_sub_epi8(q_i8x64[i], _mm512_set1_epi8((char)b32_zero(type)));
    }
}

/* n blocks, no more than a run, from byte `offset` of the rows on. */
LK_INLINE void unpack_run(b32_type type, const fields *at, const lk_tile *t, lk_weight_rows *rows,
                          size_t offset, int n) {
    const int bytes = n * (int)b32_bytes(type), second = run_of(type) * (int)b32_bytes(type) - 64;
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
            heads[j] = insert_words(heads[j], &at->heads, i, low_u8x64, high_u8x64);
            if (b32_has_fifth_bit(type))
                fifths[j] = insert_words(fifths[j], &at->fifths, i, low_u8x64, high_u8x64);
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
        _mm512_storeu_ps(t->scale + LK_TILE_ROWS * b, lk_halves_f32x16(head_u32x16[b]));
        if (b32_has_min(type))
            _mm512_storeu_ps(t->min + LK_TILE_ROWS * b,
                             _mm512_xor_ps(lk_halves_f32x16(_mm512_srli_epi32(head_u32x16[b], 16)),
                                           _mm512_set1_ps(-0.0f)));
        if (type == B32_q8_0) {
            lk_put_group(t, b, word_u32x16 + 8 * b, 8);
        } else {
            __m512i q_i8x64[8];
            codes(type, q_i8x64, word_u32x16 + 4 * b, fifth_u32x16[b]);
            lk_put_group(t, b, q_i8x64, 8);
        }
    }
}

LK_INLINE void unpack_rows(b32_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride,
                           int k, int n_rows) {
    const int n_blocks = k / LK_QK32, run = run_of(type);
    const size_t bytes = b32_bytes(type);
    const fields at = make_fields(type);
    lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, n_blocks * bytes);
    int b = 0;
    for (; b + run <= n_blocks; b += run) {
        const lk_tile t = lk_tile_from(tile, LK_QK32 * b, LK_QK32);
        unpack_run(type, &at, &t, &rows, b * bytes, run);
    }
    const lk_tile t = lk_tile_from(tile, LK_QK32 * b, LK_QK32);
    for (int left = 1; left < run; left++) /* a constant count keeps the loops unrolled */
        if (n_blocks - b == left)
            unpack_run(type, &at, &t, &rows, b * bytes, left);
}

#define UNPACK(type)                                                                               \
    void unpack_##type##_avx512(const lk_tile *tile, const void *w, size_t w_stride, int k,        \
                                int rows) {                                                        \
        unpack_rows(B32_##type, tile, w, w_stride, k, rows);                                       \
    }
B32_TYPES(UNPACK)

LK_END
#endif
