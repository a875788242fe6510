/*
 * act_q8 and panel_q8, the specification: x ~= d q with a scale per 32 (layouts: kernels.h),
 * q = x * (127 / max|x|) rounded half to even. Every level gives the same bytes.
 */
#include <math.h>

#include "act.h"

static int32_t quantise(int8_t *q, const float *x, float inverse, int flip) {
    int32_t sum = 0;
    for (int i = 0; i < ACT_QK / 2; i++) {
        const long code = lrintf(x[i] * inverse);
        q[i] = (int8_t)(code ^ flip);
        sum += (int32_t)code;
    }
    return sum;
}

LK_INLINE act_group32 act_quantise(const float *x, int8_t *lo, int8_t *hi, int flip) {
    float max = 0.0f, inverse;
    for (int i = 0; i < ACT_QK; i++)
        max = fmaxf(max, fabsf(x[i]));
    act_group32 v = {.d = act_scale(max, &inverse)};
    v.lo = quantise(lo, x, inverse, flip);
    v.hi = quantise(hi, x + ACT_QK / 2, inverse, flip);
    return v;
}

ACT_KERNELS(scalar)
