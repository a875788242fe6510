/*
 * Formulas in vec_scalar.c. Masked steps of 16, the last one partial: lanes beyond n add zero (or
 * -inf to a maximum). rmsnorm squares and sums in double, two accumulators; sum_exp adds floats
 * of lk_exp_f32x16 in double. swiglu is good to a few ulp; below g =
 * -88.7, where it is smaller than 3e-37, exp(-g) overflows and makes it 0; geglu likewise.
 * layernorm sums in double; gelu_erf by the tail of normal_tail.h, whose t^2 has its rounding error
 * beside it.
 */
#include <math.h>

#include "exp_avx512.h"
#include "kernels.h"
#include "load_avx512.h"
#include "normal_tail.h"

#if LK_X86

LK_BEGIN_AVX512

typedef __m512d sum_f64x8;

LK_INLINE double reduce_add(sum_f64x8 v) {
    const __m256d a = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    const __m128d b = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

LK_INLINE __m512d low_f64(__m512 x) {
    return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}
LK_INLINE __m512d high_f64(__m512 x) {
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}

void rmsnorm_avx512(float *y, const float *x, const float *w, int n, float eps) {
    sum_f64x8 low = _mm512_setzero_pd(), high = low;
    for (int i = 0; i < n; i += 16) {
        const __m512 value = lk_load_f32x16(x, i, lk_lanes_16(n - i));
        const __m512d a = low_f64(value), b = high_f64(value);
        low = _mm512_fmadd_pd(a, a, low);
        high = _mm512_fmadd_pd(b, b, high);
    }
    const double squares = reduce_add(_mm512_add_pd(low, high));
    const __m512 scale = _mm512_set1_ps((float)(1 / sqrt(squares / n + (double)eps)));
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        __m512 value = _mm512_mul_ps(lk_load_f32x16(x, i, lanes), scale);
        if (w)
            value = _mm512_mul_ps(value, lk_load_f32x16(w, i, lanes));
        _mm512_mask_storeu_ps(y + i, lanes, value);
    }
}

void layernorm_avx512(float *y, const float *x, const float *w, const float *b, int n, float eps) {
    sum_f64x8 low = _mm512_setzero_pd(), high = low;
    for (int i = 0; i < n; i += 16) {
        const __m512 value = lk_load_f32x16(x, i, lk_lanes_16(n - i));
        low = _mm512_add_pd(low, low_f64(value));
        high = _mm512_add_pd(high, high_f64(value));
    }
    const __m512d mean = _mm512_set1_pd(reduce_add(_mm512_add_pd(low, high)) / n);
    low = high = _mm512_setzero_pd();
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        const __m512 value = lk_load_f32x16(x, i, lanes);
        const __m512d c = _mm512_maskz_sub_pd((__mmask8)lanes, low_f64(value), mean);
        const __m512d d = _mm512_maskz_sub_pd((__mmask8)(lanes >> 8), high_f64(value), mean);
        low = _mm512_fmadd_pd(c, c, low);
        high = _mm512_fmadd_pd(d, d, high);
    }
    const double squares = reduce_add(_mm512_add_pd(low, high));
    const __m512d scale = _mm512_set1_pd(1 / sqrt(squares / n + (double)eps));
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        const __m512 value = lk_load_f32x16(x, i, lanes);
        const __m256 c = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_sub_pd(low_f64(value), mean), scale));
        const __m256 d =
            _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_sub_pd(high_f64(value), mean), scale));
        const __m512 normal = _mm512_insertf32x8(_mm512_castps256_ps512(c), d, 1);
        __m512 out = _mm512_mul_ps(normal, lk_load_f32x16(w, i, lanes));
        if (b)
            out = _mm512_add_ps(out, lk_load_f32x16(b, i, lanes));
        _mm512_mask_storeu_ps(y + i, lanes, out);
    }
}

/* x holds 8 pairs (a, b), cs their (cos, sin): a cos - b sin in even lanes, b cos + a sin in odd.
 */
void rope_adjacent_avx512(float *x, const float *cs, int n_rot) {
    for (int i = 0; i < n_rot; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n_rot - i);
        const __m512 pair = lk_load_f32x16(x, i, lanes), angle = lk_load_f32x16(cs, i, lanes);
        const __m512 swapped = _mm512_permute_ps(pair, 0xb1);
        const __m512 cross = _mm512_mul_ps(swapped, _mm512_movehdup_ps(angle));
        _mm512_mask_storeu_ps(x + i, lanes,
                              _mm512_fmaddsub_ps(pair, _mm512_moveldup_ps(angle), cross));
    }
}

