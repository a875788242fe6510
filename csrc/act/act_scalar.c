/*
 * act_q8, the specification: x ~= d q with a scale per 32 (layout: "Quantised activations" in
 * kernels.h), q = x * (127 / max|x|) rounded half to even. Every level gives the same bytes.
 */
#include <math.h>

#include "act.h"

static int32_t quantise(int8_t *q, const float *x, int n, float inverse) {
    int32_t sum = 0;
    for (int i = 0; i < n; i++) {
        q[i] = (int8_t)lrintf(x[i] * inverse);
        sum += q[i];
    }
    return sum;
}

void act_q8_scalar(lk_act_block *act, const float *x, int k, int order) {
    act_clear_tail(act, k);
    for (int b = 0; b < k / ACT_QK; b++, x += ACT_QK) {
        const act_place at = act_place_of(act, b, order);
        float max = 0.0f, inverse;
        for (int i = 0; i < ACT_QK; i++)
            max = fmaxf(max, fabsf(x[i]));
        const float d = act_scale(max, &inverse);
        const int32_t lo = quantise(at.lo, x, ACT_QK / 2, inverse);
        const int32_t hi = quantise(at.hi, x + ACT_QK / 2, ACT_QK / 2, inverse);
        act_put_scales(at.record, b, d, lo, hi);
    }
}
