/* Unpacking of the 32-wide blocks (blocks.h) for the NEON kernels of this unit. */
#ifndef LK_B32_NEON_H
#define LK_B32_NEON_H

#include "../neon.h"
#include "b32.h"

typedef struct {
    uint8x16_t lo, hi; /* elements 0..15 and 16..31 */
} b32_codes;

/* The bytes 0xff where bit j of two bytes of qh is set, for j = 0..15. */
LK_INLINE uint8x16_t b32_fifth_bits(uint16_t qh) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    const uint8x16_t byte = vcombine_u8(vdup_n_u8((uint8_t)qh), vdup_n_u8((uint8_t)(qh >> 8)));
    return vtstq_u8(byte, bit);
}

/* q of kernels.h's tile: x = d (q - zero) + m. */
LK_INLINE b32_codes b32_unpack(b32_type type, const uint8_t *w) {
    const uint8_t *qh = w + (b32_has_min(type) ? 4 : 2);
    const uint8_t *qs = qh + (b32_has_fifth_bit(type) ? 4 : 0);
    const uint8x16_t packed = vld1q_u8(qs);
    if (type == B32_q8_0) {
        const uint8x16_t sign = vdupq_n_u8(0x80);
        return (b32_codes){veorq_u8(packed, sign), veorq_u8(vld1q_u8(qs + 16), sign)};
    }
    b32_codes q = {vandq_u8(packed, vdupq_n_u8(15)), vshrq_n_u8(packed, 4)};
    if (b32_has_fifth_bit(type)) {
        const uint8x16_t sixteen = vdupq_n_u8(16);
        q.lo = vorrq_u8(q.lo, vandq_u8(b32_fifth_bits(lk_load_u16(qh)), sixteen));
        q.hi = vorrq_u8(q.hi, vandq_u8(b32_fifth_bits(lk_load_u16(qh + 2)), sixteen));
    }
    return q;
}

#endif
