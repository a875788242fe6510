/*
 * dot_f32, dot_f16, dot_bf16: y[r, c] = sum w x in float32. Halves widen by FCVTL, bfloat16 by
 * SHLL; FMLA into four accumulators of four lanes, up to four columns a pass. Columns do not mix
 * and each has the same order of additions, so a value does not depend on rows or cols. Tail: four
 * values a step into the first accumulator, then one by one.
 */
#include "dot_walk.h"

#if LK_ARM
#include "../neon.h"

#define MAX_COLS 4

typedef enum { F32, F16, BF16 } weight_type;

LK_INLINE float32x4_t load4(weight_type type, const uint8_t *w) {
    return type == F32 ? neon_load_f32(w) : type == F16 ? neon_load_f16(w) : neon_load_bf16(w);
}

LK_INLINE float load1(weight_type type, const uint8_t *w) {
    return type == F32   ? lk_load_f32(w)
           : type == F16 ? lk_f16_to_f32(lk_load_u16(w))
                         : lk_bf16_to_f32(lk_load_u16(w));
}

LK_INLINE void dot_row(weight_type type, float *y, ptrdiff_t y_stride, const uint8_t *w,
                       const char *x, size_t x_stride, int k, const int cols) {
    const int size = type == F32 ? 4 : 2;
    float32x4_t sum_f32x4[MAX_COLS][4];
    LK_UNROLL
    for (int c = 0; c < cols; c++)
        LK_UNROLL
    for (int u = 0; u < 4; u++)
        sum_f32x4[c][u] = vdupq_n_f32(0.0f);
    int i = 0;
    for (; i + 16 <= k; i += 16)
        LK_UNROLL
    for (int u = 0; u < 4; u++) {
        const float32x4_t w_f32x4 = load4(type, w + (size_t)(i + 4 * u) * size);
        LK_UNROLL
        for (int c = 0; c < cols; c++) {
            const float *column = (const float *)(const void *)(x + c * x_stride);
            sum_f32x4[c][u] = vfmaq_f32(sum_f32x4[c][u], w_f32x4, vld1q_f32(column + i + 4 * u));
        }
    }
    for (; i + 4 <= k; i += 4) {
        const float32x4_t w_f32x4 = load4(type, w + (size_t)i * size);
        LK_UNROLL
        for (int c = 0; c < cols; c++) {
            const float *column = (const float *)(const void *)(x + c * x_stride);
            sum_f32x4[c][0] = vfmaq_f32(sum_f32x4[c][0], w_f32x4, vld1q_f32(column + i));
        }
    }
    LK_UNROLL
    for (int c = 0; c < cols; c++) {
        const float *column = (const float *)(const void *)(x + c * x_stride);
        float sum = vaddvq_f32(vaddq_f32(vaddq_f32(sum_f32x4[c][0], sum_f32x4[c][1]),
                                         vaddq_f32(sum_f32x4[c][2], sum_f32x4[c][3])));
        for (int j = i; j < k; j++)
            sum += load1(type, w + (size_t)j * size) * column[j];
        y[c * y_stride] = sum;
    }
}

#define DOT(name, type)                                                                            \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        for (int r = 0; r < rows; r++)                                                             \
            dot_row(type, y[r], d->y_stride, w[r], x, d->x_stride, d->k, cols);                    \
    }                                                                                              \
    void name##_neon(const lk_dot *dot) {                                                          \
        lk_dot_walk(tile_##type, NULL, dot, MAX_COLS, 0);                                          \
    }
DOT(dot_f32, F32)
DOT(dot_f16, F16)
DOT(dot_bf16, BF16)
#endif
