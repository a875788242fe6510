/*
 * What NEON kernels of several units share; only inside `#if LK_ARM`. Advanced SIMD of Armv8.0,
 * half conversions included, needs no target region.
 */
#ifndef LK_NEON_H
#define LK_NEON_H

#include <arm_neon.h>

#include "half.h"

/* GCC schedules before it allocates registers, hoists the loads of an unrolled step past what 32
 * registers hold, and spills them. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

/*
 * SDOT, for regions that have it. Clang before 16 declares the intrinsics only where the whole file
 * is compiled for it, hence the spelling in assembly.
 */
#if defined(__clang__) && __clang_major__ < 16
LK_INLINE int32x4_t neon_sdot(int32x4_t acc, int8x16_t w, int8x16_t a) {
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(w), "w"(a));
    return acc;
}
#define neon_sdot_lane(acc, w, a, lane)                                                            \
    neon_sdot(acc, w, vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(a), lane)))
#else
#define neon_sdot(acc, w, a) vdotq_s32(acc, w, a)
#define neon_sdot_lane(acc, w, a, lane) vdotq_laneq_s32(acc, w, a, lane)
#endif

/* Weights have any alignment, so they are loaded as bytes. */
LK_INLINE float32x4_t neon_load_f32(const void *p) {
    return vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)p));
}
LK_INLINE float32x4_t neon_load_f16(const void *p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t *)p)));
}
LK_INLINE float32x4_t neon_load_bf16(const void *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8((const uint8_t *)p)), 16));
}

/* n <= 4 half floats, stride bytes apart, as floats; 0 beyond n. */
LK_INLINE float32x4_t neon_halves(const uint8_t *p, size_t stride, int n) {
    uint16x4_t h_u16x4 = vdup_n_u16(0);
    if (n > 0)
        h_u16x4 = vset_lane_u16(lk_load_u16(p), h_u16x4, 0);
    if (n > 1)
        h_u16x4 = vset_lane_u16(lk_load_u16(p + stride), h_u16x4, 1);
    if (n > 2)
        h_u16x4 = vset_lane_u16(lk_load_u16(p + 2 * stride), h_u16x4, 2);
    if (n > 3)
        h_u16x4 = vset_lane_u16(lk_load_u16(p + 3 * stride), h_u16x4, 3);
    return vcvt_f32_f16(vreinterpret_f16_u16(h_u16x4));
}

/* n <= 4 floats; 0 beyond n. */
LK_INLINE float32x4_t neon_floats(const float *p, int n) {
    if (n >= 4)
        return vld1q_f32(p);
    float32x4_t v_f32x4 = vdupq_n_f32(0.0f);
    if (n > 0)
        v_f32x4 = vld1q_lane_f32(p, v_f32x4, 0);
    if (n > 1)
        v_f32x4 = vld1q_lane_f32(p + 1, v_f32x4, 1);
    if (n > 2)
        v_f32x4 = vld1q_lane_f32(p + 2, v_f32x4, 2);
    return v_f32x4;
}

/* Lane i of the result is the sum over the lanes of v[i]. */
LK_INLINE int32x4_t neon_sums(const int32x4_t v[4]) {
    return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]));
}

/* Rows become columns, in units of 32 bits. */
LK_INLINE void neon_transpose(uint32x4_t v[4]) {
    const uint64x2_t a = vreinterpretq_u64_u32(vtrn1q_u32(v[0], v[1]));
    const uint64x2_t b = vreinterpretq_u64_u32(vtrn2q_u32(v[0], v[1]));
    const uint64x2_t c = vreinterpretq_u64_u32(vtrn1q_u32(v[2], v[3]));
    const uint64x2_t d = vreinterpretq_u64_u32(vtrn2q_u32(v[2], v[3]));
    v[0] = vreinterpretq_u32_u64(vtrn1q_u64(a, c));
    v[1] = vreinterpretq_u32_u64(vtrn1q_u64(b, d));
    v[2] = vreinterpretq_u32_u64(vtrn2q_u64(a, c));
    v[3] = vreinterpretq_u32_u64(vtrn2q_u64(b, d));
}

/*
 * exp: x = n ln 2 + r, |r| <= ln 2 / 2; exp(r) = 1 + r + r^2 P(r) with P the minimax polynomial of
 * degree 4 (its own error is 2^-28); 2^n in two factors, so that results are right down to the
 * subnormals and overflow to infinity. Within 2 ulp; NaN stays.
 */
LK_INLINE float32x4_t neon_exp(float32x4_t x) {
    x = vmaxq_f32(vminq_f32(x, vdupq_n_f32(89.0f)), vdupq_n_f32(-104.0f));
    const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 0x1.715476p+0f));
    float32x4_t r = vfmsq_n_f32(x, n, 0x1.62e400p-1f); /* n times the upper part is exact */
    r = vfmsq_n_f32(r, n, 0x1.7f7d1cp-20f);
    float32x4_t p = vdupq_n_f32(0x1.6a2434p-10f);
    p = vfmaq_f32(vdupq_n_f32(0x1.1239e2p-7f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.5558f2p-5f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.555492p-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.fffffcp-2f), p, r);
    p = vaddq_f32(vfmaq_f32(r, vmulq_f32(r, r), p), vdupq_n_f32(1.0f));
    const int32x4_t n_s32x4 = vcvtq_s32_f32(n), half_n = vshrq_n_s32(n_s32x4, 1);
    const int32x4_t bias = vdupq_n_s32(127);
    const int32x4_t first = vshlq_n_s32(vaddq_s32(half_n, bias), 23);
    const int32x4_t second = vshlq_n_s32(vaddq_s32(vsubq_s32(n_s32x4, half_n), bias), 23);
    p = vmulq_f32(p, vreinterpretq_f32_s32(first));
    return vmulq_f32(p, vreinterpretq_f32_s32(second));
}

/* cap tanh(x / cap) = cap - 2 cap / (exp(2 x / cap) + 1). */
LK_INLINE float32x4_t neon_softcap(float32x4_t x, float cap) {
    const float32x4_t e = neon_exp(vmulq_n_f32(x, 2.0f / cap));
    return vsubq_f32(vdupq_n_f32(cap),
                     vdivq_f32(vdupq_n_f32(2.0f * cap), vaddq_f32(e, vdupq_n_f32(1.0f))));
}

/* exp of one value: the tails of float loops round as their bodies do. */
LK_INLINE float neon_exp_one(float x) {
    return vgetq_lane_f32(neon_exp(vdupq_n_f32(x)), 0);
}

#endif
