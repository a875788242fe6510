/*
 * K-quant rows times 8-bit activations, the specification:
 *     y = sum over groups g of  d_a * (scale * sum q a)  -  (min + zero * scale) * s
 * where s is the precomputed d_a * sum a of the group. Blocks: blocks.h, expanded by k_quants.h.
 * An integer sum is at most 32 * 31 * 127 (Q5_K) or 16 * 63 * 127 (Q6_K): exact in a float too.
 * k is whole super-blocks, so there is no tail.
 */
#include "../k_quants.h"
#include "../kernels.h"

typedef struct {
    lk_k_expand_fn expand;
    int bytes; /* of a super-block */
    int group; /* elements that share a scale */
    int zero;
} k_type;

LK_INLINE float dot_one(const k_type t, const uint8_t *w, const void *x, int k) {
    const int8_t *a = lk_act_q(x);
    const float *d_a = lk_act_d(x, k);
    const float *s = t.group == 32 ? lk_act_s32(x, k) : lk_act_s16(x, k);
    uint8_t q[LK_QK256];
    float scale[16], min[16] = {0};
    float sum = 0.0f;
    for (int i = 0; i < k; i += LK_QK256, w += t.bytes) {
        t.expand(q, scale, min, w);
        for (int g = 0; g < LK_QK256 / t.group; g++) {
            int start = i + g * t.group;
            int32_t sum_i32 = 0;
            for (int e = 0; e < t.group; e++)
                sum_i32 += q[g * t.group + e] * a[start + e];
            sum += scale[g] * d_a[start / 32] * (float)sum_i32;
            sum -= (min[g] + (float)t.zero * scale[g]) * s[start / t.group];
        }
    }
    return sum;
}

LK_INLINE void dot_all(const k_type t, float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,
                       const void *x, size_t x_stride, int k, int rows, int cols) {
    for (int c = 0; c < cols; c++)
        for (int r = 0; r < rows; r++)
            y[c * y_stride + r] = dot_one(t, (const uint8_t *)w + (size_t)r * w_stride,
                                          (const char *)x + (size_t)c * x_stride, k);
}

#define DOT(name, group, zero)                                                                     \
    void dot_##name##_scalar(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,         \
                             const void *x, size_t x_stride, int k, int rows, int cols) {          \
        const k_type t = {lk_expand_##name, sizeof(block_##name), group, zero};                    \
        dot_all(t, y, y_stride, w, w_stride, x, x_stride, k, rows, cols);                          \
    }

DOT(q2_K, 16, 0)
DOT(q3_K, 16, LK_ZERO_Q3_K)
DOT(q4_K, 32, 0)
DOT(q5_K, 32, 0)
DOT(q6_K, 16, LK_ZERO_Q6_K)
