/*
 * exp of 8 floats, as in exp_avx512.h; 2^n is two factors, so that n may lie beyond the exponents
 * of normal floats. Within 1.01 ulp (measured over all floats).
 */
#ifndef LK_EXP_AVX2_H
#define LK_EXP_AVX2_H

#include "target.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

/* 2^n for -126 <= n <= 127. */
LK_INLINE __m256 lk_exp2_i32x8(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

LK_INLINE __m256 lk_exp_f32x8(__m256 x) {
    /* Beyond these the result is 0 or infinity; the operand order lets a NaN through. */
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), _mm256_max_ps(_mm256_set1_ps(-104.0f), x));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
    __m256 p = _mm256_set1_ps(0x1.6a2356p-10f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.123a1ap-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5558f4p-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555492p-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.fffffcp-2f));
    p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    p = _mm256_mul_ps(p, lk_exp2_i32x8(half));
    return _mm256_mul_ps(p, lk_exp2_i32x8(_mm256_sub_epi32(whole, half)));
}

/* cap tanh(x / cap) = cap - 2 cap / (exp(2 x / cap) + 1). */
LK_INLINE __m256 lk_softcap_f32x8(__m256 x, float cap) {
    const __m256 e = lk_exp_f32x8(_mm256_mul_ps(x, _mm256_set1_ps(2.0f / cap)));
    const __m256 part =
        _mm256_div_ps(_mm256_set1_ps(2.0f * cap), _mm256_add_ps(e, _mm256_set1_ps(1.0f)));
    return _mm256_sub_ps(_mm256_set1_ps(cap), part);
}

LK_END
#endif
#endif
