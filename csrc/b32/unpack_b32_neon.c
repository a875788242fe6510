/*
 * unpack_q4_0 q4_1 q5_0 q5_1 q8_0 into the tile of kernels.h: four rows at a time, their words of
 * four codes brought side by side by TRN. Missing rows are not read and become zero.
 */
#include "b32.h"

#if LK_ARM
#include "b32_neon.h"
#include "tile_neon.h"

/* Codes of 16 elements of rows r..r+3, to where elements i..i+15 of row r lie in the tile. */
LK_INLINE void store_codes(int8_t *q, const uint8x16_t rows[4]) {
    uint32x4_t words[4];
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        words[i] = vreinterpretq_u32_u8(rows[i]);
    neon_transpose(words);
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        vst1q_s8(q + 4 * LK_TILE_ROWS * i, vreinterpretq_s8_u32(words[i]));
}

/* Four rows, of which `rows` exist. */
LK_INLINE void unpack_rows(b32_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride,
                           int k, const int rows) {
    const uint8x16_t zero = vdupq_n_u8((uint8_t)b32_zero(type));
    for (int b = 0; b < k / LK_QK32; b++, w += b32_bytes(type)) {
        const lk_tile t = lk_tile_from(tile, LK_QK32 * b, LK_QK32);
        uint8x16_t lo[4], hi[4];
        LK_UNROLL
        for (int r = 0; r < 4; r++) {
            lo[r] = hi[r] = vdupq_n_u8(0);
            if (r < rows) {
                const b32_codes codes = b32_unpack(type, w + r * w_stride);
                lo[r] = vsubq_u8(codes.lo, zero);
                hi[r] = vsubq_u8(codes.hi, zero);
            }
        }
        store_codes(t.q, lo);
        store_codes(t.q + 16 * LK_TILE_ROWS, hi);
        vst1q_f32(t.scale, neon_halves(w, w_stride, rows));
        if (b32_has_min(type)) /* 0 - m: a missing row has no negative zero */
            vst1q_f32(t.min, vsubq_f32(vdupq_n_f32(0.0f), neon_halves(w + 2, w_stride, rows)));
    }
}

LK_INLINE void unpack(b32_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride, int k,
                      int rows) {
    for (int r = 0; r < LK_TILE_ROWS; r += 4) {
        const lk_tile t = lk_tile_rows(tile, r);
        if (rows - r >= 4)
            unpack_rows(type, &t, w + r * w_stride, w_stride, k, 4);
        else
            unpack_rows(type, &t, w + r * w_stride, w_stride, k, rows - r);
    }
    lk_tile_starts(tile, k, LK_QK32);
}

#define UNPACK(type)                                                                               \
    void unpack_##type##_neon(const lk_tile *tile, const void *w, size_t w_stride, int k,          \
                              int rows) {                                                          \
        unpack(B32_##type, tile, w, w_stride, k, rows);                                            \
    }
B32_TYPES(UNPACK)
#endif
