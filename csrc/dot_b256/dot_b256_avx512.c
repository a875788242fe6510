/*
 * K-quant rows times 8-bit activations (dot_b256_scalar.c, blocks.h). Every type becomes four
 * vectors of 64 unsigned quants in row order, whose products VPDPBUSD adds by fours:
 *     y = sum of  scale * d_a * (q . a)  -  bias * s,   bias = min + zero * scale,
 * s over 16 or 32 elements. Four products are at most 4 * 63 * 127 = 32004 and fit vpackssdw; packs
 * and vpmaddwd by ones bring the sums of a super-block into one vector. IQ4_XS, with codes of 8
 * bits, adds in 32 instead. Loads stay inside the super-block; k has no tail.
 */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "../k_quants_avx512.h"
#include "dot_walk.h"

typedef struct {
    __m512i q[4];
    __m512 scale; /* groups of 16: float i of 128-bit lane l is 16-group 4 i + l, the order of
                     group_sums; groups of 32: eight scales, then eight minima, in row order */
    __m512 bias;  /* groups of 16: in row order */
} k_block;

typedef struct {
    __m512 dot, bias; /* groups of 32: only the upper eight of bias count */
} k_sum;

typedef void (*k_load_fn)(k_block *b, const void *super_block);

#define LANE_ORDER16 _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)

/* Sums of 16 elements from partial sums of 4: lane l of the result holds l of each input. */
LK_INLINE __m512i group_sums(const __m512i p_i32x16[4]) {
    const __m512i ones_i16x32 = _mm512_set1_epi16(1);
    __m512i ab = _mm512_madd_epi16(_mm512_packs_epi32(p_i32x16[0], p_i32x16[1]), ones_i16x32);
    __m512i cd = _mm512_madd_epi16(_mm512_packs_epi32(p_i32x16[2], p_i32x16[3]), ones_i16x32);
    __m512 ab_f = _mm512_castsi512_ps(ab), cd_f = _mm512_castsi512_ps(cd);
    __m512i even = _mm512_castps_si512(_mm512_shuffle_ps(ab_f, cd_f, 0x88));
    __m512i odd = _mm512_castps_si512(_mm512_shuffle_ps(ab_f, cd_f, 0xdd));
    return _mm512_add_epi32(even, odd);
}

/* Half sums of 32 elements, of q <= 31: eight products are at most 8 * 31 * 127 = 31496 and fit
 * vpackssdw twice. Lanes 0 and 1 hold groups 0 2 4 6, lanes 2 and 3 groups 1 3 5 7. */
LK_INLINE __m512i half_sums(const __m512i p_i32x16[4]) {
    const __m512i ones_i16x32 = _mm512_set1_epi16(1);
    __m512i ab = _mm512_madd_epi16(_mm512_packs_epi32(p_i32x16[0], p_i32x16[1]), ones_i16x32);
    __m512i cd = _mm512_madd_epi16(_mm512_packs_epi32(p_i32x16[2], p_i32x16[3]), ones_i16x32);
    return _mm512_madd_epi16(_mm512_packs_epi32(ab, cd), ones_i16x32);
}

/* Two vectors to one: lower and upper parts of each 128-bit lane interleaved and added. */
#define FOLD(bits, x, y)                                                                           \
    _mm512_add_epi32(_mm512_unpacklo_epi##bits(x, y), _mm512_unpackhi_epi##bits(x, y))

/* The same for any q. */
LK_INLINE __m512i wide_half_sums(const __m512i p_i32x16[4]) {
    return FOLD(64, FOLD(32, p_i32x16[0], p_i32x16[1]), FOLD(32, p_i32x16[2], p_i32x16[3]));
}

/* Adds the super-block that covers record a. */
LK_INLINE void add_block(k_sum *sum, const k_block *b, const lk_act_block *a, const int group,
                         const int is_wide) {
    __m512i p_i32x16[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        p_i32x16[j] =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), b->q[j], _mm512_loadu_si512(a->q + 64 * j));
    if (group == 16) {
        const __m512i group_of = _mm512_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6, 1, 3, 5, 7, 1, 3, 5, 7);
        __m512 d_a = _mm512_castps256_ps512(_mm256_loadu_ps(a->d));
        __m512 scale = _mm512_mul_ps(b->scale, _mm512_permutexvar_ps(group_of, d_a));
        sum->dot = _mm512_fmadd_ps(_mm512_cvtepi32_ps(group_sums(p_i32x16)), scale, sum->dot);
        sum->bias = _mm512_fmadd_ps(b->bias, _mm512_loadu_ps(a->s16), sum->bias);
    } else {
        const __m512i group_of = _mm512_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6, 1, 3, 5, 7, 1, 3, 5, 7);
        __m512 scaled = _mm512_mul_ps(b->scale, _mm512_loadu_ps(a->d)); /* d, then s32 */
        const __m512i sums = is_wide ? wide_half_sums(p_i32x16) : half_sums(p_i32x16);
        sum->dot = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums),
                                   _mm512_permutexvar_ps(group_of, scaled), sum->dot);
        sum->bias = _mm512_add_ps(sum->bias, scaled);
    }
}

