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

/* ---- unpacking ---------------------------------------------------------------------------- */

LK_INLINE __m256i load32(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

/* The bits of mask in each byte of x >> shift; the mask drops what came from the next byte. */
LK_INLINE __m256i field(__m256i x, int shift, char mask) {
    return _mm256_and_si256(_mm256_srli_epi16(x, shift), _mm256_set1_epi8(mask));
}

/* Bit `from` of each byte, moved to bit `to`. */
LK_INLINE __m256i bit(__m256i x, int from, int to) {
    __m256i moved = from > to ? _mm256_srli_epi16(x, from - to) : _mm256_slli_epi16(x, to - from);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(1 << to)));
}

LK_INLINE __m256 low_to_f32(__m128i x_u8x16) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(x_u8x16));
}

LK_INLINE __m256 high_to_f32(__m128i x_u8x16) {
    return low_to_f32(_mm_unpackhi_epi64(x_u8x16, x_u8x16));
}

LK_INLINE __m128 half_to_f32(uint16_t half) {
    return _mm_cvtph_ps(_mm_cvtsi32_si128(half));
}

/* The type's 16 scale bytes in the order of k_block.scale, its 16 minima in that of the row. */
LK_INLINE void load_scale_min(k_block *b, __m128i sc_u8x16, __m128i m_u8x16, uint16_t d_half,
                              uint16_t dmin_half) {
    __m256 d = _mm256_broadcastss_ps(half_to_f32(d_half));
    __m256 dmin = _mm256_broadcastss_ps(half_to_f32(dmin_half));
    b->scale[0] = _mm256_mul_ps(low_to_f32(sc_u8x16), d);
    b->scale[1] = _mm256_mul_ps(high_to_f32(sc_u8x16), d);
    b->bias[0] = _mm256_mul_ps(low_to_f32(m_u8x16), dmin);
    b->bias[1] = _mm256_mul_ps(high_to_f32(m_u8x16), dmin);
}

/* The eight scales and minima of Q4_K and Q5_K, each for two groups of 16. */
LK_INLINE void load_scales32(k_block *b, const uint8_t scales[12], uint16_t d, uint16_t dmin) {
    const __m128i scale_at = _mm_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7);
    const __m128i min_at = _mm_setr_epi8(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    uint64_t sc, m;
    lk_k_scales_min(&sc, &m, scales);
    load_scale_min(b, _mm_shuffle_epi8(_mm_cvtsi64_si128((long long)sc), scale_at),
                   _mm_shuffle_epi8(_mm_cvtsi64_si128((long long)m), min_at), d, dmin);
}

/* From bytes in row order to the order of k_block.scale. */
LK_INLINE __m128i scale_order(__m128i sc_u8x16) {
    return _mm_shuffle_epi8(sc_u8x16,
                            _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
}

/* Scales and biases from 16 signed scale bytes and a zero point. */
LK_INLINE void load_signed16(k_block *b, __m128i sc_i8x16, uint16_t d_half, float zero) {
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const __m256 d = _mm256_broadcastss_ps(half_to_f32(d_half));
    __m128i bytes[2] = {sc_i8x16, _mm_unpackhi_epi64(sc_i8x16, sc_i8x16)};
#pragma GCC unroll 4
    for (int h = 0; h < 2; h++) {
        __m256 sc = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes[h]));
        __m256 scale = _mm256_mul_ps(sc, d);
        b->scale[h] = _mm256_permutevar8x32_ps(scale, order);
        b->bias[h] = _mm256_mul_ps(scale, _mm256_set1_ps(zero));
    }
}

LK_INLINE void load_q2_K(k_block *b, const void *super_block) {
    const block_q2_K *w = (const block_q2_K *)super_block;
#pragma GCC unroll 4
    for (int h = 0; h < 2; h++) {
        __m256i bits = load32(w->qs + 32 * h);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            b->q[4 * h + j] = field(bits, 2 * j, 3);
    }
    const __m128i low4 = _mm_set1_epi8(15);
    __m128i both = _mm_loadu_si128((const __m128i *)w->scales);
    load_scale_min(b, scale_order(_mm_and_si128(both, low4)),
                   _mm_and_si128(_mm_srli_epi16(both, 4), low4), w->d, w->dmin);
}

LK_INLINE void load_q3_K(k_block *b, const void *super_block) {
    const block_q3_K *w = (const block_q3_K *)super_block;
    __m256i high = load32(w->hmask);
#pragma GCC unroll 4
    for (int h = 0; h < 2; h++) {
        __m256i bits = load32(w->qs + 32 * h);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            b->q[4 * h + j] = _mm256_or_si256(field(bits, 2 * j, 3), bit(high, 4 * h + j, 2));
    }
    uint64_t sc[2];
    lk_k_scales_q3(sc, w->scales);
    __m128i biased = _mm_set_epi64x((long long)sc[1], (long long)sc[0]);
    load_signed16(b, _mm_sub_epi8(biased, _mm_set1_epi8(32)), w->d, LK_ZERO_Q3_K);
}

LK_INLINE void load_q4_K(k_block *b, const void *super_block) {
    const block_q4_K *w = (const block_q4_K *)super_block;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256i bits = load32(w->qs + 32 * j);
        b->q[2 * j] = field(bits, 0, 15);
        b->q[2 * j + 1] = field(bits, 4, 15);
    }
    load_scales32(b, w->scales, w->d, w->dmin);
}

LK_INLINE void load_q5_K(k_block *b, const void *super_block) {
    const block_q5_K *w = (const block_q5_K *)super_block;
    __m256i high = load32(w->qh);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256i bits = load32(w->qs + 32 * j);
        b->q[2 * j] = _mm256_or_si256(field(bits, 0, 15), bit(high, 2 * j, 4));
        b->q[2 * j + 1] = _mm256_or_si256(field(bits, 4, 15), bit(high, 2 * j + 1, 4));
    }
    load_scales32(b, w->scales, w->d, w->dmin);
}

LK_INLINE void load_q6_K(k_block *b, const void *super_block) {
    const block_q6_K *w = (const block_q6_K *)super_block;
#pragma GCC unroll 4
    for (int h = 0; h < 2; h++) {
        __m256i high = load32(w->qh + 32 * h);
#pragma GCC unroll 4
        for (int j = 0; j < 2; j++) {
            __m256i low = load32(w->ql + 64 * h + 32 * j);
            __m256i top = j ? _mm256_slli_epi16(high, 2) : _mm256_slli_epi16(high, 4);
            b->q[4 * h + j] = _mm256_or_si256(field(low, 0, 15), field(top, 0, 0x30));
            top = j ? _mm256_srli_epi16(high, 2) : high;
            b->q[4 * h + 2 + j] = _mm256_or_si256(field(low, 4, 15), field(top, 0, 0x30));
        }
    }
    load_signed16(b, _mm_loadu_si128((const __m128i *)w->scales), w->d, LK_ZERO_Q6_K);
}

LK_DOT_B256(q2_K, avx2)
LK_DOT_B256(q3_K, avx2)
LK_DOT_B256(q4_K, avx2)
LK_DOT_B256(q5_K, avx2)
LK_DOT_B256(q6_K, avx2)

LK_END
#endif
