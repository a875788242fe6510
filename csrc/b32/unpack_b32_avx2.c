/*
 * unpack_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4 into the tile of kernels.h: q[i / 4][row][i % 4],
 * scale = d, min = -m (Q4_1 and Q5_1). A block of 8 rows is 8 vectors of 8 dwords; transposed, each
 * is half of one 64-byte step of the tile.
 */
#include "b32.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

#include "b32_avx2.h"
#include "tile_avx2.h"

#define ROWS 8 /* half a tile */

/* Dword j of row i to dword i of row j, stored tile steps apart. */
LK_INLINE void store_transposed(int8_t *q, const __m256i row_u32x8[ROWS]) {
    __m256i pair_u32x8[ROWS], quad_u32x8[ROWS]; /* of rows that meet in a 64-, a 128-bit lane */
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i += 2) {
        pair_u32x8[i] = _mm256_unpacklo_epi32(row_u32x8[i], row_u32x8[i + 1]);
        pair_u32x8[i + 1] = _mm256_unpackhi_epi32(row_u32x8[i], row_u32x8[i + 1]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i += 4)
#pragma GCC unroll 8
        for (int j = 0; j < 2; j++) {
            quad_u32x8[i + 2 * j] = _mm256_unpacklo_epi64(pair_u32x8[i + j], pair_u32x8[i + 2 + j]);
            quad_u32x8[i + 2 * j + 1] =
                _mm256_unpackhi_epi64(pair_u32x8[i + j], pair_u32x8[i + 2 + j]);
        }
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++) {
        int8_t *step = q + 4 * LK_TILE_ROWS * i;
        _mm256_storeu_si256((__m256i *)step,
                            _mm256_permute2x128_si256(quad_u32x8[i], quad_u32x8[i + 4], 0x20));
        _mm256_storeu_si256((__m256i *)(step + 16 * LK_TILE_ROWS),
                            _mm256_permute2x128_si256(quad_u32x8[i], quad_u32x8[i + 4], 0x31));
    }
}

/* The exponents at byte `at` of eight rows. */
LK_INLINE __m256 load_exponents(const uint8_t *const *row, size_t at) {
    uint32_t e[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        e[r] = row[r][at];
    return _mm256_set_m128(b32_half_e8m0_f32x4(_mm_loadu_si128((const __m128i *)(e + 4))),
                           b32_half_e8m0_f32x4(_mm_loadu_si128((const __m128i *)e)));
}

/* The halves at byte `at` of eight rows, sign bits flipped by `flip`. */
LK_INLINE __m256 load_scales(const uint8_t *const *row, size_t at, int flip) {
    uint16_t h[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        h[r] = (uint16_t)(lk_load_u16(row[r] + at) ^ flip);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h));
}

/* The block at byte `at` of eight rows. */
LK_INLINE void unpack_block(b32_type type, const lk_tile *t, const uint8_t *const *row, size_t at) {
    __m256i row_i8x32[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        row_i8x32[r] = b32_quants_i8x32(type, row[r] + at);
        if (type != B32_q8_0 && !b32_table(type) && b32_zero(type))
            row_i8x32[r] = _mm256_sub_epi8(row_i8x32[r], _mm256_set1_epi8((char)b32_zero(type)));
    }
    store_transposed(t->q, row_i8x32);
    _mm256_storeu_ps(t->scale,
                     type == B32_mxfp4 ? load_exponents(row, at) : load_scales(row, at, 0));
    if (b32_has_min(type))
        _mm256_storeu_ps(t->min, load_scales(row, at + 2, 0x8000));
}

LK_INLINE void unpack_rows(b32_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride,
                           int k, int n_rows) {
    const size_t bytes = b32_bytes(type);
    lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, k / LK_QK32 * bytes);
    for (int b = 0; b < k / LK_QK32; b++) {
        const lk_tile step = lk_tile_from(tile, LK_QK32 * b, LK_QK32);
        for (int r = 0; r < LK_TILE_ROWS; r += ROWS) {
            const lk_tile t = lk_tile_rows(&step, r);
            unpack_block(type, &t, rows.row + r, b * bytes);
        }
        lk_prefetch_next(&rows, (int)bytes);
    }
    lk_tile_starts(tile, k, LK_QK32);
}

#define UNPACK(type)                                                                               \
    void unpack_##type##_avx2(const lk_tile *tile, const void *w, size_t w_stride, int k,          \
                              int rows) {                                                          \
        unpack_rows(B32_##type, tile, w, w_stride, k, rows);                                       \
    }
B32_TYPES(UNPACK)

LK_END
#endif
