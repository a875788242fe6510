/*
 * act_q8 and panel_q8: q = round-half-even(x * (127 / max|x|)) per 32, d = max|x| / 127 (layouts:
 * kernels.h), the same bytes as the scalar version. Instructions: FMAXV, FCVTNS (ties to even),
 * XTN, SADDLV. |sum of 32 q| <= 32 * 127. Whole groups of 32 only, so there is no tail.
 */
#include "act.h"

#if LK_ARM
#include "../neon.h"

/* Sixteen codes stored, and their sum. */
LK_INLINE int32_t quantise(int8_t *to, const float32x4_t x_f32x4[4], float inverse, int flip) {
    int16x4_t q_s16x4[4];
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        q_s16x4[i] = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(x_f32x4[i], inverse)));
    const int8x16_t q_s8x16 = vcombine_s8(vmovn_s16(vcombine_s16(q_s16x4[0], q_s16x4[1])),
                                          vmovn_s16(vcombine_s16(q_s16x4[2], q_s16x4[3])));
    vst1q_s8(to, veorq_s8(q_s8x16, vdupq_n_s8((int8_t)flip)));
    return vaddlvq_s8(q_s8x16);
}

LK_INLINE act_group32 act_quantise(const float *x, int8_t *lo, int8_t *hi, int flip) {
    float32x4_t x_f32x4[8], max_f32x4 = vdupq_n_f32(0.0f);
    LK_UNROLL
    for (int i = 0; i < 8; i++) {
        x_f32x4[i] = vld1q_f32(x + 4 * i);
        max_f32x4 = vmaxq_f32(max_f32x4, vabsq_f32(x_f32x4[i]));
    }
    float inverse;
    act_group32 v = {.d = act_scale(vmaxvq_f32(max_f32x4), &inverse)};
    v.lo = quantise(lo, x_f32x4, inverse, flip);
    v.hi = quantise(hi, x_f32x4 + 4, inverse, flip);
    return v;
}

ACT_KERNELS(neon)
#endif
