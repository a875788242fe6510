/*
 * NEON expansion of K-quant super-blocks (blocks.h; the terms are those of k_quants.h), shared by
 * dot_b256 and unpack_b256. The type is a constant wherever these are inlined.
 */
#ifndef LK_K_QUANTS_NEON_H
#define LK_K_QUANTS_NEON_H

#include "k_quants.h"
#include "neon.h"

#define K_TYPES(X) X(q2_K) X(q3_K) X(q4_K) X(q5_K) X(q6_K) X(iq4_xs)

typedef enum { K_q2_K, K_q3_K, K_q4_K, K_q5_K, K_q6_K, K_iq4_xs } k_type;

LK_INLINE size_t k_bytes(k_type type) {
#define SIZE(type) [K_##type] = sizeof(block_##type),
    static const uint8_t bytes[] = {K_TYPES(SIZE)};
#undef SIZE
    return bytes[type];
}

LK_INLINE int k_group(k_type type) {
    return type == K_q4_K || type == K_q5_K || type == K_iq4_xs ? 32 : 16;
}

LK_INLINE int k_zero(k_type type) {
    return type == K_q3_K     ? LK_ZERO_Q3_K
           : type == K_q6_K   ? LK_ZERO_Q6_K
           : type == K_iq4_xs ? LK_ZERO_IQ4_XS
                              : 0;
}

LK_INLINE int k_has_min(k_type type) {
    return type != K_q3_K && type != K_q6_K && type != K_iq4_xs;
}

/* x << n, or x >> -n; then the bits of mask. */
LK_INLINE uint8x16_t k_bits(uint8x16_t x, int n, int mask) {
    return vandq_u8(vshlq_u8(x, vdupq_n_s8((int8_t)n)), vdupq_n_u8((uint8_t)mask));
}

/* Elements 32 j + 16 v .. + 15 of a super-block, unsigned; j and v are constants. */
LK_INLINE uint8x16_t k_codes16(k_type type, const void *block, const int j, const int v) {
    if (type == K_q2_K) {
        const block_q2_K *b = block;
        return k_bits(vld1q_u8(b->qs + j / 4 * 32 + 16 * v), -2 * (j % 4), 3);
    }
    if (type == K_q3_K) {
        const block_q3_K *b = block;
        const uint8x16_t low = k_bits(vld1q_u8(b->qs + j / 4 * 32 + 16 * v), -2 * (j % 4), 3);
        return vorrq_u8(low, k_bits(vld1q_u8(b->hmask + 16 * v), 2 - j, 4));
    }
    if (type == K_q4_K) {
        const block_q4_K *b = block;
        return k_bits(vld1q_u8(b->qs + j / 2 * 32 + 16 * v), -4 * (j % 2), 15);
    }
    if (type == K_q5_K) {
        const block_q5_K *b = block;
        const uint8x16_t low = k_bits(vld1q_u8(b->qs + j / 2 * 32 + 16 * v), -4 * (j % 2), 15);
        return vorrq_u8(low, k_bits(vld1q_u8(b->qh + 16 * v), 4 - j, 16));
    }
    if (type == K_iq4_xs) {
        const block_iq4_xs *b = block;
        const uint8x16_t table = vreinterpretq_u8_s8(vld1q_s8(lk_iq4_values));
        return vqtbl1q_u8(veorq_u8(table, vdupq_n_u8(LK_ZERO_IQ4_XS)),
                          k_bits(vld1q_u8(b->qs + 16 * j), -4 * v, 15));
    }
    const block_q6_K *b = block;
    const int half = j / 4, quarter = j % 4;
    const uint8_t *ql = b->ql + 64 * half + quarter % 2 * 32 + 16 * v;
    const uint8x16_t high = k_bits(vld1q_u8(b->qh + 32 * half + 16 * v), 4 - 2 * quarter, 0x30);
    return vorrq_u8(k_bits(vld1q_u8(ql), -4 * (quarter / 2), 15), high);
}

LK_INLINE void k_codes(k_type type, uint8x16_t q[16], const void *block) {
    LK_UNROLL
    for (int i = 0; i < 16; i++)
        q[i] = k_codes16(type, block, i / 2, i % 2);
}

/* Integer scales and minima by group (eight, or sixteen), still without d and dmin. */
typedef struct {
    int8x16_t scale, min;
    float d, dmin;
} k_scales;

LK_INLINE int8x16_t k_eight(uint64_t bytes) {
    return vreinterpretq_s8_u64(vcombine_u64(vcreate_u64(bytes), vcreate_u64(0)));
}

LK_INLINE k_scales k_scales_of(k_type type, const void *block) {
    k_scales s = {.scale = vdupq_n_s8(0), .min = vdupq_n_s8(0)};
    if (type == K_q2_K) {
        const block_q2_K *b = block;
        const uint8x16_t both = vld1q_u8(b->scales);
        s.scale = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        s.min = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
        s.d = lk_f16_to_f32(b->d);
        s.dmin = lk_f16_to_f32(b->dmin);
    } else if (type == K_q3_K) {
        const block_q3_K *b = block;
        uint64_t sc[2];
        lk_k_scales_q3(sc, b->scales);
        const uint64x2_t biased = vcombine_u64(vcreate_u64(sc[0]), vcreate_u64(sc[1]));
        s.scale = vsubq_s8(vreinterpretq_s8_u64(biased), vdupq_n_s8(32));
        s.d = lk_f16_to_f32(b->d);
    } else if (type == K_q6_K) {
        const block_q6_K *b = block;
        s.scale = vld1q_s8(b->scales);
        s.d = lk_f16_to_f32(b->d);
    } else if (type == K_iq4_xs) {
        const block_iq4_xs *b = block;
        s.scale = vsubq_s8(k_eight(lk_k_scales_iq4(b)), vdupq_n_s8(32));
        s.d = lk_f16_to_f32(b->d);
    } else { /* block_q5_K begins as block_q4_K does */
        const block_q4_K *b = block;
        uint64_t sc, m;
        lk_k_scales_min(&sc, &m, b->scales);
        s.scale = k_eight(sc);
        s.min = k_eight(m);
        s.d = lk_f16_to_f32(b->d);
        s.dmin = lk_f16_to_f32(b->dmin);
    }
    return s;
}

LK_INLINE void k_widen(int32x4_t wide[4], int8x16_t bytes) {
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    wide[0] = vmovl_s16(vget_low_s16(low));
    wide[1] = vmovl_high_s16(low);
    wide[2] = vmovl_s16(vget_low_s16(high));
    wide[3] = vmovl_high_s16(high);
}

#endif
