/*
 * act_q8: x ~= d q with a scale per 32 (layout: "Quantised activations" in kernels.h).
 * q = round-half-even(x * (127 / max|x|)), so every level gives the same bytes. |x| * (127 /
 * max|x|) exceeds 127 by two roundings at most, hence |q| <= 127. A group whose d would be
 * subnormal counts as zeros: its reciprocal could overflow, and nothing downstream could tell the
 * difference.
 */
#include <float.h>
#include <math.h>

#include "../kernels.h"

#define QK 32

static int32_t quantise(int8_t *q, const float *x, int n, float inverse) {
    int32_t sum = 0;
    for (int i = 0; i < n; i++) {
        q[i] = (int8_t)lrintf(x[i] * inverse);
        sum += q[i];
    }
    return sum;
}

void act_q8_scalar(void *act, const float *x, int k) {
    int8_t *q = act;
    float *d = (float *)(q + k);
    float *s32 = d + k / QK;
    float *s16 = s32 + k / QK;
    for (int b = 0; b < k / QK; b++) {
        float max = 0.0f;
        for (int i = 0; i < QK; i++)
            max = fmaxf(max, fabsf(x[QK * b + i]));
        const int is_zero = max / 127.0f < FLT_MIN;
        const float inverse = is_zero ? 0.0f : 127.0f / max;
        const int32_t lo = quantise(q + QK * b, x + QK * b, QK / 2, inverse);
        const int32_t hi = quantise(q + QK * b + QK / 2, x + QK * b + QK / 2, QK / 2, inverse);
        d[b] = is_zero ? 0.0f : max / 127.0f;
        s32[b] = d[b] * (float)(lo + hi);
        s16[2 * b] = d[b] * (float)lo;
        s16[2 * b + 1] = d[b] * (float)hi;
    }
}
