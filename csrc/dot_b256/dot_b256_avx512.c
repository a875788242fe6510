/*
 * K-quant rows times 8-bit activations (dot_b256_scalar.c, blocks.h). Every type becomes four
 * vectors of 64 unsigned quants in row order and 16 scales and 16 biases, one per 16 elements
 * (a group of 32 counts twice), so one accumulation serves all:
 *     y = sum of  scale * d_a * (q . a)  -  bias * s16,   bias = min + zero * scale.
 * vpdpbusd leaves four partial sums per 16 elements, each at most 4 * 63 * 127 = 32004: they fit
 * vpackssdw. A 32-byte run holds several bit planes of 64 elements: broadcast to both halves and
 * shift each half by its own count. Loads stay inside the super-block; k has no tail.
 */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

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

LK_INLINE __m512 lane_order(__m512 rows_f32x16) {
    const __m512i order = _mm512_cvtepu8_epi32(LANE_ORDER16);
    return _mm512_permutexvar_ps(order, rows_f32x16);
}

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

/* ---- unpacking ---------------------------------------------------------------------------- */

/* 32 bytes in both halves. */
LK_INLINE __m512i load_twice(const uint8_t *p) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
}

/* Shift counts for the low and the high half. */
LK_INLINE __m512i by(int low, int high) {
    return _mm512_setr_epi64(low, low, low, low, high, high, high, high);
}

LK_INLINE __m512i and_bytes(__m512i x, char mask) {
    return _mm512_and_si512(x, _mm512_set1_epi8(mask));
}

/* a | (b & mask) */
LK_INLINE __m512i or_masked(__m512i a, __m512i b, char mask) {
    return _mm512_ternarylogic_epi64(a, b, _mm512_set1_epi8(mask), 0xf8);
}

LK_INLINE __m512 u8_to_f32(__m128i x_u8x16) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(x_u8x16));
}

/* Scales 0..7 in bytes 0..7, minima in bytes 8..15, from the head of a Q4_K or Q5_K block. */
LK_INLINE __m128i scales_min(__m128i head_u8x16) {
    const __m128i twice = _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i low_at =
        _mm_setr_epi8(0, 8, 16, 24, 32, 40, 48, 56, 0, 8, 16, 24, 36, 44, 52, 60);
    const __m128i top_at = _mm_setr_epi8(0, 0, 0, 0, 2, 10, 18, 26, 0, 0, 0, 0, 2, 10, 18, 26);
    const __m128i low_mask = _mm_set1_epi64x(0x0f0f0f0f3f3f3f3f);
    const __m128i top_mask = _mm_set1_epi64x(0x3030303000000000);
    __m128i s = _mm_shuffle_epi8(head_u8x16, twice);
    __m128i low = _mm_and_si128(_mm_multishift_epi64_epi8(low_at, s), low_mask);
    return _mm_ternarylogic_epi64(low, _mm_multishift_epi64_epi8(top_at, s), top_mask, 0xf8);
}

/* d and dmin lie side by side at p; the super-block's scale and bias for eight groups of 32. */
LK_INLINE void load_head32(k_block *b, const void *p) {
    const __m128i scale_at = _mm_setr_epi8(0, 2, 4, 6, 0, 2, 4, 6, 1, 3, 5, 7, 1, 3, 5, 7);
    const __m128i min_at =
        _mm_setr_epi8(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
    __m128i head = _mm_loadu_si128((const __m128i *)p);
    __m128 d = _mm_cvtph_ps(_mm_loadu_si32(p));
    __m128i sc = scales_min(head);
    b->scale = _mm512_mul_ps(u8_to_f32(_mm_shuffle_epi8(sc, scale_at)), _mm512_broadcastss_ps(d));
    b->bias = _mm512_mul_ps(u8_to_f32(_mm_shuffle_epi8(sc, min_at)),
                            _mm512_broadcastss_ps(_mm_movehdup_ps(d)));
}

LK_INLINE void load_q2_K(k_block *b, const void *super_block) {
    const block_q2_K *w = (const block_q2_K *)super_block;
#pragma GCC unroll 4
    for (int h = 0; h < 2; h++) {
        __m512i bits = load_twice(w->qs + 32 * h);
        b->q[2 * h] = and_bytes(_mm512_srlv_epi64(bits, by(0, 2)), 3);
        b->q[2 * h + 1] = and_bytes(_mm512_srlv_epi64(bits, by(4, 6)), 3);
    }
    const __m128i low4 = _mm_set1_epi8(15);
    __m128i both = _mm_loadu_si128((const __m128i *)w->scales);
    __m128i sc = _mm_and_si128(_mm_shuffle_epi8(both, LANE_ORDER16), low4);
    __m128i m = _mm_and_si128(_mm_srli_epi16(both, 4), low4);
    __m128 d = _mm_cvtph_ps(_mm_loadu_si32(&w->d));
    b->scale = _mm512_mul_ps(u8_to_f32(sc), _mm512_broadcastss_ps(d));
    b->bias = _mm512_mul_ps(u8_to_f32(m), _mm512_broadcastss_ps(_mm_movehdup_ps(d)));
}

/* Scale and bias from 16 signed scale bytes and a zero point. */
LK_INLINE void load_signed16(k_block *b, __m128i sc_i8x16, uint16_t d_half, float zero) {
    __m512 sc = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sc_i8x16));
    __m512 d = _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(d_half)));
    __m512 scale = _mm512_mul_ps(sc, d);
    b->scale = lane_order(scale);
    b->bias = _mm512_mul_ps(scale, _mm512_set1_ps(zero));
}

