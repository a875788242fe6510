/*
 * dot_f32, dot_f16, dot_bf16: formula in dot_float_scalar.c. Weights widen to float32 exactly
 * (VCVTPH2PS; a shift by 16) and meet the activations in FMA, 16 elements a step; the tail is one
 * more step with masked loads. A product has one accumulator and the same order of additions
 * whatever its neighbours. One column: two far rows at a time, bound by memory. More columns: 4
 * rows by 6 columns, 24 accumulators, 10 loads for 24 FMA; six columns stay in cache while rows go
 * by.
 */
#include "load_avx512.h"

#if LK_X86

LK_BEGIN_AVX512

#include "dot_block.h"

LK_INLINE float reduce(__m512 v) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/* sum[r][c] += 16 products from element i on. */
LK_INLINE void multiply_add(__m512 sum[4][6], const char *const w[4], const char *x,
                            size_t x_stride, int i, __mmask16 lanes, int rows, int cols,
                            lk_load_f32x16_fn load) {
    __m512 weight[4];
    LK_UNROLL
    for (int r = 0; r < rows; r++)
        weight[r] = load(w[r], i, lanes);
    LK_UNROLL
    for (int c = 0; c < cols; c++) {
        const __m512 value = lk_load_f32x16(x + (size_t)c * x_stride, i, lanes);
        LK_UNROLL
        for (int r = 0; r < rows; r++)
            sum[r][c] = _mm512_fmadd_ps(weight[r], value, sum[r][c]);
    }
}

LK_INLINE void block(const lk_dot *d, const char *const w[4], float *const y[4], const char *x,
                     int rows, int cols, lk_load_f32x16_fn load) {
    const __mmask16 all = 0xffff;
    __m512 sum[4][6];
    LK_UNROLL
    for (int r = 0; r < rows; r++) {
        LK_UNROLL
        for (int c = 0; c < cols; c++)
            sum[r][c] = _mm512_setzero_ps();
    }
    int i = 0;
    for (; i + 16 <= d->k; i += 16)
        multiply_add(sum, w, x, d->x_stride, i, all, rows, cols, load);
    if (i < d->k)
        multiply_add(sum, w, x, d->x_stride, i, lk_lanes_16(d->k - i), rows, cols, load);
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
        block(d, w, y, x, rows, cols, lk_load_##type##x16);                                        \
    }                                                                                              \
    void dot_##type##_avx512(const lk_dot *dot) {                                                  \
        lk_dot_blocks(block_##type, dot, 4, 6);                                                    \
    }
DOT(f32)
DOT(f16)
DOT(bf16)

LK_END
#endif
