/* 8 weights, activations or cache values as floats; lanes from n on are zero and not read. */
#ifndef LK_LOAD_AVX2_H
#define LK_LOAD_AVX2_H

#include <stddef.h>

#include "half.h"
#include "target.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

/* The first n of 8 lanes, for the masked instructions; any n. */
LK_INLINE __m256i lk_lanes_8(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Elements i .. i + n - 1 of the row at p; n >= 8 is all eight. */
typedef __m256 (*lk_load_f32x8_fn)(const void *p, int i, int n);

LK_INLINE __m256 lk_load_f32x8(const void *p, int i, int n) {
    const float *x = (const float *)((const char *)p + 4 * (ptrdiff_t)i);
    return n >= 8 ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, lk_lanes_8(n));
}

LK_INLINE __m128i lk_load_u16x8(const void *p, int i, int n) {
    const char *x = (const char *)p + 2 * (ptrdiff_t)i;
    if (n >= 8)
        return _mm_loadu_si128((const __m128i *)x);
    uint16_t part[8] = {0};
    for (int j = 0; j < n; j++)
        part[j] = lk_load_u16(x + 2 * j);
    return _mm_loadu_si128((const __m128i *)part);
}

LK_INLINE __m256 lk_load_f16x8(const void *p, int i, int n) {
    return _mm256_cvtph_ps(lk_load_u16x8(p, i, n));
}

LK_INLINE __m256 lk_load_bf16x8(const void *p, int i, int n) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(lk_load_u16x8(p, i, n)), 16));
}

LK_INLINE void lk_store_f32x8(float *p, int n, __m256 x) {
    if (n >= 8)
        _mm256_storeu_ps(p, x);
    else
        _mm256_maskstore_ps(p, lk_lanes_8(n), x);
}

LK_END
#endif
#endif
