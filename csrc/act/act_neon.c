/*
 * act_q8: q = round-half-even(x * (127 / max|x|)) per 32, d = max|x| / 127 (layout: "Quantised
 * activations" in kernels.h), the same bytes as act_q8_scalar. Instructions: FMAXV, FCVTNS (ties to
 * even), XTN, SADDLV. |sum of 32 q| <= 32 * 127. Whole groups of 32 only, so there is no tail.
 */
#include <float.h>

#include "../kernels.h"

#if LK_ARM
#include "../neon.h"

LK_INLINE int8x16_t quantise16(const float32x4_t x_f32x4[4], float inverse) {
    int16x4_t q_s16x4[4];
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        q_s16x4[i] = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(x_f32x4[i], inverse)));
    return vcombine_s8(vmovn_s16(vcombine_s16(q_s16x4[0], q_s16x4[1])),
                       vmovn_s16(vcombine_s16(q_s16x4[2], q_s16x4[3])));
}

void act_q8_neon(void *act, const float *x, int k) {
    int8_t *q = act;
    float *d = (float *)(void *)(q + k), *s32 = d + k / 32, *s16 = s32 + k / 32;
    for (int b = 0; b < k / 32; b++, x += 32, q += 32) {
        float32x4_t x_f32x4[8], max_f32x4 = vdupq_n_f32(0.0f);
        LK_UNROLL
        for (int i = 0; i < 8; i++) {
            x_f32x4[i] = vld1q_f32(x + 4 * i);
            max_f32x4 = vmaxq_f32(max_f32x4, vabsq_f32(x_f32x4[i]));
        }
        const float max = vmaxvq_f32(max_f32x4), scale = max / 127.0f;
        const int is_zero = scale < FLT_MIN;
        const float inverse = is_zero ? 0.0f : 127.0f / max;
        const int8x16_t lo = quantise16(x_f32x4, inverse), hi = quantise16(x_f32x4 + 4, inverse);
        vst1q_s8(q, lo);
        vst1q_s8(q + 16, hi);
        const int sum_lo = vaddlvq_s8(lo), sum_hi = vaddlvq_s8(hi);
        d[b] = is_zero ? 0.0f : scale;
        s32[b] = d[b] * (float)(sum_lo + sum_hi);
        s16[2 * b] = d[b] * (float)sum_lo;
        s16[2 * b + 1] = d[b] * (float)sum_hi;
    }
}
#endif
