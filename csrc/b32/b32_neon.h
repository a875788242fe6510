/* Unpacking of the 32-wide blocks (blocks.h) for the NEON kernels of this unit. */
#ifndef LK_B32_NEON_H
#define LK_B32_NEON_H

#include "../neon.h"
#include "b32.h"

typedef struct {
    int8x16_t lo, hi; /* elements 0..15 and 16..31 */
} b32_codes;

/* The bytes 0xff where bit j of two bytes of qh is set, for j = 0..15. */
LK_INLINE uint8x16_t b32_fifth_bits(uint16_t qh) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    const uint8x16_t byte = vcombine_u8(vdup_n_u8((uint8_t)qh), vdup_n_u8((uint8_t)(qh >> 8)));
    return vtstq_u8(byte, bit);
}

/* q of kernels.h's tile, signed. */
LK_INLINE b32_codes b32_unpack(b32_type type, const uint8_t *w) {
    const uint8_t *qh = w + b32_fifth_at(type), *qs = w + b32_quants_at(type);
    if (type == B32_q8_0)
        return (b32_codes){vld1q_s8((const int8_t *)qs), vld1q_s8((const int8_t *)qs + 16)};
    const uint8x16_t packed = vld1q_u8(qs);
    uint8x16_t lo = vandq_u8(packed, vdupq_n_u8(15)), hi = vshrq_n_u8(packed, 4);
    if (b32_table(type)) {
        const int8x16_t table = vld1q_s8(b32_table(type));
        return (b32_codes){vqtbl1q_s8(table, lo), vqtbl1q_s8(table, hi)};
    }
    if (b32_has_fifth_bit(type)) {
        const uint8x16_t sixteen = vdupq_n_u8(16);
        lo = vorrq_u8(lo, vandq_u8(b32_fifth_bits(lk_load_u16(qh)), sixteen));
        hi = vorrq_u8(hi, vandq_u8(b32_fifth_bits(lk_load_u16(qh + 2)), sixteen));
    }
    const uint8x16_t zero = vdupq_n_u8((uint8_t)b32_zero(type));
    return (b32_codes){vreinterpretq_s8_u8(b32_zero(type) ? vsubq_u8(lo, zero) : lo),
                       vreinterpretq_s8_u8(b32_zero(type) ? vsubq_u8(hi, zero) : hi)};
}

/* lk_half_e8m0_to_f32: 2^-128 and 2^-127 are not normal. */
LK_INLINE float32x4_t b32_half_e8m0(const uint32_t e[4]) {
    const int32x4_t e_s32x4 = vreinterpretq_s32_u32(vld1q_u32(e)), one = vdupq_n_s32(1);
    const int32x4_t normal = vshlq_n_s32(vsubq_s32(e_s32x4, one), 23);
    const int32x4_t least = vshlq_n_s32(vminq_s32(vaddq_s32(e_s32x4, one), vdupq_n_s32(2)), 21);
    return vreinterpretq_f32_s32(vmaxq_s32(normal, least));
}

#endif
