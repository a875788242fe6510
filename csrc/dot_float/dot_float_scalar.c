/*
 * dot_f32, dot_f16, dot_bf16: y[r, c] = sum over i < k of weight(r, i) x(c, i), k >= 1.
 * The weight is widened to float32 exactly, the product of two float32 is exact in double, and
 * the sum is a double's, rounded to float32 once.
 */
#include "half.h"
#include "kernels.h"

LK_INLINE float load_f32(const void *w, int i) {
    return lk_load_f32((const char *)w + 4 * i);
}
LK_INLINE float load_f16(const void *w, int i) {
    return lk_f16_to_f32(lk_load_u16((const char *)w + 2 * i));
}
LK_INLINE float load_bf16(const void *w, int i) {
    return lk_bf16_to_f32(lk_load_u16((const char *)w + 2 * i));
}

LK_INLINE void dot(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride, const void *x,
                   size_t x_stride, int k, int rows, int cols,
                   float (*weight)(const void *row, int i)) {
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < cols; c++) {
            const char *row = (const char *)w + r * w_stride;
            const char *col = (const char *)x + c * x_stride;
            double sum = 0;
            for (int i = 0; i < k; i++)
                sum += (double)weight(row, i) * lk_load_f32(col + 4 * i);
            y[c * y_stride + r] = (float)sum;
        }
    }
}

#define DOT(type)                                                                                  \
    void dot_##type##_scalar(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,         \
                             const void *x, size_t x_stride, int k, int rows, int cols) {          \
        dot(y, y_stride, w, w_stride, x, x_stride, k, rows, cols, load_##type);                    \
    }
DOT(f32)
DOT(f16)
DOT(bf16)
