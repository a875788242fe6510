/*
 * gemm_gG[_min] for NEON, included by a file per level that has defined
 *     LEVEL(name)                      name_<level>
 *     g_sums(sum, at, g, a, column, first, n)
 *         the sums of products, without the 128 of activations, of n elements of group g from the
 *         step's element `first` on: sum[v][c], v the vector of four rows, c the column
 *
 *     y[r, c] (+)= sum over steps  d[c] sum over groups scale[r] (sum q a) - min[r] s[c]
 *
 * 8 rows x 4 columns at a time: 8 integer and 8 float accumulators. |sum| <= 32 * 128 * 255 < 2^21.
 * Panels always have 12 columns and tiles 16 rows; only what was asked for is stored.
 */

/* One step of 32 elements. */
LK_INLINE void g_step(float32x4_t y[G_ROWS][G_COLS], const g_place *at, const lk_panel_block *p,
                      int column, const int groups, const int has_min) {
    float32x4_t scaled_f32x4[G_ROWS][G_COLS];
    LK_UNROLL
    for (int g = 0; g < groups; g++) {
        int32x4_t sum[G_ROWS][G_COLS];
        g_sums(sum, at, g, p, column, 32 / groups * g, 32 / groups);
        LK_UNROLL
        for (int v = 0; v < G_ROWS; v++) {
            const float32x4_t scale_f32x4 = vld1q_f32(at->scale + LK_TILE_ROWS * g + 4 * v);
            LK_UNROLL
            for (int c = 0; c < G_COLS; c++) {
                const float32x4_t value_f32x4 = vcvtq_f32_s32(sum[v][c]);
                scaled_f32x4[v][c] = g == 0
                                         ? vmulq_f32(value_f32x4, scale_f32x4)
                                         : vfmaq_f32(scaled_f32x4[v][c], value_f32x4, scale_f32x4);
            }
        }
    }
    LK_UNROLL
    for (int v = 0; v < G_ROWS; v++) {
        LK_UNROLL
        for (int c = 0; c < G_COLS; c++)
            y[v][c] = vfmaq_n_f32(y[v][c], scaled_f32x4[v][c], p->d[column + c]);
        LK_UNROLL
        for (int g = 0; g < groups; g++) {
            if (!has_min)
                continue;
            const float32x4_t min_f32x4 = vld1q_f32(at->min + LK_TILE_ROWS * g + 4 * v);
            const float *s = groups == 1 ? p->s32 : p->s16[g];
            LK_UNROLL
            for (int c = 0; c < G_COLS; c++)
                y[v][c] = vfmsq_n_f32(y[v][c], min_f32x4, s[column + c]);
        }
    }
}

/* Values of one column for n <= 4 rows. */
LK_INLINE void g_store(float *y, float32x4_t value, int n, int accumulate) {
    if (n >= 4) {
        vst1q_f32(y, accumulate ? vaddq_f32(vld1q_f32(y), value) : value);
        return;
    }
    float lanes[4];
    vst1q_f32(lanes, value);
    for (int r = 0; r < n; r++)
        y[r] = accumulate ? y[r] + lanes[r] : lanes[r];
}

/* Up to 8 rows, 4 columns from `column` on. */
LK_INLINE void g_block(const int groups, const int has_min, float *y, ptrdiff_t y_stride,
                       g_place at, const lk_panel_block *panel, int k, int rows, int column,
                       int cols, int accumulate) {
    float32x4_t y_f32x4[G_ROWS][G_COLS];
    LK_UNROLL
    for (int c = 0; c < G_COLS; c++)
        y_f32x4[0][c] = y_f32x4[1][c] = vdupq_n_f32(0.0f);
    for (int i = 0; i < k; i += 32, panel++) {
        g_step(y_f32x4, &at, panel, column, groups, has_min);
        at.q += 32 * LK_TILE_ROWS;
        at.start += groups * LK_TILE_ROWS;
        at.scale += groups * LK_TILE_ROWS;
        if (has_min)
            at.min += groups * LK_TILE_ROWS;
    }
    LK_UNROLL
    for (int c = 0; c < G_COLS; c++)
        LK_UNROLL
    for (int v = 0; v < G_ROWS; v++)
        if (column + c < cols && 4 * v < rows)
            g_store(y + (column + c) * y_stride + 4 * v, y_f32x4[v][c], rows - 4 * v, accumulate);
}

#define GEMM(name, groups, has_min)                                                                \
    void LEVEL(name)(float *y, ptrdiff_t y_stride, const lk_tile *tiles,                           \
                     const lk_panel_block *panel, int k, int rows, int cols, int accumulate) {     \
        for (int row = 0; row < rows; row += 4 * G_ROWS) {                                         \
            const lk_tile *t = &tiles[row / LK_TILE_ROWS];                                         \
            const int lane = row % LK_TILE_ROWS;                                                   \
            const g_place at = {t->q + 4 * lane, t->start + lane, t->scale + lane,                 \
                                has_min ? t->min + lane : NULL};                                   \
            for (int column = 0; column < cols; column += G_COLS)                                  \
                g_block(groups, has_min, y + row, y_stride, at, panel, k, rows - row, column,      \
                        cols, accumulate);                                                         \
        }                                                                                          \
    }
GEMM(gemm_g32, 1, 0)
GEMM(gemm_g32_min, 1, 1)
GEMM(gemm_g16, 2, 0)
GEMM(gemm_g16_min, 2, 1)
