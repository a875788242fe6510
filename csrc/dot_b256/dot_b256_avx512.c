/*
 * K-quant rows times 8-bit activations (dot_b256_scalar.c, blocks.h). Every type becomes four
 * vectors of 64 unsigned quants in row order and 16 scales and 16 biases, one per 16 elements
 * (a group of 32 counts twice), so one accumulation serves all:
 *     y = sum of  scale * d_a * (q . a)  -  bias * s16,   bias = min + zero * scale.
 * vpdpbusd leaves four partial sums per 16 elements, each at most 4 * 63 * 127 = 32004: they fit
 * vpackssdw. Loads stay inside the super-block; k has no tail.
 */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "../k_quants_avx512.h"

typedef struct {
    __m512i q[4];
    __m512 scale; /* float i of 128-bit lane l: 16-group 4 i + l, the order of group_sums */
    __m512 bias;  /* in row order */
} k_block;

typedef struct {
    __m512 dot, bias;
} k_sum;

typedef void (*k_load_fn)(k_block *b, const void *super_block);

#define LANE_ORDER16 _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)

/* Sums of 16 elements from partial sums of 4: lane l of the result holds l of each input. */
LK_INLINE __m512i group_sums(__m512i a_i32x16, __m512i b_i32x16, __m512i c_i32x16,
                             __m512i d_i32x16) {
    const __m512i ones_i16x32 = _mm512_set1_epi16(1);
    __m512i ab = _mm512_madd_epi16(_mm512_packs_epi32(a_i32x16, b_i32x16), ones_i16x32);
    __m512i cd = _mm512_madd_epi16(_mm512_packs_epi32(c_i32x16, d_i32x16), ones_i16x32);
    __m512 ab_f = _mm512_castsi512_ps(ab), cd_f = _mm512_castsi512_ps(cd);
    __m512i even = _mm512_castps_si512(_mm512_shuffle_ps(ab_f, cd_f, 0x88));
    __m512i odd = _mm512_castps_si512(_mm512_shuffle_ps(ab_f, cd_f, 0xdd));
    return _mm512_add_epi32(even, odd);
}

LK_INLINE __m512i dot64(__m512i q_u8x64, const int8_t *a) {
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), q_u8x64, _mm512_loadu_si512(a));
}

/* Adds the super-block that covers activations i .. i + 255 of row x. */
LK_INLINE void add_block(k_sum *sum, const k_block *b, const void *x, int k, int i) {
    const __m512i group_of = _mm512_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6, 1, 3, 5, 7, 1, 3, 5, 7);
    const int8_t *a = lk_act_q(x) + i;
    __m512i sums_i32x16 = group_sums(dot64(b->q[0], a), dot64(b->q[1], a + 64),
                                     dot64(b->q[2], a + 128), dot64(b->q[3], a + 192));
    __m512 d_a = _mm512_castps256_ps512(_mm256_loadu_ps(lk_act_d(x, k) + i / 32));
    __m512 scale = _mm512_mul_ps(b->scale, _mm512_permutexvar_ps(group_of, d_a));
    sum->dot = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums_i32x16), scale, sum->dot);
    sum->bias = _mm512_fmadd_ps(b->bias, _mm512_loadu_ps(lk_act_s16(x, k) + i / 16), sum->bias);
}

LK_INLINE k_sum zero_sum(void) {
    return (k_sum){_mm512_setzero_ps(), _mm512_setzero_ps()};
}

LK_INLINE float total(const k_sum *sum) {
    return _mm512_reduce_add_ps(_mm512_sub_ps(sum->dot, sum->bias));
}

/* A call would spill every sum: inlined is a third faster. */
#define LK_DOT_ROW LK_INLINE
#include "dot_b256.h"

/* d and dmin lie side by side at p. */
LK_INLINE void load_scale_min(k_block *b, __m128i sc_u8x16, __m128i m_u8x16, const void *p) {
    __m128 d = lk_d_dmin(p);
    b->scale = _mm512_mul_ps(lk_u8_to_f32(sc_u8x16), _mm512_broadcastss_ps(d));
    b->bias = _mm512_mul_ps(lk_u8_to_f32(m_u8x16), _mm512_broadcastss_ps(_mm_movehdup_ps(d)));
}

/* Eight groups of 32 are sixteen of 16. */
LK_INLINE void load_head32(k_block *b, const void *super_block) {
    const __m128i scale_at = _mm_setr_epi8(0, 2, 4, 6, 0, 2, 4, 6, 1, 3, 5, 7, 1, 3, 5, 7);
    const __m128i min_at =
        _mm_setr_epi8(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
    __m128i sc = lk_scales_min(super_block);
    load_scale_min(b, _mm_shuffle_epi8(sc, scale_at), _mm_shuffle_epi8(sc, min_at), super_block);
}

/* Signed scales and a zero point. */
LK_INLINE void load_signed16(k_block *b, __m128i sc_i8x16, uint16_t d, float zero) {
    const __m512i order = _mm512_cvtepu8_epi32(LANE_ORDER16);
    __m512 scale = _mm512_mul_ps(lk_i8_to_f32(sc_i8x16), lk_half_to_f32x16(d));
    b->scale = _mm512_permutexvar_ps(order, scale);
    b->bias = _mm512_mul_ps(scale, _mm512_set1_ps(zero));
}

LK_INLINE void load_q2_K(k_block *b, const void *super_block) {
    const block_q2_K *w = (const block_q2_K *)super_block;
    const __m128i low4 = _mm_set1_epi8(15);
    __m128i both = _mm_loadu_si128((const __m128i *)w->scales);
    __m128i sc = _mm_and_si128(_mm_shuffle_epi8(both, LANE_ORDER16), low4);
    load_scale_min(b, sc, _mm_and_si128(_mm_srli_epi16(both, 4), low4), &w->d);
    lk_quants_q2_K(b->q, w);
}

LK_INLINE void load_q3_K(k_block *b, const void *super_block) {
    const block_q3_K *w = (const block_q3_K *)super_block;
    load_signed16(b, lk_scales_signed_q3_K(w), w->d, LK_ZERO_Q3_K);
    lk_quants_q3_K(b->q, w);
}

LK_INLINE void load_q4_K(k_block *b, const void *super_block) {
    load_head32(b, super_block);
    lk_quants_q4_K(b->q, super_block);
}

LK_INLINE void load_q5_K(k_block *b, const void *super_block) {
    load_head32(b, super_block);
    lk_quants_q5_K(b->q, super_block);
}

LK_INLINE void load_q6_K(k_block *b, const void *super_block) {
    const block_q6_K *w = (const block_q6_K *)super_block;
    load_signed16(b, lk_scales_signed_q6_K(w), w->d, LK_ZERO_Q6_K);
    lk_quants_q6_K(b->q, w);
}

LK_DOT_B256(q2_K, avx512)
LK_DOT_B256(q3_K, avx512)
LK_DOT_B256(q4_K, avx512)
LK_DOT_B256(q5_K, avx512)
LK_DOT_B256(q6_K, avx512)

LK_END
#endif
