/*
 * K-quant rows to the tile of kernels.h: q[i / 4][r][i % 4], scale[i / G][r], min[i / G][r], 16
 * rows wide. Blocks: blocks.h, expanded by k_quants.h. Reads exactly rows * k / 256 super-blocks;
 * rows that the matrix does not have are zero.
 */
#include "../k_quants.h"
#include "../kernels.h"

LK_INLINE void unpack_block(lk_k_expand_fn expand, int group, int has_min, uint8_t *tile_q,
                            float *tile_scale, float *tile_min, const uint8_t *w, int r) {
    uint8_t q[LK_QK256] = {0};
    float scale[16] = {0}, min[16] = {0};
    if (w)
        expand(q, scale, min, w);
    for (int e = 0; e < LK_QK256; e++)
        tile_q[e / 4 * 4 * LK_TILE_ROWS + r * 4 + e % 4] = q[e];
    for (int g = 0; g < LK_QK256 / group; g++) {
        tile_scale[g * LK_TILE_ROWS + r] = scale[g];
        if (has_min)
            tile_min[g * LK_TILE_ROWS + r] = min[g];
    }
}

LK_INLINE void unpack_all(lk_k_expand_fn expand, size_t bytes, int group, int has_min, uint8_t *q,
                          float *scale, float *min, const void *w, size_t w_stride, int k,
                          int rows) {
    for (int i = 0; i < k; i += LK_QK256) {
        size_t at = (size_t)(i / LK_QK256) * bytes;
        for (int r = 0; r < LK_TILE_ROWS; r++) {
            const uint8_t *block = r < rows ? (const uint8_t *)w + (size_t)r * w_stride + at : NULL;
            unpack_block(expand, group, has_min, q, scale, min, block, r);
        }
        q += LK_QK256 * LK_TILE_ROWS;
        scale += LK_QK256 / group * LK_TILE_ROWS;
        if (has_min)
            min += LK_QK256 / group * LK_TILE_ROWS;
    }
}

#define UNPACK(name, group, has_min)                                                               \
    void unpack_##name##_scalar(uint8_t *q, float *scale, float *min, const void *w,               \
                                size_t w_stride, int k, int rows) {                                \
        unpack_all(lk_expand_##name, sizeof(block_##name), group, has_min, q, scale, min, w,       \
                   w_stride, k, rows);                                                             \
    }

UNPACK(q2_K, 16, 1)
UNPACK(q3_K, 16, 0)
UNPACK(q4_K, 32, 1)
UNPACK(q5_K, 32, 1)
UNPACK(q6_K, 16, 0)
