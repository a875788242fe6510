/*
 * K-quant rows times 8-bit activations (dot_b256_scalar.c, blocks.h). Every type becomes eight
 * vectors of 32 quants in row order:
 *     y = sum of  scale * d_a * (q . a)  -  bias * s,   bias = min + zero * scale,
 * s over 16 or 32 elements. VPMADDUBSW adds two products, at most 2 * 63 * 127 = 16002 in 16 bits.
 * Groups of 16: VPMADDWD by ones makes it four, at most 32004: they fit VPACKSSDW. Groups of 32:
 * q <= 31, and eight products, 31496, still fit 16 bits. IQ4_XS is signed, its sign moved to the
 * activation: two products are at most 2 * 127 * 127 and VPMADDWD widens them. Loads stay inside
 * the super-block; k has no tail.
 */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

#include "../k_quants_avx2.h"
#include "dot_walk.h"

typedef struct {
    __m256i q[8];
    __m256 scale[2]; /* groups of 16, half h: float i of 128-bit lane l: group 8 h + 2 i + l; of 32:
                        the eight in row order in scale[0] */
    __m256 bias[2];  /* in row order */
} k_block;

typedef struct {
    __m256 dot, bias;
} k_sum;

typedef void (*k_load_fn)(k_block *b, const void *super_block);

/* Sums of 16 elements from partial sums of 2: lane l of the result holds l of each input. */
LK_INLINE __m256i group_sums(const __m256i p_i16x16[4]) {
    const __m256i ones_i16x16 = _mm256_set1_epi16(1);
    __m256i ab = _mm256_packs_epi32(_mm256_madd_epi16(p_i16x16[0], ones_i16x16),
                                    _mm256_madd_epi16(p_i16x16[1], ones_i16x16));
    __m256i cd = _mm256_packs_epi32(_mm256_madd_epi16(p_i16x16[2], ones_i16x16),
                                    _mm256_madd_epi16(p_i16x16[3], ones_i16x16));
    __m256 ab_f = _mm256_castsi256_ps(_mm256_madd_epi16(ab, ones_i16x16));
    __m256 cd_f = _mm256_castsi256_ps(_mm256_madd_epi16(cd, ones_i16x16));
    __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(ab_f, cd_f, 0x88));
    __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(ab_f, cd_f, 0xdd));
    return _mm256_add_epi32(even, odd);
}

/* Two vectors to one: lower and upper parts of each 128-bit lane interleaved and added. */
#define FOLD(width, bits, x, y)                                                                    \
    _mm256_add_epi##width(_mm256_unpacklo_epi##bits(x, y), _mm256_unpackhi_epi##bits(x, y))

/* Half sums of 32 elements from partial sums of 2: twice groups 0 1 2 3. */
LK_INLINE __m256i half_sums(const __m256i p_i16x16[4]) {
    const __m256i ab = FOLD(16, 32, p_i16x16[0], p_i16x16[1]);
    const __m256i cd = FOLD(16, 32, p_i16x16[2], p_i16x16[3]);
    return _mm256_madd_epi16(FOLD(16, 64, ab, cd), _mm256_set1_epi16(1));
}

