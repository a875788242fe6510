/*
 * unpack_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4 into the tile of kernels.h: four rows at a time,
 * their words of four codes brought side by side by TRN.
 */
#include "b32.h"

#if LK_ARM
#include "b32_neon.h"
#include "tile_neon.h"

/* Codes of 16 elements of rows r..r+3, to where elements i..i+15 of row r lie in the tile. */
LK_INLINE void store_codes(int8_t *q, const int8x16_t rows[4]) {
    uint32x4_t words[4];
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        words[i] = vreinterpretq_u32_s8(rows[i]);
    neon_transpose(words);
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        vst1q_s8(q + 4 * LK_TILE_ROWS * i, vreinterpretq_s8_u32(words[i]));
}

/* The half floats at byte `at` of four rows. */
LK_INLINE float32x4_t halves(const uint8_t *const *row, size_t at) {
    uint16_t h[4];
    for (int r = 0; r < 4; r++)
        h[r] = lk_load_u16(row[r] + at);
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
}

/* The exponents there. */
LK_INLINE float32x4_t exponents(const uint8_t *const *row, size_t at) {
    uint32_t e[4];
    for (int r = 0; r < 4; r++)
        e[r] = row[r][at];
    return b32_half_e8m0(e);
}

/* The block at byte `at` of four rows. */
LK_INLINE void unpack_block(b32_type type, const lk_tile *t, const uint8_t *const *row, size_t at) {
    int8x16_t lo[4], hi[4];
    LK_UNROLL
    for (int r = 0; r < 4; r++) {
        const b32_codes codes = b32_unpack(type, row[r] + at);
        lo[r] = codes.lo;
        hi[r] = codes.hi;
    }
    store_codes(t->q, lo);
    store_codes(t->q + 16 * LK_TILE_ROWS, hi);
    vst1q_f32(t->scale, type == B32_mxfp4 ? exponents(row, at) : halves(row, at));
    if (b32_has_min(type))
        vst1q_f32(t->min, vnegq_f32(halves(row, at + 2)));
}

LK_INLINE void unpack(b32_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride, int k,
                      int n_rows) {
    const size_t bytes = b32_bytes(type);
    lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, k / LK_QK32 * bytes);
    for (int b = 0; b < k / LK_QK32; b++) {
        const lk_tile step = lk_tile_from(tile, LK_QK32 * b, LK_QK32);
        for (int r = 0; r < LK_TILE_ROWS; r += 4) {
            const lk_tile t = lk_tile_rows(&step, r);
            unpack_block(type, &t, rows.row + r, b * bytes);
        }
        lk_prefetch_next(&rows, (int)bytes);
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
