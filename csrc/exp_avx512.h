/*
 * exp of 16 floats. x = n ln 2 + r, |r| <= ln 2 / 2: n rounded to nearest, ln 2 in two parts
 * (Cody and Waite), e^r = 1 + r + r^2 p(r) with p the degree-4 fit of least relative error (3e-9),
 * 2^n by VSCALEFPS. Within 1.01 ulp, subnormal results and those near overflow included (measured
 * over all floats); exp(-inf) = 0, exp(inf) = inf, NaN stays.
 */
#ifndef LK_EXP_AVX512_H
#define LK_EXP_AVX512_H

#include "target.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

LK_INLINE __m512 lk_exp_f32x16(__m512 x) {
    /* Beyond these the result is 0 or infinity; the operand order lets a NaN through. */
    x = _mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-104.0f), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_set1_ps(0x1.6a2356p-10f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.123a1ap-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5558f4p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555492p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fffffcp-2f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r);
    return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

/* cap tanh(x / cap) = cap - 2 cap / (exp(2 x / cap) + 1). */
LK_INLINE __m512 lk_softcap_f32x16(__m512 x, float cap) {
    const __m512 e = lk_exp_f32x16(_mm512_mul_ps(x, _mm512_set1_ps(2.0f / cap)));
    const __m512 part =
        _mm512_div_ps(_mm512_set1_ps(2.0f * cap), _mm512_add_ps(e, _mm512_set1_ps(1.0f)));
    return _mm512_sub_ps(_mm512_set1_ps(cap), part);
}

LK_END
#endif
#endif
