/*
 * gemm_gG[_min]: y[r, c] (+)= sum over groups g of G elements of
 *     scale[g][r] d[c] (sum of q_w q_a - zero * sum of q_a)  -  min[g][r] d[c] * sum of q_a
 * Tile and panel as in kernels.h. The sums over a group are exact: |.| <= 32 * 255 * 127 < 2^20,
 * so each also is exactly a float. Groups are added in order, in float32.
 */
#include "kernels.h"

LK_INLINE int32_t group_dot(const uint8_t *tile_q, const int8_t *a, int r, int n) {
    int32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += tile_q[(i / 4 * LK_TILE_ROWS + r) * 4 + i % 4] * a[i];
    return sum;
}

LK_INLINE float element(const lk_tile *tile, const lk_panel_block *panel, int k, int r, int c,
                        int group, int has_min) {
    float y = 0;
    for (int i = 0; i < k; i += group) {
        const lk_panel_block *block = &panel[i / 32];
        const int32_t *sums = group == 32 ? block->sum : i % 32 ? block->sum_hi : block->sum_lo;
        const uint8_t *q = tile->q + (size_t)i * LK_TILE_ROWS;
        const size_t g = (size_t)(i / group) * LK_TILE_ROWS + (size_t)r;
        const int32_t sum = group_dot(q, block->q[c] + i % 32, r, group) - tile->zero * sums[c];
        y += (float)sum * (tile->scale[g] * block->d[c]);
        if (has_min)
            y -= tile->min[g] * (block->d[c] * (float)sums[c]);
    }
    return y;
}

LK_INLINE void gemm(float *y, ptrdiff_t y_stride, const lk_tile *tile, const lk_panel_block *panel,
                    int k, int rows, int cols, int accumulate, int group, int has_min) {
    for (int c = 0; c < cols; c++) {
        for (int r = 0; r < rows; r++) {
            const float value = element(tile, panel, k, r, c, group, has_min);
            float *out = &y[c * y_stride + r];
            *out = accumulate ? *out + value : value;
        }
    }
}

#define GEMM(name, group, has_min)                                                                 \
    void name##_scalar(float *y, ptrdiff_t y_stride, const lk_tile *tile,                          \
                       const lk_panel_block *panel, int k, int rows, int cols, int accumulate) {   \
        gemm(y, y_stride, tile, panel, k, rows, cols, accumulate, group, has_min);                 \
    }
GEMM(gemm_g32, 32, 0)
GEMM(gemm_g32_min, 32, 1)
GEMM(gemm_g16, 16, 0)
GEMM(gemm_g16_min, 16, 1)
