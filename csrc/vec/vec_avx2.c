/*
 * Formulas in vec_scalar.c. Steps of 8, the last one partial: lanes beyond n add zero (or -inf to a
 * maximum). rmsnorm squares and sums in double, two accumulators; sum_exp adds floats of
 * lk_exp_f32x8 in double. swiglu is good to a few ulp; below g =
 * -88.7, where it is smaller than 3e-37, exp(-g) overflows and makes it 0; geglu likewise.
 * layernorm sums in double; gelu_erf by the tail of normal_tail.h, whose t^2 has its rounding error
 * beside it.
 */
#include <math.h>

#include "exp_avx2.h"
#include "kernels.h"
#include "load_avx2.h"
#include "normal_tail.h"

#if LK_X86

LK_BEGIN_AVX2

typedef __m256d sum_f64x4;

LK_INLINE double reduce_add(sum_f64x4 v) {
    const __m128d b = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

LK_INLINE __m256d low_f64(__m256 x) {
    return _mm256_cvtps_pd(_mm256_castps256_ps128(x));
}
LK_INLINE __m256d high_f64(__m256 x) {
    return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
}

void rmsnorm_avx2(float *y, const float *x, const float *w, int n, float eps) {
    sum_f64x4 low = _mm256_setzero_pd(), high = low;
    for (int i = 0; i < n; i += 8) {
        const __m256 value = lk_load_f32x8(x, i, n - i);
        const __m256d a = low_f64(value), b = high_f64(value);
        low = _mm256_fmadd_pd(a, a, low);
        high = _mm256_fmadd_pd(b, b, high);
    }
    const double squares = reduce_add(_mm256_add_pd(low, high));
    const __m256 scale = _mm256_set1_ps((float)(1 / sqrt(squares / n + (double)eps)));
    for (int i = 0; i < n; i += 8) {
        __m256 value = _mm256_mul_ps(lk_load_f32x8(x, i, n - i), scale);
        if (w)
            value = _mm256_mul_ps(value, lk_load_f32x8(w, i, n - i));
        lk_store_f32x8(y + i, n - i, value);
    }
}

void layernorm_avx2(float *y, const float *x, const float *w, const float *b, int n, float eps) {
    sum_f64x4 low = _mm256_setzero_pd(), high = low;
    for (int i = 0; i < n; i += 8) {
        const __m256 value = lk_load_f32x8(x, i, n - i);
        low = _mm256_add_pd(low, low_f64(value));
        high = _mm256_add_pd(high, high_f64(value));
    }
    const __m256d mean = _mm256_set1_pd(reduce_add(_mm256_add_pd(low, high)) / n);
    low = high = _mm256_setzero_pd();
    for (int i = 0; i < n; i += 8) {
        const __m256 value = lk_load_f32x8(x, i, n - i);
        const __m256i lanes = lk_lanes_8(n - i);
        const __m256d in_low =
            _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes)));
        const __m256d in_high =
            _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_extracti128_si256(lanes, 1)));
        const __m256d c = _mm256_and_pd(_mm256_sub_pd(low_f64(value), mean), in_low);
        const __m256d d = _mm256_and_pd(_mm256_sub_pd(high_f64(value), mean), in_high);
        low = _mm256_fmadd_pd(c, c, low);
        high = _mm256_fmadd_pd(d, d, high);
    }
    const double squares = reduce_add(_mm256_add_pd(low, high));
    const __m256d scale = _mm256_set1_pd(1 / sqrt(squares / n + (double)eps));
    for (int i = 0; i < n; i += 8) {
        const __m256 value = lk_load_f32x8(x, i, n - i);
        const __m128 c = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_sub_pd(low_f64(value), mean), scale));
        const __m128 d =
            _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_sub_pd(high_f64(value), mean), scale));
        __m256 out = _mm256_mul_ps(_mm256_set_m128(d, c), lk_load_f32x8(w, i, n - i));
        if (b)
            out = _mm256_add_ps(out, lk_load_f32x8(b, i, n - i));
        lk_store_f32x8(y + i, n - i, out);
    }
}

/* x holds 4 pairs (a, b), cs their (cos, sin): a cos - b sin in even lanes, b cos + a sin in odd.
 */
void rope_adjacent_avx2(float *x, const float *cs, int n_rot) {
    for (int i = 0; i < n_rot; i += 8) {
        const __m256 pair = lk_load_f32x8(x, i, n_rot - i);
        const __m256 angle = lk_load_f32x8(cs, i, n_rot - i);
        const __m256 swapped = _mm256_permute_ps(pair, 0xb1);
        const __m256 cross = _mm256_mul_ps(swapped, _mm256_movehdup_ps(angle));
        lk_store_f32x8(x + i, n_rot - i,
                       _mm256_fmaddsub_ps(pair, _mm256_moveldup_ps(angle), cross));
    }
}

