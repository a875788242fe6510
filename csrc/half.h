/*
 * One value at a time: unaligned little-endian loads, IEEE half (5 exponent bits, 10 mantissa) and
 * bfloat16 (the upper half of a float). The rounding is that of VCVTPS2PH: to nearest, ties to
 * even, overflow to infinity; a NaN stays one, made quiet, with the upper bits of its payload.
 */
#ifndef LK_HALF_H
#define LK_HALF_H

#include <stdint.h>
#include <string.h>

#include "target.h"

LK_INLINE uint16_t lk_load_u16(const void *p) {
    const uint8_t *b = (const uint8_t *)p;
    return (uint16_t)(b[0] | b[1] << 8);
}

LK_INLINE uint32_t lk_load_u32(const void *p) {
    const uint8_t *b = (const uint8_t *)p;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

LK_INLINE float lk_bits_to_f32(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

LK_INLINE uint32_t lk_f32_to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

LK_INLINE float lk_load_f32(const void *p) {
    return lk_bits_to_f32(lk_load_u32(p));
}

LK_INLINE float lk_bf16_to_f32(uint16_t h) {
    return lk_bits_to_f32((uint32_t)h << 16);
}

/* Exact: the exponent's bias goes from 15 to 127; every subnormal half is a normal float. */
LK_INLINE float lk_f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = h & 0x7fff;
    if (magnitude >= 0x7c00) {
        const uint32_t quiet = magnitude > 0x7c00 ? 0x400000 : 0;
        return lk_bits_to_f32(sign | 0x7f800000 | quiet | (magnitude & 0x3ff) << 13);
    }
    if (magnitude < 0x400) /* subnormal: units of 2^-24 */
        return lk_bits_to_f32(sign | lk_f32_to_bits((float)magnitude * 0x1p-24f));
    return lk_bits_to_f32(sign | (magnitude + (112 << 10)) << 13);
}

/* 2^(e - 128): half of what E8M0, a float that is an exponent alone, stands for; see MXFP4. */
LK_INLINE float lk_half_e8m0_to_f32(uint8_t e) {
    return lk_bits_to_f32(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

LK_INLINE uint16_t lk_f32_to_f16(float x) {
    const uint32_t bits = lk_f32_to_bits(x), magnitude = bits & 0x7fffffff;
    const uint32_t sign = bits >> 16 & 0x8000;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >=
        0x47800000) /* 65536 and beyond; 65520..65536 overflows in the rounding below */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 leaves units of 2^-24, rounded */
        const float shifted = lk_bits_to_f32(magnitude) + 0.5f;
        return (uint16_t)(sign | (lk_f32_to_bits(shifted) - 0x3f000000));
    }
    const uint32_t half_ulp_to_even = 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - (112u << 23) + half_ulp_to_even) >> 13);
}

#endif
