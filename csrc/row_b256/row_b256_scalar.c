/*
 * K-quant weights to float32: y = scale * (q - zero) - min, for rows of an embedding table.
 * Blocks: blocks.h, expanded by k_quants.h. Reads exactly k / 256 super-blocks.
 */
#include "../k_quants.h"
#include "../kernels.h"

LK_INLINE void row_all(lk_k_expand_fn expand, size_t bytes, int group, int zero, float *y,
                       const void *w, int k) {
    uint8_t q[LK_QK256];
    float scale[16], min[16] = {0};
    for (int i = 0; i < k; i += LK_QK256) {
        expand(q, scale, min, (const uint8_t *)w + (size_t)(i / LK_QK256) * bytes);
        for (int e = 0; e < LK_QK256; e++)
            y[i + e] = scale[e / group] * (float)(q[e] - zero) - min[e / group];
    }
}

#define ROW(name, group, zero)                                                                     \
    void row_##name##_scalar(float *y, const void *w, int k) {                                     \
        row_all(lk_expand_##name, sizeof(block_##name), group, zero, y, w, k);                     \
    }

ROW(q2_K, 16, 0)
ROW(q3_K, 16, LK_ZERO_Q3_K)
ROW(q4_K, 32, 0)
ROW(q5_K, 32, 0)
ROW(q6_K, 16, LK_ZERO_Q6_K)
ROW(iq4_xs, 32, LK_ZERO_IQ4_XS)