void rope_half_avx2(float *x, const float *cs, int n_rot) {
    const int half = n_rot / 2;
    for (int i = 0; i < half; i += 8) {
        const int n = half - i;
        const __m256 low = lk_load_f32x8(cs, 2 * i, 2 * n);
        const __m256 high = n > 4 ? lk_load_f32x8(cs, 2 * i + 8, 2 * n - 8) : low;
        /* Pairs 0 1 4 5 and 2 3 6 7, then their even and odd lanes: in order. */
        const __m256 p = _mm256_permute2f128_ps(low, high, 0x20);
        const __m256 q = _mm256_permute2f128_ps(low, high, 0x31);
        const __m256 cosine = _mm256_shuffle_ps(p, q, 0x88), sine = _mm256_shuffle_ps(p, q, 0xdd);
        const __m256 a = lk_load_f32x8(x, i, n), b = lk_load_f32x8(x, half + i, n);
        lk_store_f32x8(x + i, n, _mm256_fmsub_ps(a, cosine, _mm256_mul_ps(b, sine)));
        lk_store_f32x8(x + half + i, n, _mm256_fmadd_ps(b, cosine, _mm256_mul_ps(a, sine)));
    }
}

void swiglu_avx2(float *y, const float *gate, const float *up, int n) {
    const __m256 one = _mm256_set1_ps(1.0f);
    for (int i = 0; i < n; i += 8) {
        const __m256 g = lk_load_f32x8(gate, i, n - i), u = lk_load_f32x8(up, i, n - i);
        const __m256 e = lk_exp_f32x8(_mm256_sub_ps(_mm256_setzero_ps(), g));
        lk_store_f32x8(y + i, n - i, _mm256_mul_ps(_mm256_div_ps(g, _mm256_add_ps(one, e)), u));
    }
}

void geglu_avx2(float *y, const float *gate, const float *up, int n) {
    const __m256 one = _mm256_set1_ps(1.0f);
    for (int i = 0; i < n; i += 8) {
        const __m256 g = lk_load_f32x8(gate, i, n - i);
        const __m256 inner = _mm256_fmadd_ps(_mm256_mul_ps(g, g), _mm256_set1_ps(-0.07135481283f),
                                             _mm256_set1_ps(-1.59576912161f));
        const __m256 e = lk_exp_f32x8(_mm256_mul_ps(g, inner));
        const __m256 gelu = _mm256_div_ps(g, _mm256_add_ps(one, e));
        lk_store_f32x8(y + i, n - i, up ? _mm256_mul_ps(gelu, lk_load_f32x8(up, i, n - i)) : gelu);
    }
}

void gelu_erf_avx2(float *y, const float *x, int n) {
    const __m256 end = _mm256_set1_ps(LK_TAIL_END), k = _mm256_set1_ps(LK_TAIL_K);
    const __m256 minus_half = _mm256_set1_ps(-0.5f), sign = _mm256_set1_ps(-0.0f);
    for (int i = 0; i < n; i += 8) {
        const __m256 value = lk_load_f32x8(x, i, n - i);
        const __m256 t = _mm256_min_ps(end, _mm256_andnot_ps(sign, value)); /* NaN stays */
        const __m256 square = _mm256_mul_ps(t, t), rest = _mm256_fmsub_ps(t, t, square);
        const __m256 w = _mm256_div_ps(_mm256_sub_ps(t, k), _mm256_add_ps(t, k));
        __m256 r = _mm256_set1_ps(lk_tail[0]);
        for (int j = 1; j < LK_TAIL_TERMS; j++)
            r = _mm256_fmadd_ps(r, w, _mm256_set1_ps(lk_tail[j]));
        const __m256 e = lk_exp_f32x8(_mm256_mul_ps(square, minus_half));
        r = _mm256_fmadd_ps(_mm256_mul_ps(rest, minus_half), r, r);
        const __m256 positive = _mm256_max_ps(_mm256_setzero_ps(), value);
        lk_store_f32x8(y + i, n - i, _mm256_fnmadd_ps(_mm256_mul_ps(t, r), e, positive));
    }
}

void softcap_avx2(float *x, int n, float cap) {
    for (int i = 0; i < n; i += 8)
        lk_store_f32x8(x + i, n - i, lk_softcap_f32x8(lk_load_f32x8(x, i, n - i), cap));
}

float max_avx2(const float *x, int n) {
    const __m256 lowest = _mm256_set1_ps(-INFINITY);
    __m256 max = lowest, nan = _mm256_setzero_ps();
    for (int i = 0; i < n; i += 8) {
        const __m256 lanes = _mm256_castsi256_ps(lk_lanes_8(n - i));
        const __m256 value = _mm256_blendv_ps(lowest, lk_load_f32x8(x, i, n - i), lanes);
        nan = _mm256_or_ps(nan, _mm256_cmp_ps(value, value, _CMP_UNORD_Q));
        max = _mm256_max_ps(max, value);
    }
    if (_mm256_movemask_ps(nan))
        return NAN;
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(max), _mm256_extractf128_ps(max, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

double sum_exp_avx2(const float *x, int n, float max) {
    sum_f64x4 low = _mm256_setzero_pd(), high = low;
    const __m256 top = _mm256_set1_ps(max);
    for (int i = 0; i < n; i += 8) {
        const __m256 lanes = _mm256_castsi256_ps(lk_lanes_8(n - i));
        const __m256 value = _mm256_sub_ps(lk_load_f32x8(x, i, n - i), top);
        const __m256 e = _mm256_and_ps(lk_exp_f32x8(value), lanes);
        low = _mm256_add_pd(low, low_f64(e));
        high = _mm256_add_pd(high, high_f64(e));
    }
    return reduce_add(_mm256_add_pd(low, high));
}

LK_END
#endif
