/*
 * K-quant rows times 8-bit activations (dot_b256_scalar.c, blocks.h). Every type becomes eight
 * vectors of 32 unsigned quants in row order and 16 scales and 16 biases, one per 16 elements
 * (a group of 32 counts twice), so one accumulation serves all:
 *     y = sum of  scale * d_a * (q . a)  -  bias * s16,   bias = min + zero * scale.
 * vpmaddubsw adds two products, at most 2 * 63 * 127 = 16002 in 16 bits; vpmaddwd by ones makes it
 * four, at most 32004: they fit vpackssdw. Loads stay inside the super-block; k has no tail.
 */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

#include "../k_quants_avx2.h"

typedef struct {
    __m256i q[8];
    __m256 scale[2]; /* of half h: float i of 128-bit lane l: 16-group 8 h + 2 i + l */
    __m256 bias[2];  /* in row order */
} k_block;

typedef struct {
    __m256 dot, bias;
} k_sum;

typedef void (*k_load_fn)(k_block *b, const void *super_block);

/* Sums of 16 elements from partial sums of 2: lane l of the result holds l of each input. */
LK_INLINE __m256i group_sums(__m256i a_i16x16, __m256i b_i16x16, __m256i c_i16x16,
                             __m256i d_i16x16) {
    const __m256i ones_i16x16 = _mm256_set1_epi16(1);
    __m256i ab = _mm256_packs_epi32(_mm256_madd_epi16(a_i16x16, ones_i16x16),
                                    _mm256_madd_epi16(b_i16x16, ones_i16x16));
    __m256i cd = _mm256_packs_epi32(_mm256_madd_epi16(c_i16x16, ones_i16x16),
                                    _mm256_madd_epi16(d_i16x16, ones_i16x16));
    __m256 ab_f = _mm256_castsi256_ps(_mm256_madd_epi16(ab, ones_i16x16));
    __m256 cd_f = _mm256_castsi256_ps(_mm256_madd_epi16(cd, ones_i16x16));
    __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(ab_f, cd_f, 0x88));
    __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(ab_f, cd_f, 0xdd));
    return _mm256_add_epi32(even, odd);
}

LK_INLINE __m256i dot32(__m256i q_u8x32, const int8_t *a) {
    return _mm256_maddubs_epi16(q_u8x32, _mm256_loadu_si256((const __m256i *)a));
}

/* Adds the super-block that covers activations i .. i + 255 of row x. */
LK_INLINE void add_block(k_sum *sum, const k_block *b, const void *x, int k, int i) {
#pragma GCC unroll 4
    for (int h = 0; h < 2; h++) {
        const int8_t *a = lk_act_q(x) + i + 128 * h;
        const float *s16 = lk_act_s16(x, k) + i / 16 + 8 * h;
        const __m256i *q = b->q + 4 * h;
        __m256i sums_i32x8 = group_sums(dot32(q[0], a), dot32(q[1], a + 32), dot32(q[2], a + 64),
                                        dot32(q[3], a + 96));
        __m128 d_a = _mm_loadu_ps(lk_act_d(x, k) + i / 32 + 4 * h);
        __m256 scale = _mm256_mul_ps(b->scale[h], _mm256_set_m128(d_a, d_a));
        sum->dot = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums_i32x8), scale, sum->dot);
        sum->bias = _mm256_fmadd_ps(b->bias[h], _mm256_loadu_ps(s16), sum->bias);
    }
}

LK_INLINE float total(const k_sum *sum) {
    __m256 f32x8 = _mm256_sub_ps(sum->dot, sum->bias);
    __m128 f32x4 = _mm_add_ps(_mm256_castps256_ps128(f32x8), _mm256_extractf128_ps(f32x8, 1));
    f32x4 = _mm_add_ps(f32x4, _mm_movehl_ps(f32x4, f32x4));
    return _mm_cvtss_f32(_mm_add_ss(f32x4, _mm_movehdup_ps(f32x4)));
}

LK_INLINE k_sum zero_sum(void) {
    return (k_sum){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

/* One copy for all types: with sixteen registers the super-block goes through memory anyway. */
#define LK_DOT_ROW static __attribute__((noinline))
#include "dot_b256.h"

/* Eight groups of 32 are sixteen of 16. */
LK_INLINE void load_head32(k_block *b, const uint8_t scales[12], uint16_t d, uint16_t dmin) {
    const __m128i scale_at = _mm_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7);
    const __m128i min_at =
        _mm_setr_epi8(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
    __m128i sc = lk_scales_min(scales);
    lk_scale_u8(b->scale, _mm_shuffle_epi8(sc, scale_at), lk_half_to_f32x8(d));
    lk_scale_u8(b->bias, _mm_shuffle_epi8(sc, min_at), lk_half_to_f32x8(dmin));
}

/* Signed scales and a zero point. */
LK_INLINE void load_signed16(k_block *b, __m128i sc_i8x16, uint16_t d, float zero) {
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    __m256 scale[2];
    lk_scale_i8(scale, sc_i8x16, lk_half_to_f32x8(d));
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        b->scale[h] = _mm256_permutevar8x32_ps(scale[h], order);
        b->bias[h] = _mm256_mul_ps(scale[h], _mm256_set1_ps(zero));
    }
}

LK_INLINE void load_q2_K(k_block *b, const void *super_block) {
    const block_q2_K *w = (const block_q2_K *)super_block;
    const __m128i low4 = _mm_set1_epi8(15);
    const __m128i scale_at = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    __m128i both = _mm_loadu_si128((const __m128i *)w->scales);
    __m128i m = _mm_and_si128(_mm_srli_epi16(both, 4), low4);
    __m128i sc = _mm_and_si128(_mm_shuffle_epi8(both, scale_at), low4);
    lk_scale_u8(b->scale, sc, lk_half_to_f32x8(w->d));
    lk_scale_u8(b->bias, m, lk_half_to_f32x8(w->dmin));
    lk_quants_q2_K(b->q, w);
}

LK_INLINE void load_q3_K(k_block *b, const void *super_block) {
    const block_q3_K *w = (const block_q3_K *)super_block;
    load_signed16(b, lk_scales_signed_q3_K(w), w->d, LK_ZERO_Q3_K);
    lk_quants_q3_K(b->q, w);
}

LK_INLINE void load_q4_K(k_block *b, const void *super_block) {
    const block_q4_K *w = (const block_q4_K *)super_block;
    load_head32(b, w->scales, w->d, w->dmin);
    lk_quants_q4_K(b->q, w);
}

LK_INLINE void load_q5_K(k_block *b, const void *super_block) {
    const block_q5_K *w = (const block_q5_K *)super_block;
    load_head32(b, w->scales, w->d, w->dmin);
    lk_quants_q5_K(b->q, w);
}

LK_INLINE void load_q6_K(k_block *b, const void *super_block) {
    const block_q6_K *w = (const block_q6_K *)super_block;
    load_signed16(b, lk_scales_signed_q6_K(w), w->d, LK_ZERO_Q6_K);
    lk_quants_q6_K(b->q, w);
}

LK_DOT_B256(q2_K, avx2)
LK_DOT_B256(q3_K, avx2)
LK_DOT_B256(q4_K, avx2)
LK_DOT_B256(q5_K, avx2)
LK_DOT_B256(q6_K, avx2)

LK_END
#endif
