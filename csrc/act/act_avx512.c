/*
 * act_q8 and panel_q8 (layouts: kernels.h), 32 values a step: VCVTPS2DQ rounds half to even in the
 * default mode, VPMOVDB narrows |q| <= 127, VPSADBW sums 8 bytes made unsigned by 0x80. No tail: k
 * is a multiple of 32.
 */
#include "act.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

LK_INLINE float largest(__m512 x_f32x16) {
    const __m256 max_f32x8 =
        _mm256_max_ps(_mm512_castps512_ps256(x_f32x16), _mm512_extractf32x8_ps(x_f32x16, 1));
    __m128 max_f32x4 =
        _mm_max_ps(_mm256_castps256_ps128(max_f32x8), _mm256_extractf128_ps(max_f32x8, 1));
    max_f32x4 = _mm_max_ps(max_f32x4, _mm_movehl_ps(max_f32x4, max_f32x4));
    return _mm_cvtss_f32(_mm_max_ss(max_f32x4, _mm_movehdup_ps(max_f32x4)));
}

/* Sixteen codes stored, and their sum. */
LK_INLINE int32_t quantise(int8_t *to, __m512 x_f32x16, float inverse, int flip) {
    const __m512i q_i32x16 = _mm512_cvtps_epi32(_mm512_mul_ps(x_f32x16, _mm512_set1_ps(inverse)));
    const __m128i q_i8x16 = _mm512_cvtepi32_epi8(q_i32x16);
    _mm_storeu_si128((__m128i *)to, _mm_xor_si128(q_i8x16, _mm_set1_epi8((char)flip)));
    const __m128i sums_u64x2 =
        _mm_sad_epu8(_mm_xor_si128(q_i8x16, _mm_set1_epi8(-128)), _mm_setzero_si128());
    return _mm_cvtsi128_si32(sums_u64x2) + _mm_extract_epi32(sums_u64x2, 2) - 16 * 128;
}

LK_INLINE act_group32 act_quantise(const float *x, int8_t *lo, int8_t *hi, int flip) {
    const __m512 lo_f32x16 = _mm512_loadu_ps(x), hi_f32x16 = _mm512_loadu_ps(x + 16);
    float inverse;
    act_group32 v;
    v.d = act_scale(largest(_mm512_max_ps(_mm512_abs_ps(lo_f32x16), _mm512_abs_ps(hi_f32x16))),
                    &inverse);
    v.lo = quantise(lo, lo_f32x16, inverse, flip);
    v.hi = quantise(hi, hi_f32x16, inverse, flip);
    return v;
}

ACT_KERNELS(avx512)

LK_END
#endif