LK_INLINE float total(const k_sum *sum, const int group) {
    const __mmask16 counts = group == 16 ? 0xffff : 0xff00;
    return _mm512_reduce_add_ps(_mm512_mask_sub_ps(sum->dot, counts, sum->dot, sum->bias));
}

LK_INLINE void tile(k_load_fn load, size_t bytes, const int group, const int is_wide,
                    const lk_dot *d, const uint8_t *const w[2], float *const y[2], const char *x,
                    int rows, int cols) {
    k_sum sum[2][8];
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < cols; c++)
            sum[r][c] = (k_sum){_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int i = 0; i < d->k / LK_QK256; i++) {
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++) {
            k_block b;
            load(&b, w[r] + (size_t)i * bytes);
#pragma GCC unroll 8
            for (int c = 0; c < cols; c++)
                add_block(&sum[r][c], &b, (const lk_act_block *)(x + (size_t)c * d->x_stride) + i,
                          group, is_wide);
        }
    }
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < cols; c++)
            y[r][c * d->y_stride] = total(&sum[r][c], group);
}

/* d and dmin lie side by side at p. */
LK_INLINE void load_scale_min(k_block *b, __m128i sc_u8x16, __m128i m_u8x16, const void *p) {
    __m128 d = lk_d_dmin(p);
    b->scale = _mm512_mul_ps(lk_u8_to_f32(sc_u8x16), _mm512_broadcastss_ps(d));
    b->bias = _mm512_mul_ps(lk_u8_to_f32(m_u8x16), _mm512_broadcastss_ps(_mm_movehdup_ps(d)));
}

/* d times the eight scales, then dmin times the eight minima. */
LK_INLINE void load_head32(k_block *b, const void *super_block) {
    const __m512i d_then_dmin = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m512 d = _mm512_castps128_ps512(lk_d_dmin(super_block));
    b->scale = _mm512_mul_ps(lk_u8_to_f32(lk_scales_min(super_block)),
                             _mm512_permutexvar_ps(d_then_dmin, d));
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

LK_INLINE void load_iq4_xs(k_block *b, const void *super_block) {
    const block_iq4_xs *w = (const block_iq4_xs *)super_block;
    const __m512 d = lk_half_to_f32x16(w->d);
    const __m512 scale = _mm512_mul_ps(lk_i8_to_f32(lk_scales_signed_iq4_xs(w)), d);
    b->scale = _mm512_mask_mul_ps(scale, 0xff00, scale, _mm512_set1_ps(LK_ZERO_IQ4_XS));
    lk_quants_iq4_xs(b->q, w);
}

#define DOT(type, group, is_wide)                                                                  \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        tile(load_##type, sizeof(block_##type), group, is_wide, d, w, y, x, rows, cols);           \
    }                                                                                              \
    void dot_##type##_avx512(const lk_dot *dot) {                                                  \
        lk_dot_walk(tile_##type, NULL, dot, 8, 0);                                                 \
    }
DOT(q2_K, 16, 0)
DOT(q3_K, 16, 0)
DOT(q4_K, 32, 0)
DOT(q5_K, 32, 0)
DOT(q6_K, 16, 0)
DOT(iq4_xs, 32, 1)

LK_END
#endif
