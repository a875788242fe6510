/*
 * dot_f32, dot_f16, dot_bf16: formula in dot_float_scalar.c. Weights widen to float32 exactly
 * (VCVTPH2PS; a shift by 16) and meet the activations in FMA; two accumulators per product, 32
 * elements a step, the tail is one more step with masked loads. A product's order of additions is
 * the same in every instance.
 */
#include "load_avx512.h"

#if LK_X86

LK_BEGIN_AVX512

#include "dot_walk.h"

typedef __m512 sum_f32x16;

/* sum[r][c][h] += 16 products from element i on. */
LK_INLINE void multiply_add(sum_f32x16 sum[2][8][2], int h, const uint8_t *const w[2],
                            const char *x, size_t x_stride, int i, __mmask16 lanes, int rows,
                            int cols, lk_load_f32x16_fn load) {
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

LK_INLINE void dot_block(const lk_dot *d, const uint8_t *const w[2], float *const y[2],
                         const char *x, int rows, int cols, lk_load_f32x16_fn load) {
    const int k = d->k;
    const size_t x_stride = d->x_stride;
    const __mmask16 all = 0xffff;
    sum_f32x16 sum[2][8][2];
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
            y[r][c * d->y_stride] = reduce(_mm512_add_ps(sum[r][c][0], sum[r][c][1]));
    }
}

#define DOT(type)                                                                                  \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        dot_block(d, w, y, x, rows, cols, lk_load_##type##x16);                                    \
    }                                                                                              \
    void dot_##type##_avx512(const lk_dot *dot) {                                                  \
        lk_dot_walk(tile_##type, NULL, dot, 8);                                                    \
    }
DOT(f32)
DOT(f16)
DOT(bf16)

LK_END
#endif
