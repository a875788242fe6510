/*
 * dot_f32, dot_f16, dot_bf16: y[r, c] = sum over i < k of weight(r, i) x(c, i), k >= 1.
 * The weight is widened to float32 exactly, the product of two float32 is exact in double, and
 * the sum is a double's, rounded to float32 once.
 */
#include "dot_walk.h"
#include "half.h"

LK_INLINE float load_f32(const void *w, int i) {
    return lk_load_f32((const char *)w + 4 * i);
}
LK_INLINE float load_f16(const void *w, int i) {
    return lk_f16_to_f32(lk_load_u16((const char *)w + 2 * i));
}
LK_INLINE float load_bf16(const void *w, int i) {
    return lk_bf16_to_f32(lk_load_u16((const char *)w + 2 * i));
}

LK_INLINE void tile(const lk_dot *d, const uint8_t *const w[2], float *const y[2], const char *x,
                    int rows, int cols, float (*weight)(const void *row, int i)) {
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < cols; c++) {
            double sum = 0;
            for (int i = 0; i < d->k; i++)
                sum += (double)weight(w[r], i) * lk_load_f32(x + c * d->x_stride + 4 * i);
            y[r][c * d->y_stride] = (float)sum;
        }
    }
}

#define DOT(type)                                                                                  \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        tile(d, w, y, x, rows, cols, load_##type);                                                 \
    }                                                                                              \
    void dot_##type##_scalar(const lk_dot *dot) {                                                  \
        lk_dot_walk(tile_##type, NULL, dot, 1, 0);                                                 \
    }
DOT(f32)
DOT(f16)
DOT(bf16)
