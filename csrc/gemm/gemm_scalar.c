/*
 * gemm_gG[_min]: y[r, c] (+)= sum over steps of 32 elements of
 *     d[c] * sum over their groups g of scale[g][r] (sum of q_w q_a)  -  min[g][r] s[g][c]
 * Tile and panel as in kernels.h. The sum over a group of q_w (q_a + 128) and its start is that of
 * q_w q_a exactly: |.| <= 32 * 128 * 255 < 2^21. Steps are added in order, in float32.
 */
#include "kernels.h"

LK_INLINE float group_sum(const lk_tile *t, const uint8_t *a, int r, int i, int n, int g) {
    int32_t sum = t->start[g * LK_TILE_ROWS + r];
    for (int j = 0; j < n; j++)
        sum += t->q[((i + j) / 4 * LK_TILE_ROWS + r) * 4 + j % 4] * a[j];
    return (float)sum;
}

LK_INLINE float element(const lk_tile *t, const lk_panel_block *panel, int k, int r, int c,
                        int group, int has_min) {
    float y = 0;
    for (int i = 0; i < k; i += 32, panel++) {
        float scaled = 0, low = 0;
        for (int j = 0; j < 32; j += group) {
            const int g = (i + j) / group, at = g * LK_TILE_ROWS + r;
            scaled += group_sum(t, panel->q[c] + j, r, i + j, group, g) * t->scale[at];
            if (has_min)
                low += t->min[at] * (group == 32 ? panel->s32[c] : panel->s16[j / 16][c]);
        }
        y += scaled * panel->d[c];
        y -= low;
    }
    return y;
}

LK_INLINE void gemm(float *y, ptrdiff_t y_stride, const lk_tile *tiles, const lk_panel_block *panel,
                    int k, int rows, int cols, int accumulate, int group, int has_min) {
    for (int c = 0; c < cols; c++) {
        for (int r = 0; r < rows; r++) {
            const float value =
                element(&tiles[r / LK_TILE_ROWS], panel, k, r % LK_TILE_ROWS, c, group, has_min);
            float *out = &y[c * y_stride + r];
            *out = accumulate ? *out + value : value;
        }
    }
}

#define GEMM(name, group, has_min)                                                                 \
    void name##_scalar(float *y, ptrdiff_t y_stride, const lk_tile *tiles,                         \
                       const lk_panel_block *panel, int k, int rows, int cols, int accumulate) {   \
        gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, group, has_min);                \
    }
GEMM(gemm_g32, 32, 0)
GEMM(gemm_g32_min, 32, 1)
GEMM(gemm_g16, 16, 0)
GEMM(gemm_g16_min, 16, 1)
