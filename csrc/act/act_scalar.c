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

void act_q8_scalar(void *act, const float *x, int k) {
    const int n = ACT_QK, half = ACT_QK / 2;
    int8_t *q = act;
    float *d = (float *)(q + k);
    float *s32 = d + k / n;
    float *s16 = s32 + k / n;
    for (int b = 0; b < k / n; b++, q += n, x += n) {
        float max = 0.0f, inverse;
        for (int i = 0; i < n; i++)
            max = fmaxf(max, fabsf(x[i]));
        d[b] = act_scale(max, &inverse);
        const int32_t lo = quantise(q, x, half, inverse);
        const int32_t hi = quantise(q + half, x + half, half, inverse);
        s32[b] = d[b] * (float)(lo + hi);
        s16[2 * b] = d[b] * (float)lo;
        s16[2 * b + 1] = d[b] * (float)hi;
    }
}
