/*
 * dot_q2_K q3_K q4_K q5_K q6_K iq4_xs for NEON, included by a file per level that has defined
 *     LEVEL(name)                  name_<level>
 *     int32x4_t dot16(acc, w, a)   acc + 16 products of int8, summed in fours in any order
 *
 *     y = sum over super-blocks of  d sum(d_a sc sum((q - zero) a)) - dmin sum(m s)
 *
 * Four groups a step: their sums meet in the lanes of one vector and are multiplied by sc there,
 * exactly: |sc sum| <= 63 * 32 * 31 * 127 (Q5_K) or 32 * 32 * 127 * 127 (IQ4_XS), and for a pair of
 * groups of 16, which share d_a, 2 * 128 * 16 * 32 * 127 (Q6_K), both below 2^24. k is whole
 * super-blocks: no tail.
 */
#include "dot_walk.h"

#define K_COLS 4

typedef struct {
    int8x16_t q[16];
    int32x4_t scale[4]; /* two vectors when groups are 32 long */
    float32x4_t min[4];
    float d, dmin;
} k_block;

LK_INLINE void k_load(k_type type, k_block *b, const uint8_t *w) {
    uint8x16_t q[16];
    k_codes(type, q, w);
    LK_UNROLL
    for (int i = 0; i < 16; i++)
        b->q[i] = vreinterpretq_s8_u8(
            k_zero(type) ? vsubq_u8(q[i], vdupq_n_u8((uint8_t)k_zero(type))) : q[i]);
    const k_scales s = k_scales_of(type, w);
    b->d = s.d;
    k_widen(b->scale, s.scale);
    if (!k_has_min(type))
        return;
    int32x4_t min_s32x4[4];
    b->dmin = s.dmin;
    k_widen(min_s32x4, s.min);
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        b->min[i] = vcvtq_f32_s32(min_s32x4[i]);
}

/* sc times the sum of the products of each of four groups, h being the four's number. */
LK_INLINE int32x4_t k_four_groups(k_type type, const k_block *b, const int8_t *a, const int h) {
    const int vectors = k_group(type) / 16; /* of a group */
    int32x4_t sums[4];
    LK_UNROLL
    for (int g = 0; g < 4; g++) {
        const int first = (4 * h + g) * vectors;
        sums[g] = dot16(vdupq_n_s32(0), b->q[first], vld1q_s8(a + 16 * first));
        if (vectors == 2)
            sums[g] = dot16(sums[g], b->q[first + 1], vld1q_s8(a + 16 * first + 16));
    }
    return vmulq_s32(neon_sums(sums), b->scale[h]);
}

/* acc + the share of the super-block that covers record a. */
LK_INLINE float32x4_t k_multiply(k_type type, float32x4_t acc_f32x4, const k_block *b,
                                 const lk_act_block *a) {
    const int groups = LK_QK256 / k_group(type);
    float32x4_t sum_f32x4 = vdupq_n_f32(0.0f);
    LK_UNROLL
    for (int h = 0; h < 2; h++) { /* 128 elements, four scales of x */
        const int32x4_t scaled = k_group(type) == 32
                                     ? k_four_groups(type, b, a->q, h)
                                     : vpaddq_s32(k_four_groups(type, b, a->q, 2 * h),
                                                  k_four_groups(type, b, a->q, 2 * h + 1));
        sum_f32x4 = vfmaq_f32(sum_f32x4, vcvtq_f32_s32(scaled), vld1q_f32(a->d + 4 * h));
    }
    acc_f32x4 = vfmaq_n_f32(acc_f32x4, sum_f32x4, b->d);
    if (!k_has_min(type))
        return acc_f32x4;
    const float *s = groups == 8 ? a->s32 : a->s16;
    float32x4_t min_f32x4 = vmulq_f32(b->min[0], vld1q_f32(s));
    LK_UNROLL
    for (int i = 1; i < groups / 4; i++)
        min_f32x4 = vfmaq_f32(min_f32x4, b->min[i], vld1q_f32(s + 4 * i));
    return vfmsq_n_f32(acc_f32x4, min_f32x4, b->dmin);
}

LK_INLINE void k_row(k_type type, const lk_dot *d, const uint8_t *w, float *y, const char *x,
                     const int cols) {
    float32x4_t acc_f32x4[K_COLS];
    for (int c = 0; c < cols; c++)
        acc_f32x4[c] = vdupq_n_f32(0.0f);
    for (int i = 0; i < d->k / LK_QK256; i++, w += k_bytes(type)) {
        k_block b;
        k_load(type, &b, w);
        for (int c = 0; c < cols; c++)
            acc_f32x4[c] =
                k_multiply(type, acc_f32x4[c], &b,
                           (const lk_act_block *)(const void *)(x + c * d->x_stride) + i);
    }
    for (int c = 0; c < cols; c++)
        y[c * d->y_stride] = vaddvq_f32(acc_f32x4[c]);
}

#define DOT(type)                                                                                  \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        for (int r = 0; r < rows; r++)                                                             \
            k_row(K_##type, d, w[r], y[r], x, cols);                                               \
    }                                                                                              \
    void LEVEL(dot_##type)(const lk_dot *dot) {                                                    \
        lk_dot_walk(tile_##type, NULL, dot, K_COLS, 0);                                            \
    }
K_TYPES(DOT)
