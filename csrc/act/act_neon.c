/*
 * act_q8: q = round-half-even(x * (127 / max|x|)) per 32, d = max|x| / 127 (layout: "Quantised
 * activations" in kernels.h), the same bytes as act_q8_scalar. Instructions: FMAXV, FCVTNS (ties to
 * even), XTN, SADDLV. |sum of 32 q| <= 32 * 127. Whole groups of 32 only, so there is no tail.
 */
#include "act.h"

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

void act_q8_neon(lk_act_block *act, const float *x, int k, int order) {
    act_clear_tail(act, k);
    for (int b = 0; b < k / ACT_QK; b++, x += ACT_QK) {
        const act_place at = act_place_of(act, b, order);
        float32x4_t x_f32x4[8], max_f32x4 = vdupq_n_f32(0.0f);
        LK_UNROLL
        for (int i = 0; i < 8; i++) {
            x_f32x4[i] = vld1q_f32(x + 4 * i);
            max_f32x4 = vmaxq_f32(max_f32x4, vabsq_f32(x_f32x4[i]));
        }
        float inverse;
        const float d = act_scale(vmaxvq_f32(max_f32x4), &inverse);
        const int8x16_t lo = quantise16(x_f32x4, inverse), hi = quantise16(x_f32x4 + 4, inverse);
        vst1q_s8(at.lo, lo);
        vst1q_s8(at.hi, hi);
        act_put_scales(at.record, b, d, vaddlvq_s8(lo), vaddlvq_s8(hi));
    }
}
#endif
