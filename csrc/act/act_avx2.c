/*
 * act_q8 and panel_q8 (layouts: kernels.h), 32 values a step: VCVTPS2DQ rounds half to even in the
 * default mode, VPACKSSDW and VPACKSSWB narrow |q| <= 127 without saturating. No tail: k is a
 * multiple of 32.
 */
#include "act.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

LK_INLINE float largest(__m256 x_f32x8) {
    __m128 max_f32x4 =
        _mm_max_ps(_mm256_castps256_ps128(x_f32x8), _mm256_extractf128_ps(x_f32x8, 1));
    max_f32x4 = _mm_max_ps(max_f32x4, _mm_movehl_ps(max_f32x4, max_f32x4));
    return _mm_cvtss_f32(_mm_max_ss(max_f32x4, _mm_movehdup_ps(max_f32x4)));
}

LK_INLINE act_group32 act_quantise(const float *x, int8_t *lo, int8_t *hi, int flip) {
    const __m256 sign_f32x8 = _mm256_set1_ps(-0.0f);
    __m256 x_f32x8[4], max_f32x8 = _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        x_f32x8[i] = _mm256_loadu_ps(x + 8 * i);
        max_f32x8 = _mm256_max_ps(max_f32x8, _mm256_andnot_ps(sign_f32x8, x_f32x8[i]));
    }
    float inverse;
    act_group32 v = {.d = act_scale(largest(max_f32x8), &inverse)};
    __m256i q_i32x8[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        q_i32x8[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x_f32x8[i], _mm256_set1_ps(inverse)));

    /* Packing interleaves the 128-bit lanes by dwords; the permutation puts them in order. */
    const __m256i lo_i16x16 = _mm256_packs_epi32(q_i32x8[0], q_i32x8[1]);
    const __m256i hi_i16x16 = _mm256_packs_epi32(q_i32x8[2], q_i32x8[3]);
    const __m256i order_u32x8 = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i q_i8x32 = _mm256_xor_si256(
        _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo_i16x16, hi_i16x16), order_u32x8),
        _mm256_set1_epi8((char)flip));
    _mm_storeu_si128((__m128i *)lo, _mm256_castsi256_si128(q_i8x32));
    _mm_storeu_si128((__m128i *)hi, _mm256_extracti128_si256(q_i8x32, 1));

    /* lo and hi: sums of 16 in the lowest two dwords */
    const __m256i sum_i32x8 = _mm256_hadd_epi32(_mm256_add_epi32(q_i32x8[0], q_i32x8[1]),
                                                _mm256_add_epi32(q_i32x8[2], q_i32x8[3]));
    __m128i sum_i32x4 =
        _mm_add_epi32(_mm256_castsi256_si128(sum_i32x8), _mm256_extracti128_si256(sum_i32x8, 1));
    sum_i32x4 = _mm_hadd_epi32(sum_i32x4, sum_i32x4);
    v.lo = _mm_cvtsi128_si32(sum_i32x4);
    v.hi = _mm_extract_epi32(sum_i32x4, 1);
    return v;
}

ACT_KERNELS(avx2)

LK_END
#endif
