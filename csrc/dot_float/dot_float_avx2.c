/*
 * dot_f32, dot_f16, dot_bf16: formula in dot_float_scalar.c. Weights widen to float32 exactly
 * (VCVTPH2PS; a shift by 16) and meet the activations in FMA, 8 elements a step; the tail is one
 * more step with partial loads. A product has one accumulator; one column takes two far rows at a
 * time, more columns 2 rows by 4. A product's order of additions is the same whatever its
 * neighbours.
 */
#include "load_avx2.h"

#if LK_X86

LK_BEGIN_AVX2

#include "dot_block.h"

typedef __m256 sum_f32x8;

/* sum[r][c] += n products from element i on. */
LK_INLINE void multiply_add(sum_f32x8 sum[2][4], const char *const w[4], const char *x,
                            size_t x_stride, int i, int n, int rows, int cols,
                            lk_load_f32x8_fn load) {
    __m256 weight[2];
    LK_UNROLL
    for (int r = 0; r < rows; r++)
        weight[r] = load(w[r], i, n);
    LK_UNROLL
    for (int c = 0; c < cols; c++) {
        const __m256 value = lk_load_f32x8(x + (size_t)c * x_stride, i, n);
        LK_UNROLL
        for (int r = 0; r < rows; r++)
            sum[r][c] = _mm256_fmadd_ps(weight[r], value, sum[r][c]);
    }
}

LK_INLINE float reduce(sum_f32x8 v) {
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

LK_INLINE void block(const lk_dot *d, const char *const w[4], float *const y[4], const char *x,
                     int rows, int cols, lk_load_f32x8_fn load) {
    sum_f32x8 sum[2][4];
    LK_UNROLL
    for (int r = 0; r < rows; r++) {
        LK_UNROLL
        for (int c = 0; c < cols; c++)
            sum[r][c] = _mm256_setzero_ps();
    }
    int i = 0;
    for (; i + 8 <= d->k; i += 8)
        multiply_add(sum, w, x, d->x_stride, i, 8, rows, cols, load);
    if (i < d->k)
        multiply_add(sum, w, x, d->x_stride, i, d->k - i, rows, cols, load);
    LK_UNROLL
    for (int r = 0; r < rows; r++) {
        LK_UNROLL
        for (int c = 0; c < cols; c++)
            y[r][c * d->y_stride] = reduce(sum[r][c]);
    }
}

#define DOT(type)                                                                                  \
    LK_INLINE void block_##type(const lk_dot *d, const char *const w[4], float *const y[4],        \
                                const char *x, int rows, int cols) {                               \
        block(d, w, y, x, rows, cols, lk_load_##type##x8);                                         \
    }                                                                                              \
    void dot_##type##_avx2(const lk_dot *dot) {                                                    \
        lk_dot_blocks(block_##type, dot, 2, 4);                                                    \
    }
DOT(f32)
DOT(f16)
DOT(bf16)

LK_END
#endif
