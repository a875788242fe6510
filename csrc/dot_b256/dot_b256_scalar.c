/*
 * K-quant rows times 8-bit activations, the specification:
 *     y = sum over groups g of  d_a * (scale * sum q a)  -  (min + zero * scale) * s
 * where s is the precomputed d_a * sum a of the group. Blocks: blocks.h, expanded by k_quants.h.
 * An integer sum is at most 32 * 31 * 127 (Q5_K) 16 * 63 * 127 (Q6_K) or
 * 32 * 241 * 127 (IQ4_XS): exact in a float too.
 * k is whole super-blocks, so there is no tail.
 */
#include "../k_quants.h"
#include "dot_walk.h"

typedef struct {
    lk_k_expand_fn expand;
    int bytes; /* of a super-block */
    int group; /* elements that share a scale */
    int zero;
} k_type;

LK_INLINE float dot_one(const k_type t, const uint8_t *w, const lk_act_block *x, int k) {
    uint8_t q[LK_QK256];
    float scale[16], min[16] = {0};
    float sum = 0.0f;
    for (; k > 0; k -= LK_QK256, w += t.bytes, x++) {
        t.expand(q, scale, min, w);
        for (int g = 0; g < LK_QK256 / t.group; g++) {
            int32_t sum_i32 = 0;
            for (int e = g * t.group; e < (g + 1) * t.group; e++)
                sum_i32 += q[e] * x->q[e];
            sum += scale[g] * x->d[g * t.group / 32] * (float)sum_i32;
            sum -= (min[g] + (float)t.zero * scale[g]) * (t.group == 32 ? x->s32[g] : x->s16[g]);
        }
    }
    return sum;
}

LK_INLINE void tile(const k_type t, const lk_dot *d, const uint8_t *const w[2], float *const y[2],
                    const char *x, int rows, int cols) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            y[r][c * d->y_stride] =
                dot_one(t, w[r], (const lk_act_block *)(x + (size_t)c * d->x_stride), d->k);
}

#define DOT(name, group, zero)                                                                     \
    LK_INLINE void tile_##name(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        const k_type t = {lk_expand_##name, sizeof(block_##name), group, zero};                    \
        tile(t, d, w, y, x, rows, cols);                                                           \
    }                                                                                              \
    void dot_##name##_scalar(const lk_dot *dot) {                                                  \
        lk_dot_walk(tile_##name, NULL, dot, 1, 0);                                                 \
    }

DOT(q2_K, 16, 0)
DOT(q3_K, 16, LK_ZERO_Q3_K)
DOT(q4_K, 32, 0)
DOT(q5_K, 32, 0)
DOT(q6_K, 16, LK_ZERO_Q6_K)
DOT(iq4_xs, 32, LK_ZERO_IQ4_XS)
