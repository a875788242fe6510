/*
 * dot_q4_0 q4_1 q5_0 q5_1 q8_0, the specification: per block of 32 one exact integer sum,
 *     y = sum over blocks of  d_w d_a sum((q - zero) a) + m_w s32
 * with |sum| <= 32 * 128 * 127, far inside int32. Reads whole blocks only.
 */
#include "b32.h"

LK_INLINE float dot_row(b32_type type, const uint8_t *w, const void *x, int k) {
    const int8_t *a = lk_act_q(x);
    float y = 0.0f;
    for (int b = 0; b < k / LK_QK32; b++) {
        b32_values v;
        b32_decode(&v, type, w + b * b32_bytes(type));
        int32_t sum = 0;
        for (int j = 0; j < LK_QK32; j++)
            sum += (v.q[j] - b32_zero(type)) * a[LK_QK32 * b + j];
        y += v.d * lk_act_d(x, k)[b] * (float)sum;
        if (b32_has_min(type))
            y += v.m * lk_act_s32(x, k)[b];
    }
    return y;
}

#define DOT(type)                                                                                  \
    void dot_##type##_scalar(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,         \
                             const void *x, size_t x_stride, int k, int rows, int cols) {          \
        for (int r = 0; r < rows; r++)                                                             \
            for (int c = 0; c < cols; c++)                                                         \
                y[c * y_stride + r] = dot_row(B32_##type, (const uint8_t *)w + r * w_stride,       \
                                              (const char *)x + c * x_stride, k);                  \
    }
B32_TYPES(DOT)
