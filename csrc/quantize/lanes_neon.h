/* Four groups side by side, one in each lane. Minima and maxima are comparisons, as for zeros of
 * both signs FMIN and FMAX differ from the other levels. */
#ifndef QUANTIZE_LANES_NEON_H
#define QUANTIZE_LANES_NEON_H

#include <arm_neon.h>

#include "../target.h"

#define LANES 4
typedef float32x4_t vec;
typedef uint32x4_t lane_mask;

LK_INLINE vec v_all(float a) {
    return vdupq_n_f32(a);
}
LK_INLINE vec v_load(const float *p) {
    return vld1q_f32(p);
}
LK_INLINE void v_store(float *p, vec a) {
    vst1q_f32(p, a);
}
LK_INLINE vec v_add(vec a, vec b) {
    return vaddq_f32(a, b);
}
LK_INLINE vec v_sub(vec a, vec b) {
    return vsubq_f32(a, b);
}
LK_INLINE vec v_mul(vec a, vec b) {
    return vmulq_f32(a, b);
}
LK_INLINE vec v_div(vec a, vec b) {
    return vdivq_f32(a, b);
}
LK_INLINE vec v_min(vec a, vec b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
LK_INLINE vec v_max(vec a, vec b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
LK_INLINE vec v_sqrt(vec a) {
    return vsqrtq_f32(a);
}
LK_INLINE vec v_round(vec a) {
    return vrndnq_f32(a);
}
LK_INLINE lane_mask v_greater(vec a, vec b) {
    return vcgtq_f32(a, b);
}
LK_INLINE vec v_select(lane_mask m, vec a, vec b) {
    return vbslq_f32(m, a, b);
}

#endif