/* The same from sums that take all 16 bits. */
LK_INLINE __m256i wide_half_sums(const __m256i p_i16x16[4]) {
    const __m256i ones_i16x16 = _mm256_set1_epi16(1);
    __m256i p_i32x8[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        p_i32x8[j] = _mm256_madd_epi16(p_i16x16[j], ones_i16x16);
    return FOLD(32, 64, FOLD(32, 32, p_i32x8[0], p_i32x8[1]), FOLD(32, 32, p_i32x8[2], p_i32x8[3]));
}

/* Adds the super-block that covers record a. */
LK_INLINE void add_block(k_sum *sum, const k_block *b, const lk_act_block *a, const int group,
                         const int is_signed) {
    const __m256 scaled_f32x8 = _mm256_mul_ps(b->scale[0], _mm256_loadu_ps(a->d));
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i p_i16x16[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            const __m256i q = b->q[4 * h + j];
            const __m256i x = _mm256_loadu_si256((const __m256i *)(a->q + 128 * h + 32 * j));
            p_i16x16[j] = is_signed
                              ? _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q))
                              : _mm256_maddubs_epi16(q, x);
        }
        if (group == 16) {
            const __m128 d_a = _mm_loadu_ps(a->d + 4 * h);
            const __m256 scale = _mm256_mul_ps(b->scale[h], _mm256_set_m128(d_a, d_a));
            sum->dot = _mm256_fmadd_ps(_mm256_cvtepi32_ps(group_sums(p_i16x16)), scale, sum->dot);
            sum->bias = _mm256_fmadd_ps(b->bias[h], _mm256_loadu_ps(a->s16 + 8 * h), sum->bias);
        } else {
            const __m256 scale = h ? _mm256_permute2f128_ps(scaled_f32x8, scaled_f32x8, 0x11)
                                   : _mm256_permute2f128_ps(scaled_f32x8, scaled_f32x8, 0x00);
            const __m256i sums = is_signed ? wide_half_sums(p_i16x16) : half_sums(p_i16x16);
            sum->dot = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scale, sum->dot);
        }
    }
    if (group == 32 && !is_signed)
        sum->bias = _mm256_fmadd_ps(b->bias[0], _mm256_loadu_ps(a->s32), sum->bias);
}

LK_INLINE float total(const k_sum *sum) {
    __m256 f32x8 = _mm256_sub_ps(sum->dot, sum->bias);
    __m128 f32x4 = _mm_add_ps(_mm256_castps256_ps128(f32x8), _mm256_extractf128_ps(f32x8, 1));
    f32x4 = _mm_add_ps(f32x4, _mm_movehl_ps(f32x4, f32x4));
    return _mm_cvtss_f32(_mm_add_ss(f32x4, _mm_movehdup_ps(f32x4)));
}

LK_INLINE void tile(k_load_fn load, size_t bytes, const int group, const int is_signed,
                    const lk_dot *d, const uint8_t *const w[2], float *const y[2], const char *x,
                    int rows, int cols) {
    k_sum sum[2][4];
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < cols; c++)
            sum[r][c] = (k_sum){_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int i = 0; i < d->k / LK_QK256; i++) {
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++) {
            k_block b;
            load(&b, w[r] + (size_t)i * bytes);
#pragma GCC unroll 4
            for (int c = 0; c < cols; c++)
                add_block(&sum[r][c], &b, (const lk_act_block *)(x + (size_t)c * d->x_stride) + i,
                          group, is_signed);
        }
    }
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < cols; c++)
            y[r][c * d->y_stride] = total(&sum[r][c]);
}

/* Eight groups of 32. */
LK_INLINE void load_head32(k_block *b, const uint8_t scales[12], uint16_t d, uint16_t dmin) {
    const __m128i sc_m = lk_scales_min(scales);
    b->scale[0] = lk_times_u8(sc_m, lk_half_to_f32x8(d));
    b->bias[0] = lk_times_u8(_mm_unpackhi_epi64(sc_m, sc_m), lk_half_to_f32x8(dmin));
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

LK_INLINE void load_iq4_xs(k_block *b, const void *super_block) {
    const block_iq4_xs *w = (const block_iq4_xs *)super_block;
    __m256 scale[2];
    lk_scale_i8(scale, lk_scales_signed_iq4_xs(w), lk_half_to_f32x8(w->d));
    b->scale[0] = scale[0];
    lk_quants_iq4_xs(b->q, w);
}

#define DOT(type, group, is_signed)                                                                \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        tile(load_##type, sizeof(block_##type), group, is_signed, d, w, y, x, rows, cols);         \
    }                                                                                              \
    void dot_##type##_avx2(const lk_dot *dot) {                                                    \
        lk_dot_walk(tile_##type, NULL, dot, 4, 0);                                                 \
    }
DOT(q2_K, 16, 0)
DOT(q3_K, 16, 0)
DOT(q4_K, 32, 0)
DOT(q5_K, 32, 0)
DOT(q6_K, 16, 0)
DOT(iq4_xs, 32, 1)

LK_END
#endif
