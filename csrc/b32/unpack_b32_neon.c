/*
 * unpack_q4_0 q4_1 q5_0 q5_1 q8_0 into the tile of kernels.h: four rows at a time, their words of
 * four codes brought side by side by TRN. Missing rows are not read and become zero.
 */
#include "b32.h"

#if LK_ARM
#include "b32_neon.h"

/* Codes of 16 elements of rows r..r+3, to where elements i..i+15 of row r lie in the tile. */
LK_INLINE void store_codes(uint8_t *q, const uint8x16_t rows[4]) {
    uint32x4_t words[4];
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        words[i] = vreinterpretq_u32_u8(rows[i]);
    neon_transpose(words);
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        vst1q_u8(q + 4 * LK_TILE_ROWS * i, vreinterpretq_u8_u32(words[i]));
}

LK_INLINE void unpack_rows(b32_type type, uint8_t *q, float *scale, float *min, const uint8_t *w,
                           size_t w_stride, int k, const int rows) {
    const size_t bytes = b32_bytes(type);
    for (int b = 0; b < k / LK_QK32; b++, w += bytes, q += LK_QK32 * LK_TILE_ROWS) {
        uint8x16_t lo[4], hi[4];
        LK_UNROLL
        for (int r = 0; r < 4; r++) {
            lo[r] = hi[r] = vdupq_n_u8(0);
            if (r < rows) {
                const b32_codes codes = b32_unpack(type, w + r * w_stride);
                lo[r] = codes.lo;
                hi[r] = codes.hi;
            }
        }
        store_codes(q, lo);
        store_codes(q + 16 * LK_TILE_ROWS, hi);
        vst1q_f32(scale + LK_TILE_ROWS * b, neon_halves(w, w_stride, rows));
        if (b32_has_min(type)) /* 0 - m: a missing row has no negative zero */
            vst1q_f32(min + LK_TILE_ROWS * b,
                      vsubq_f32(vdupq_n_f32(0.0f), neon_halves(w + 2, w_stride, rows)));
    }
}

LK_INLINE void unpack(b32_type type, uint8_t *q, float *scale, float *min, const uint8_t *w,
                      size_t w_stride, int k, int rows) {
    for (int r = 0; r < LK_TILE_ROWS; r += 4) {
        float *to = b32_has_min(type) ? min + r : min;
        if (rows - r >= 4)
            unpack_rows(type, q + 4 * r, scale + r, to, w + r * w_stride, w_stride, k, 4);
        else
            unpack_rows(type, q + 4 * r, scale + r, to, w + r * w_stride, w_stride, k, rows - r);
    }
}

#define UNPACK(type)                                                                               \
    void unpack_##type##_neon(uint8_t *q, float *scale, float *min, const void *w,                 \
                              size_t w_stride, int k, int rows) {                                  \
        unpack(B32_##type, q, scale, min, w, w_stride, k, rows);                                   \
    }
B32_TYPES(UNPACK)
#endif
