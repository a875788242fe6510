/*
 * dot_f32, dot_f16, dot_bf16: formula in dot_float_scalar.c. Weights widen to float32 exactly
 * (VCVTPH2PS; a shift by 16) and meet the activations in FMA; two accumulators per product, 16
 * elements a step, the tail is one more step with partial loads. Rows go in pairs, i with
 * i + rows / 2: two long sequential streams, and each activation load serves both. Columns go 2 or
 * 1 at a time. A product's order of additions is the same in every instance.
 */
#include "kernels.h"
#include "load_avx2.h"

#if LK_X86

LK_BEGIN_AVX2

typedef __m256 sum_f32x8;

/* sum[r][c][h] += n products from element i on. */
LK_INLINE void multiply_add(sum_f32x8 sum[2][2][2], int h, const char *const *w, const char *x,
                            size_t x_stride, int i, int n, int rows, int cols,
                            lk_load_f32x8_fn load) {
    __m256 weight[2];
    LK_UNROLL
    for (int r = 0; r < rows; r++)
        weight[r] = load(w[r], i, n);
    LK_UNROLL
    for (int c = 0; c < cols; c++) {
        const __m256 value = lk_load_f32x8(x + c * x_stride, i, n);
        LK_UNROLL
        for (int r = 0; r < rows; r++)
            sum[r][c][h] = _mm256_fmadd_ps(weight[r], value, sum[r][c][h]);
    }
}

LK_INLINE float reduce(sum_f32x8 v) {
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

LK_INLINE void dot_block(float *const *y, ptrdiff_t y_stride, const char *const *w, const char *x,
                         size_t x_stride, int k, int rows, int cols, lk_load_f32x8_fn load) {
    sum_f32x8 sum[2][2][2];
    LK_UNROLL
    for (int r = 0; r < rows; r++) {
        LK_UNROLL
        for (int c = 0; c < cols; c++)
            sum[r][c][0] = sum[r][c][1] = _mm256_setzero_ps();
    }
    int i = 0;
    for (; i + 16 <= k; i += 16) {
        multiply_add(sum, 0, w, x, x_stride, i, 8, rows, cols, load);
        multiply_add(sum, 1, w, x, x_stride, i + 8, 8, rows, cols, load);
    }
    if (i + 8 <= k) {
        multiply_add(sum, 0, w, x, x_stride, i, 8, rows, cols, load);
        i += 8;
    }
    if (i < k)
        multiply_add(sum, 1, w, x, x_stride, i, k - i, rows, cols, load);
    LK_UNROLL
    for (int r = 0; r < rows; r++) {
        LK_UNROLL
        for (int c = 0; c < cols; c++)
            y[r][c * y_stride] = reduce(_mm256_add_ps(sum[r][c][0], sum[r][c][1]));
    }
}

/* All columns of one row or of a pair. */
LK_INLINE void dot_rows(float *const *y, ptrdiff_t y_stride, const char *const *w, const char *x,
                        size_t x_stride, int k, int rows, int cols, lk_load_f32x8_fn load) {
    float *out[2] = {y[0], y[rows - 1]};
    for (; cols >= 2; cols -= 2) {
        dot_block(out, y_stride, w, x, x_stride, k, rows, 2, load);
        out[0] += 2 * y_stride;
        out[1] += 2 * y_stride;
        x += 2 * x_stride;
    }
    if (cols)
        dot_block(out, y_stride, w, x, x_stride, k, rows, 1, load);
}

LK_INLINE void dot(float *y, ptrdiff_t y_stride, const char *w, size_t w_stride, const char *x,
                   size_t x_stride, int k, int rows, int cols, lk_load_f32x8_fn load) {
    const int half = rows / 2;
    for (int r = 0; r < half; r++) {
        const char *const pair[2] = {w + r * w_stride, w + (r + half) * w_stride};
        float *const out[2] = {y + r, y + r + half};
        dot_rows(out, y_stride, pair, x, x_stride, k, 2, cols, load);
    }
    if (rows % 2) {
        const char *const last[1] = {w + (rows - 1) * w_stride};
        float *const out[1] = {y + rows - 1};
        dot_rows(out, y_stride, last, x, x_stride, k, 1, cols, load);
    }
}

#define DOT(type)                                                                                  \
    void dot_##type##_avx2(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,           \
                           const void *x, size_t x_stride, int k, int rows, int cols) {            \
        dot(y, y_stride, w, w_stride, x, x_stride, k, rows, cols, lk_load_##type##x8);             \
    }
DOT(f32)
DOT(f16)
DOT(bf16)

LK_END
#endif
