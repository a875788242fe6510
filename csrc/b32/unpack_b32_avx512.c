/*
 * unpack_q4_0 q4_1 q5_0 q5_1 q8_0 into the tile of kernels.h: q[i / 4][row][i % 4], scale = d,
 * min = -m (Q4_1 and Q5_1). Sixteen bytes of rows j, j + 4, j + 8, j + 12 share a vector; four such
 * vectors transposed by dwords inside their lanes (VPUNPCK) are four tile steps of 16 rows. Nibbles
 * are split after that, on half the vectors; VPMULTISHIFTQB brings fifth bits to bit 4. Dword masks
 * clear rows that are missing, in whose place row 0 is read. Reads stay inside each block.
 */
#include "b32.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "tile_avx512.h"

typedef struct {
    const uint8_t *row[LK_TILE_ROWS];
    __mmask16 present;
} tile_rows;

/* Dwords 0..3 at row + at; vector i holds dword i of the 16 rows. */
LK_INLINE void load_dwords(__m512i dword_u32x16[4], const tile_rows *rows, size_t at) {
    __m512i row_u8x64[4], pair_u32x16[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        row_u8x64[j] =
            _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(rows->row[j] + at)));
#define LANE(i)                                                                                    \
    row_u8x64[j] = _mm512_inserti32x4(                                                             \
        row_u8x64[j], _mm_loadu_si128((const __m128i *)(rows->row[j + 4 * (i)] + at)), i)
        LANE(1);
        LANE(2);
        LANE(3);
#undef LANE
    }
    for (int j = 0; j < 2; j++) {
        pair_u32x16[2 * j] = _mm512_unpacklo_epi32(row_u8x64[2 * j], row_u8x64[2 * j + 1]);
        pair_u32x16[2 * j + 1] = _mm512_unpackhi_epi32(row_u8x64[2 * j], row_u8x64[2 * j + 1]);
    }
    for (int j = 0; j < 2; j++) {
        dword_u32x16[2 * j] = _mm512_unpacklo_epi64(pair_u32x16[j], pair_u32x16[j + 2]);
        dword_u32x16[2 * j + 1] = _mm512_unpackhi_epi64(pair_u32x16[j], pair_u32x16[j + 2]);
    }
}

/* The lower halves of 16 dwords, as floats; 0 for missing rows. */
LK_INLINE __m512 scales_f32x16(__mmask16 present, __m512i dword_u32x16) {
    return _mm512_maskz_cvtph_ps(present, _mm512_cvtepi32_epi16(dword_u32x16));
}

/* Bit 4 of each byte: the fifth bits of elements 4 step .. 4 step + 3, other bits are noise. */
LK_INLINE __m512i fifth_bits(__m512i qh_u32x16, int step) {
    const __m512i first_u8x64 = _mm512_set1_epi64(0x1f1e1d1c3f3e3d3c); /* -4 + byte, 28 + byte */
    return _mm512_multishift_epi64_epi8(
        _mm512_add_epi8(first_u8x64, _mm512_set1_epi8((char)(4 * step))), qh_u32x16);
}

LK_INLINE void unpack_quants_q8_0(int8_t *q, const tile_rows *rows, size_t at) {
    __m512i q_i8x64[8];
    load_dwords(q_i8x64, rows, at);
    load_dwords(q_i8x64 + 4, rows, at + 16);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        _mm512_storeu_si512(q + 64 * i, _mm512_maskz_mov_epi32(rows->present, q_i8x64[i]));
}

LK_INLINE void unpack_block(b32_type type, const lk_tile *t, const tile_rows *rows, size_t at) {
    const __mmask16 present = rows->present;
    __m512i head_u32x16[4]; /* d and m or the half of qh; qh */
    load_dwords(head_u32x16, rows, at);
    _mm512_storeu_ps(t->scale, scales_f32x16(present, head_u32x16[0]));
    if (b32_has_min(type)) {
        const __m512 m_f32x16 = scales_f32x16(present, _mm512_srli_epi32(head_u32x16[0], 16));
        _mm512_storeu_ps(t->min, _mm512_maskz_xor_ps(present, m_f32x16, _mm512_set1_ps(-0.0f)));
    }
    if (type == B32_q8_0) {
        unpack_quants_q8_0(t->q, rows, at + b32_quants_at(type));
        return;
    }
    const __m512i qh_u32x16 = type == B32_q5_1
                                  ? head_u32x16[1]
                                  : _mm512_or_si512(_mm512_srli_epi32(head_u32x16[0], 16),
                                                    _mm512_slli_epi32(head_u32x16[1], 16));
    const __m512i nibble_u8x64 = _mm512_set1_epi8(15), fifth_u8x64 = _mm512_set1_epi8(16);
    __m512i pairs_u8x64[4];
    load_dwords(pairs_u8x64, rows, at + b32_quants_at(type));
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const __m512i shifted_u8x64 =
            i < 4 ? pairs_u8x64[i] : _mm512_srli_epi16(pairs_u8x64[i - 4], 4);
        __m512i q_i8x64 = _mm512_and_si512(shifted_u8x64, nibble_u8x64);
        if (b32_has_fifth_bit(type)) /* q | (bits & 16) */
            q_i8x64 =
                _mm512_ternarylogic_epi32(q_i8x64, fifth_bits(qh_u32x16, i), fifth_u8x64, 0xf8);
        if (b32_zero(type))
            q_i8x64 = _mm512_sub_epi8(q_i8x64, _mm512_set1_epi8((char)b32_zero(type)));
        _mm512_storeu_si512(t->q + 64 * i, _mm512_maskz_mov_epi32(present, q_i8x64));
    }
}

LK_INLINE void unpack_rows(b32_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride,
                           int k, int n_rows) {
    tile_rows rows = {.present = (__mmask16)((1u << n_rows) - 1)};
    for (int r = 0; r < LK_TILE_ROWS; r++)
        rows.row[r] = w + (r < n_rows ? r * w_stride : 0);
    lk_next_rows next = lk_rows_after(w, w_stride, (size_t)(k / LK_QK32) * b32_bytes(type));
    for (int b = 0; b < k / LK_QK32; b++) {
        const lk_tile t = lk_tile_from(tile, LK_QK32 * b, LK_QK32);
        lk_prefetch_lines(&next, (int)b32_bytes(type) / 4 + 1);
        unpack_block(type, &t, &rows, b * b32_bytes(type));
    }
    lk_tile_starts(tile, k, LK_QK32);
}

#define UNPACK(type)                                                                               \
    void unpack_##type##_avx512(const lk_tile *tile, const void *w, size_t w_stride, int k,        \
                                int rows) {                                                        \
        unpack_rows(B32_##type, tile, w, w_stride, k, rows);                                       \
    }
B32_TYPES(UNPACK)

LK_END
#endif
