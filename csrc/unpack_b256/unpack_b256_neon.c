/*
 * unpack_q2_K q3_K q4_K q5_K q6_K iq4_xs into the tile of kernels.h: four rows at a time, their
 * words of four codes, and their scales, brought side by side by TRN. k is whole super-blocks: no
 * tail.
 */
#include "../kernels.h"

#if LK_ARM
#include "../k_quants_neon.h"
#include "tile_neon.h"

/* The four rows' vectors to v[i] at `to` + i * stride bytes, transposed in units of 32 bits. */
LK_INLINE void store_side_by_side(void *to, size_t stride, uint32x4_t v[4]) {
    neon_transpose(v);
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        vst1q_u8((uint8_t *)to + i * stride, vreinterpretq_u8_u32(v[i]));
}

LK_INLINE void unpack_codes(k_type type, int8_t *q, const uint8_t *const *row, size_t at) {
    const uint8x16_t zero = vdupq_n_u8((uint8_t)k_zero(type));
    LK_UNROLL
    for (int i = 0; i < 16; i++) {
        uint32x4_t v[4];
        LK_UNROLL
        for (int r = 0; r < 4; r++)
            v[r] = vreinterpretq_u32_u8(vsubq_u8(k_codes16(type, row[r] + at, i / 2, i % 2), zero));
        store_side_by_side(q + 16 * i * LK_TILE_ROWS, 4 * LK_TILE_ROWS, v);
    }
}

/* Integers times the factor of each row. */
LK_INLINE void unpack_floats(float *to, const int8x16_t bytes[4], const float factor[4],
                             const int groups) {
    int32x4_t wide[4][4];
    LK_UNROLL
    for (int r = 0; r < 4; r++)
        k_widen(wide[r], bytes[r]);
    LK_UNROLL
    for (int i = 0; i < groups / 4; i++) {
        uint32x4_t v[4];
        LK_UNROLL
        for (int r = 0; r < 4; r++)
            v[r] = vreinterpretq_u32_f32(vmulq_n_f32(vcvtq_f32_s32(wide[r][i]), factor[r]));
        store_side_by_side(to + 4 * i * LK_TILE_ROWS, 4 * LK_TILE_ROWS, v);
    }
}

/* The super-block at byte `at` of four rows. */
LK_INLINE void unpack_block(k_type type, const lk_tile *t, const uint8_t *const *row, size_t at) {
    const int groups = LK_QK256 / k_group(type);
    int8x16_t scales[4], mins[4];
    float d[4], dmin[4];
    LK_UNROLL
    for (int r = 0; r < 4; r++) {
        const k_scales s = k_scales_of(type, row[r] + at);
        scales[r] = s.scale;
        mins[r] = s.min;
        d[r] = s.d;
        dmin[r] = s.dmin;
    }
    unpack_codes(type, t->q, row, at);
    unpack_floats(t->scale, scales, d, groups);
    if (k_has_min(type))
        unpack_floats(t->min, mins, dmin, groups);
}

LK_INLINE void unpack(k_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride, int k,
                      int n_rows) {
    const size_t bytes = k_bytes(type);
    lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, k / LK_QK256 * bytes);
    for (int i = 0; i < k; i += LK_QK256) {
        const lk_tile step = lk_tile_from(tile, i, k_group(type));
        for (int r = 0; r < LK_TILE_ROWS; r += 4) {
            const lk_tile t = lk_tile_rows(&step, r);
            unpack_block(type, &t, rows.row + r, i / LK_QK256 * bytes);
        }
        lk_prefetch_next(&rows, (int)bytes);
    }
    lk_tile_starts(tile, k, k_group(type));
}

#define UNPACK(type)                                                                               \
    void unpack_##type##_neon(const lk_tile *tile, const void *w, size_t w_stride, int k,          \
                              int rows) {                                                          \
        unpack(K_##type, tile, w, w_stride, k, rows);                                              \
    }
K_TYPES(UNPACK)
#endif