void rope_half_avx512(float *x, const float *cs, int n_rot) {
    const int half = n_rot / 2;
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (int i = 0; i < half; i += 16) {
        const __mmask16 lanes = lk_lanes_16(half - i);
        const __m512 low = lk_load_f32x16(cs, 2 * i, lk_lanes_16(n_rot - 2 * i));
        const int left = n_rot - 2 * i - 16;
        const __m512 high = lk_load_f32x16(cs, 2 * i + 16, left > 0 ? lk_lanes_16(left) : 0);
        const __m512 cosine = _mm512_permutex2var_ps(low, even, high);
        const __m512 sine = _mm512_permutex2var_ps(low, odd, high);
        const __m512 a = lk_load_f32x16(x, i, lanes), b = lk_load_f32x16(x, half + i, lanes);
        _mm512_mask_storeu_ps(x + i, lanes, _mm512_fmsub_ps(a, cosine, _mm512_mul_ps(b, sine)));
        _mm512_mask_storeu_ps(x + half + i, lanes,
                              _mm512_fmadd_ps(b, cosine, _mm512_mul_ps(a, sine)));
    }
}

void swiglu_avx512(float *y, const float *gate, const float *up, int n) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        const __m512 g = lk_load_f32x16(gate, i, lanes), u = lk_load_f32x16(up, i, lanes);
        const __m512 e = lk_exp_f32x16(_mm512_sub_ps(_mm512_setzero_ps(), g));
        _mm512_mask_storeu_ps(y + i, lanes,
                              _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(one, e)), u));
    }
}

void geglu_avx512(float *y, const float *gate, const float *up, int n) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        const __m512 g = lk_load_f32x16(gate, i, lanes);
        const __m512 inner = _mm512_fmadd_ps(_mm512_mul_ps(g, g), _mm512_set1_ps(-0.07135481283f),
                                             _mm512_set1_ps(-1.59576912161f));
        const __m512 e = lk_exp_f32x16(_mm512_mul_ps(g, inner));
        const __m512 gelu = _mm512_div_ps(g, _mm512_add_ps(one, e));
        _mm512_mask_storeu_ps(y + i, lanes,
                              up ? _mm512_mul_ps(gelu, lk_load_f32x16(up, i, lanes)) : gelu);
    }
}

void gelu_erf_avx512(float *y, const float *x, int n) {
    const __m512 end = _mm512_set1_ps(LK_TAIL_END), k = _mm512_set1_ps(LK_TAIL_K);
    const __m512 minus_half = _mm512_set1_ps(-0.5f);
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        const __m512 value = lk_load_f32x16(x, i, lanes);
        const __m512 t = _mm512_min_ps(end, _mm512_abs_ps(value)); /* NaN stays */
        const __m512 square = _mm512_mul_ps(t, t), rest = _mm512_fmsub_ps(t, t, square);
        const __m512 w = _mm512_div_ps(_mm512_sub_ps(t, k), _mm512_add_ps(t, k));
        __m512 r = _mm512_set1_ps(lk_tail[0]);
        for (int j = 1; j < LK_TAIL_TERMS; j++)
            r = _mm512_fmadd_ps(r, w, _mm512_set1_ps(lk_tail[j]));
        const __m512 e = lk_exp_f32x16(_mm512_mul_ps(square, minus_half));
        r = _mm512_fmadd_ps(_mm512_mul_ps(rest, minus_half), r, r);
        const __m512 positive = _mm512_max_ps(_mm512_setzero_ps(), value);
        _mm512_mask_storeu_ps(y + i, lanes, _mm512_fnmadd_ps(_mm512_mul_ps(t, r), e, positive));
    }
}

void softcap_avx512(float *x, int n, float cap) {
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        _mm512_mask_storeu_ps(x + i, lanes, lk_softcap_f32x16(lk_load_f32x16(x, i, lanes), cap));
    }
}

float max_avx512(const float *x, int n) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 max = lowest;
    __mmask16 nan = 0;
    for (int i = 0; i < n; i += 16) {
        const __m512 value = _mm512_mask_loadu_ps(lowest, lk_lanes_16(n - i), x + i);
        nan |= _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
        max = _mm512_max_ps(max, value);
    }
    return nan ? NAN : _mm512_reduce_max_ps(max);
}

double sum_exp_avx512(const float *x, int n, float max) {
    sum_f64x8 low = _mm512_setzero_pd(), high = low;
    const __m512 top = _mm512_set1_ps(max);
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        const __m512 e = _mm512_maskz_mov_ps(
            lanes, lk_exp_f32x16(_mm512_sub_ps(lk_load_f32x16(x, i, lanes), top)));
        low = _mm512_add_pd(low, low_f64(e));
        high = _mm512_add_pd(high, high_f64(e));
    }
    return reduce_add(_mm512_add_pd(low, high));
}

LK_END
#endif
