/*
 * row_f32, row_f16, row_bf16: weights as float32, exactly (a NaN made quiet). Halves widen by
 * FCVTL, bfloat16 by SHLL, four values a step; the tail one by one.
 */
#include <string.h>

#include "../kernels.h"

#if LK_ARM
#include "../neon.h"

void row_f32_neon(float *y, const void *w, int k) {
    memcpy(y, w, (size_t)k * sizeof(float));
}

void row_f16_neon(float *y, const void *w, int k) {
    const uint8_t *half = w;
    int i = 0;
    for (; i + 4 <= k; i += 4)
        vst1q_f32(y + i, neon_load_f16(half + 2 * (size_t)i));
    for (; i < k; i++)
        y[i] = lk_f16_to_f32(lk_load_u16(half + 2 * (size_t)i));
}

void row_bf16_neon(float *y, const void *w, int k) {
    const uint8_t *half = w;
    int i = 0;
    for (; i + 4 <= k; i += 4)
        vst1q_f32(y + i, neon_load_bf16(half + 2 * (size_t)i));
    for (; i < k; i++)
        y[i] = lk_bf16_to_f32(lk_load_u16(half + 2 * (size_t)i));
}
#endif