LK_INLINE void load_q3_K(k_block *b, const void *super_block) {
    const block_q3_K *w = (const block_q3_K *)super_block;
    __m512i high = load_twice(w->hmask);
    /* Bit e / 32 goes to bit 2: vector j has groups 2 j and 2 j + 1 in its halves. A rotation may
     * carry between bytes, but not into bit 2. */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i bits = load_twice(w->qs + 32 * (j / 2));
        __m512i low = and_bytes(_mm512_srlv_epi64(bits, by(j % 2 * 4, j % 2 * 4 + 2)), 3);
        b->q[j] =
            or_masked(low, _mm512_rorv_epi64(high, by((2 * j + 62) % 64, (2 * j + 63) % 64)), 4);
    }
    /* The last 16 bytes: two of qs, the 12 of scales, d. */
    const __m128i low_at = _mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9);
    const __m128i top_at =
        _mm_setr_epi8(10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13);
    __m128i tail = _mm_loadu_si128((const __m128i *)((const uint8_t *)(w + 1) - 16));
    __m128i low = _mm_srlv_epi64(_mm_shuffle_epi8(tail, low_at), _mm_set_epi64x(4, 0));
    __m128i top = _mm_rorv_epi32(_mm_shuffle_epi8(tail, top_at), _mm_setr_epi32(28, 30, 0, 2));
    low = _mm_and_si128(low, _mm_set1_epi8(15));
    __m128i sc = _mm_ternarylogic_epi64(low, top, _mm_set1_epi8(0x30), 0xf8);
    load_signed16(b, _mm_sub_epi8(sc, _mm_set1_epi8(32)), w->d, LK_ZERO_Q3_K);
}

LK_INLINE void load_q4_K(k_block *b, const void *super_block) {
    const block_q4_K *w = (const block_q4_K *)super_block;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        b->q[j] = and_bytes(_mm512_srlv_epi64(load_twice(w->qs + 32 * j), by(0, 4)), 15);
    load_head32(b, w);
}

LK_INLINE void load_q5_K(k_block *b, const void *super_block) {
    const block_q5_K *w = (const block_q5_K *)super_block;
    __m512i high = load_twice(w->qh);
    /* Bit of group 2 j or 2 j + 1 to bit 4. */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i low = and_bytes(_mm512_srlv_epi64(load_twice(w->qs + 32 * j), by(0, 4)), 15);
        __m512i fifth = _mm512_rorv_epi64(high, by((2 * j + 60) % 64, (2 * j + 61) % 64));
        b->q[j] = or_masked(low, fifth, 16);
    }
    load_head32(b, w);
}

LK_INLINE void load_q6_K(k_block *b, const void *super_block) {
    const block_q6_K *w = (const block_q6_K *)super_block;
#pragma GCC unroll 4
    for (int h = 0; h < 2; h++) {
        __m512i low = _mm512_loadu_si512(w->ql + 64 * h), high = load_twice(w->qh + 32 * h);
        b->q[2 * h] = or_masked(and_bytes(low, 15), _mm512_sllv_epi64(high, by(4, 2)), 0x30);
        b->q[2 * h + 1] = or_masked(and_bytes(_mm512_srli_epi64(low, 4), 15),
                                    _mm512_srlv_epi64(high, by(0, 2)), 0x30);
    }
    load_signed16(b, _mm_loadu_si128((const __m128i *)w->scales), w->d, LK_ZERO_Q6_K);
}

LK_DOT_B256(q2_K, avx512)
LK_DOT_B256(q3_K, avx512)
LK_DOT_B256(q4_K, avx512)
LK_DOT_B256(q5_K, avx512)
LK_DOT_B256(q6_K, avx512)

LK_END
#endif
