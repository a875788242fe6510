/*
 * Scalar expansion of K-quant and IQ4_XS super-blocks (blocks.h), shared by the scalar kernels of
 * dot_b256, unpack_b256 and row_b256. In all of them weight e = scale[e / G] * (q[e] - zero) -
 * min[e / G] with q unsigned in the order of the row, G = 32 for Q4_K, Q5_K and IQ4_XS, else 16;
 * zero is 4 for Q3_K, 32 for Q6_K, 128 for IQ4_XS, else 0; Q2_K, Q4_K and Q5_K have minima. The
 * scale bytes come eight to a little-endian word, so a vector kernel can widen them directly.
 */
#ifndef LK_K_QUANTS_H
#define LK_K_QUANTS_H

#include "blocks.h"
#include "half.h"

#define LK_ZERO_Q3_K 4
#define LK_ZERO_Q6_K 32
#define LK_ZERO_IQ4_XS 128

/* Expands one super-block; min is written only by types with minima. */
typedef void (*lk_k_expand_fn)(uint8_t *q, float *scale, float *min, const void *block);

LK_INLINE unsigned lk_byte_of(uint64_t word, int i) {
    return (unsigned)(word >> 8 * i) & 0xff;
}

/* The eight six-bit scales and minima of Q4_K and Q5_K: byte j of *sc and *m is that of group j. */
LK_INLINE void lk_k_scales_min(uint64_t *sc, uint64_t *m, const uint8_t s[12]) {
    const uint32_t a = lk_load_u32(s), b = lk_load_u32(s + 4), c = lk_load_u32(s + 8);
    const uint32_t low4 = 0x0f0f0f0f, low6 = 0x3f3f3f3f, top2 = 0x30303030;
    *sc = (uint64_t)((c & low4) | (a >> 2 & top2)) << 32 | (a & low6);
    *m = (uint64_t)((c >> 4 & low4) | (b >> 2 & top2)) << 32 | (b & low6);
}

/* The sixteen six-bit scales of Q3_K, still biased by 32: groups 0..7 in sc[0], 8..15 in sc[1]. */
LK_INLINE void lk_k_scales_q3(uint64_t sc[2], const uint8_t s[12]) {
    const uint64_t low = lk_load_u32(s) | (uint64_t)lk_load_u32(s + 4) << 32;
    const uint32_t top = lk_load_u32(s + 8), top2 = 0x30303030;
    const uint64_t low4 = 0x0f0f0f0f0f0f0f0f;
    sc[0] = (low & low4) | (top << 4 & top2) | (uint64_t)(top << 2 & top2) << 32;
    sc[1] = (low >> 4 & low4) | (top & top2) | (uint64_t)(top >> 2 & top2) << 32;
}

/* The eight six-bit scales of IQ4_XS, still biased by 32: low nibbles, and pairs of bits above
 * them, spread to bytes. */
LK_INLINE uint64_t lk_k_scales_iq4(const block_iq4_xs *b) {
    uint64_t low = lk_load_u32(b->scales_l), top = b->scales_h;
    low = (low | low << 16) & 0x0000ffff0000ffff;
    low = (low | low << 8) & 0x00ff00ff00ff00ff;
    low = (low | low << 4) & 0x0f0f0f0f0f0f0f0f;
    top = (top | top << 24) & 0x000000ff000000ff;
    top = (top | top << 12) & 0x000f000f000f000f;
    top = (top | top << 6) & 0x0303030303030303;
    return low | top << 4;
}

LK_INLINE void lk_expand_q2_K(uint8_t *q, float *scale, float *min, const void *block) {
    const block_q2_K *b = block;
    const float d = lk_f16_to_f32(b->d), dmin = lk_f16_to_f32(b->dmin);
    for (int e = 0; e < LK_QK256; e++)
        q[e] = b->qs[e / 128 * 32 + e % 32] >> e / 32 % 4 * 2 & 3;
    for (int g = 0; g < 16; g++) {
        scale[g] = d * (b->scales[g] & 15);
        min[g] = dmin * (b->scales[g] >> 4);
    }
}

LK_INLINE void lk_expand_q3_K(uint8_t *q, float *scale, float *min, const void *block) {
    (void)min;
    const block_q3_K *b = block;
    const float d = lk_f16_to_f32(b->d);
    uint64_t sc[2];
    lk_k_scales_q3(sc, b->scales);
    for (int e = 0; e < LK_QK256; e++) {
        int low = b->qs[e / 128 * 32 + e % 32] >> e / 32 % 4 * 2 & 3;
        int high = b->hmask[e % 32] >> e / 32 & 1;
        q[e] = (uint8_t)(low | high << 2);
    }
    for (int g = 0; g < 16; g++)
        scale[g] = d * ((int)lk_byte_of(sc[g / 8], g % 8) - 32);
}

LK_INLINE void lk_expand_q4_K(uint8_t *q, float *scale, float *min, const void *block) {
    const block_q4_K *b = block;
    const float d = lk_f16_to_f32(b->d), dmin = lk_f16_to_f32(b->dmin);
    uint64_t sc, m;
    lk_k_scales_min(&sc, &m, b->scales);
    for (int e = 0; e < LK_QK256; e++)
        q[e] = b->qs[e / 64 * 32 + e % 32] >> e / 32 % 2 * 4 & 15;
    for (int g = 0; g < 8; g++) {
        scale[g] = d * lk_byte_of(sc, g);
        min[g] = dmin * lk_byte_of(m, g);
    }
}

LK_INLINE void lk_expand_q5_K(uint8_t *q, float *scale, float *min, const void *block) {
    const block_q5_K *b = block;
    const float d = lk_f16_to_f32(b->d), dmin = lk_f16_to_f32(b->dmin);
    uint64_t sc, m;
    lk_k_scales_min(&sc, &m, b->scales);
    for (int e = 0; e < LK_QK256; e++) {
        int low = b->qs[e / 64 * 32 + e % 32] >> e / 32 % 2 * 4 & 15;
        int high = b->qh[e % 32] >> e / 32 & 1;
        q[e] = (uint8_t)(low | high << 4);
    }
    for (int g = 0; g < 8; g++) {
        scale[g] = d * lk_byte_of(sc, g);
        min[g] = dmin * lk_byte_of(m, g);
    }
}

LK_INLINE void lk_expand_q6_K(uint8_t *q, float *scale, float *min, const void *block) {
    (void)min;
    const block_q6_K *b = block;
    const float d = lk_f16_to_f32(b->d);
    for (int e = 0; e < LK_QK256; e++) {
        int half = e / 128, quarter = e / 32 % 4;
        int low = b->ql[half * 64 + e % 64] >> quarter / 2 * 4 & 15;
        int high = b->qh[half * 32 + e % 32] >> quarter * 2 & 3;
        q[e] = (uint8_t)(low | high << 4);
    }
    for (int g = 0; g < 16; g++)
        scale[g] = d * b->scales[g];
}

LK_INLINE void lk_expand_iq4_xs(uint8_t *q, float *scale, float *min, const void *block) {
    (void)min;
    const block_iq4_xs *b = block;
    const float d = lk_f16_to_f32(b->d);
    const uint64_t sc = lk_k_scales_iq4(b);
    for (int e = 0; e < LK_QK256; e++) {
        const int code = b->qs[e / 32 * 16 + e % 16] >> e / 16 % 2 * 4 & 15;
        q[e] = (uint8_t)(lk_iq4_values[code] + LK_ZERO_IQ4_XS);
    }
    for (int g = 0; g < 8; g++)
        scale[g] = d * ((int)lk_byte_of(sc, g) - 32);
}

#endif
