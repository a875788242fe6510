/*
 * dot_f32, dot_f16, dot_bf16: formula in dot_float_scalar.c. Weights widen to float32 exactly
 * (VCVTPH2PS; a shift by 16) and meet the activations in FMA; two accumulators per product, 32
 * elements a step, the tail is one more step with masked loads. Rows go in pairs, i with
 * i + rows / 2: two long sequential streams, and each activation load serves both. Columns go 4, 2
 * or 1 at a time. A product's order of additions is the same in every instance.
 */
#include "kernels.h"
#include "load_avx512.h"

#if LK_X86

LK_BEGIN_AVX512

typedef __m512 sum_f32x16;

/* sum[r][c][h] += 16 products from element i on. */
LK_INLINE void multiply_add(sum_f32x16 sum[2][4][2], int h, const char *const *w, const char *x,
                            size_t x_stride, int i, __mmask16 lanes, int rows, int cols,
                            lk_load_f32x16_fn load) {
    __m512 weight[2];
    LK_UNROLL
    for (int r = 0; r < rows; r++)
        weight[r] = load(w[r], i, lanes);
    LK_UNROLL
    for (int c = 0; c < cols; c++) {
        const __m512 value = lk_load_f32x16(x + c * x_stride, i, lanes);
        LK_UNROLL
        for (int r = 0; r < rows; r++)
            sum[r][c][h] = _mm512_fmadd_ps(weight[r], value, sum[r][c][h]);
    }
}

LK_INLINE float reduce(sum_f32x16 v) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

LK_INLINE void dot_block(float *const *y, ptrdiff_t y_stride, const char *const *w, const char *x,
                         size_t x_stride, int k, int rows, int cols, lk_load_f32x16_fn load) {
    const __mmask16 all = 0xffff;
    sum_f32x16 sum[2][4][2];
    LK_UNROLL
    for (int r = 0; r < rows; r++) {
        LK_UNROLL
        for (int c = 0; c < cols; c++)
            sum[r][c][0] = sum[r][c][1] = _mm512_setzero_ps();
    }
    int i = 0;
    for (; i + 32 <= k; i += 32) {
        multiply_add(sum, 0, w, x, x_stride, i, all, rows, cols, load);
        multiply_add(sum, 1, w, x, x_stride, i + 16, all, rows, cols, load);
    }
    if (i < k) {
        multiply_add(sum, 0, w, x, x_stride, i, lk_lanes_16(k - i), rows, cols, load);
        if (k - i > 16)
            multiply_add(sum, 1, w, x, x_stride, i + 16, lk_lanes_16(k - i - 16), rows, cols, load);
    }
    LK_UNROLL
    for (int r = 0; r < rows; r++) {
        LK_UNROLL
        for (int c = 0; c < cols; c++)
            y[r][c * y_stride] = reduce(_mm512_add_ps(sum[r][c][0], sum[r][c][1]));
    }
}

/* All columns of one row or of a pair. */
LK_INLINE void dot_rows(float *const *y, ptrdiff_t y_stride, const char *const *w, const char *x,
                        size_t x_stride, int k, int rows, int cols, lk_load_f32x16_fn load) {
    float *out[2] = {y[0], y[rows - 1]};
    while (cols > 0) {
        const int n = cols >= 4 ? 4 : cols >= 2 ? 2 : 1;
        if (n == 4)
            dot_block(out, y_stride, w, x, x_stride, k, rows, 4, load);
        else if (n == 2)
            dot_block(out, y_stride, w, x, x_stride, k, rows, 2, load);
        else
            dot_block(out, y_stride, w, x, x_stride, k, rows, 1, load);
        out[0] += n * y_stride;
        out[1] += n * y_stride;
        x += n * x_stride;
        cols -= n;
    }
}

LK_INLINE void dot(float *y, ptrdiff_t y_stride, const char *w, size_t w_stride, const char *x,
                   size_t x_stride, int k, int rows, int cols, lk_load_f32x16_fn load) {
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
    void dot_##type##_avx512(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,         \
                             const void *x, size_t x_stride, int k, int rows, int cols) {          \
        dot(y, y_stride, w, w_stride, x, x_stride, k, rows, cols, lk_load_##type##x16);            \
    }
DOT(f32)
DOT(f16)
DOT(bf16)

LK_END
#endif
