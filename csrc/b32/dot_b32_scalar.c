/*
 * dot_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4, the specification: per block of 32 one exact integer
 * sum, y = sum over blocks of  d_w d_a sum((q - zero) a) + m_w s32 with |sum| <= 32 * 128 * 127,
 * far inside int32. Reads whole blocks only.
 */
#include "b32.h"
#include "dot_walk.h"

LK_INLINE float dot_row(b32_type type, const uint8_t *w, const lk_act_block *x, int k) {
    const int order = b32_act_order(type);
    float y = 0.0f;
    for (int b = 0; b < k / LK_QK32; b++) {
        const lk_act_block *a = &x[b / 8];
        b32_values v;
        b32_decode(&v, type, w + b * b32_bytes(type));
        int32_t sum = 0;
        for (int j = 0; j < LK_QK32; j++)
            sum += (v.q[j] - b32_zero(type)) * a->q[lk_act_place(order, b % 8 * LK_QK32 + j)];
        y += v.d * a->d[b % 8] * (float)sum;
        if (b32_has_min(type))
            y += v.m * a->s32[b % 8];
    }
    return y;
}

LK_INLINE void tile(b32_type type, const lk_dot *d, const uint8_t *const w[2], float *const y[2],
                    const char *x, int rows, int cols) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            y[r][c * d->y_stride] =
                dot_row(type, w[r], (const lk_act_block *)(x + c * d->x_stride), d->k);
}

#define DOT(type)                                                                                  \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        tile(B32_##type, d, w, y, x, rows, cols);                                                  \
    }                                                                                              \
    void dot_##type##_scalar(const lk_dot *dot) {                                                  \
        lk_dot_walk(tile_##type, NULL, dot, 1, 0);                                                 \
    }
B32_TYPES(DOT)
