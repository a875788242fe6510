/*
 * gemm_gG[_min] for NEON, included by a file per level that has defined
 *     LEVEL(name)                        name_<level>
 *     DOT_LANE(acc, w, a, lane)          acc[r] + the four products of row r's bytes of w with the
 *                                        four bytes of a in that 32-bit lane (a constant)
 *
 *     y[r, c] (+)= sum over groups  scale[r] d[c] (sum q a - zero sum a) - min[r] d[c] sum a
 *
 * 8 rows x 4 columns at a time: 8 integer and 8 float accumulators, 2 vectors of weights, 4 of
 * activations. Weights become signed bytes: as they are below 128, less 128 when zero is 128. The
 * zero point enters as the first value of the integer sum; |sum| <= 32 * 255 * 127 < 2^20. Panels
 * always have 12 columns and tiles 16 rows; only what was asked for is stored.
 */
#define G_ROWS 2 /* vectors of four rows */
#define G_COLS 4

typedef struct {
    const uint8_t *q;
    const float *scale, *min;
    int32_t zero;
    uint8_t flip; /* 0x80: q less 128 */
} g_tile;

/* 16 elements of 4 columns from tile q on: integer sums grow. */
LK_INLINE void g_sixteen(int32x4_t sum[G_ROWS][G_COLS], const uint8_t *q, uint8_t flip,
                         const lk_panel_block *p, int column, int start) {
    int8x16_t a_s8x16[G_COLS];
    LK_UNROLL
    for (int c = 0; c < G_COLS; c++)
        a_s8x16[c] = vld1q_s8(p->q[column + c] + start);
#define QUAD(lane)                                                                                 \
    LK_UNROLL                                                                                      \
    for (int r = 0; r < G_ROWS; r++) {                                                             \
        const uint8x16_t code = vld1q_u8(q + (lane) * 4 * LK_TILE_ROWS + 16 * r);                  \
        const int8x16_t w = vreinterpretq_s8_u8(veorq_u8(code, vdupq_n_u8(flip)));                 \
        LK_UNROLL                                                                                  \
        for (int c = 0; c < G_COLS; c++)                                                           \
            sum[r][c] = DOT_LANE(sum[r][c], w, a_s8x16[c], lane);                                  \
    }
    QUAD(0)
    QUAD(1)
    QUAD(2)
    QUAD(3)
#undef QUAD
}

/* One group of G = 16 or 32 elements: sums, then scales and minima into the float values. */
LK_INLINE void g_group(const int group, float32x4_t y[G_ROWS][G_COLS], const g_tile *t,
                       const lk_panel_block *p, const int32_t *sums, int column, int start) {
    int32x4_t sum[G_ROWS][G_COLS];
    LK_UNROLL
    for (int c = 0; c < G_COLS; c++)
        sum[0][c] = sum[1][c] = vdupq_n_s32(-t->zero * sums[column + c]);
    g_sixteen(sum, t->q, t->flip, p, column, start);
    if (group == 32)
        g_sixteen(sum, t->q + 16 * LK_TILE_ROWS, t->flip, p, column, start + 16);
    LK_UNROLL
    for (int r = 0; r < G_ROWS; r++) {
        const float32x4_t scale_f32x4 = vld1q_f32(t->scale + 4 * r);
        LK_UNROLL
        for (int c = 0; c < G_COLS; c++) {
            const float32x4_t both = vmulq_n_f32(scale_f32x4, p->d[column + c]);
            y[r][c] = vfmaq_f32(y[r][c], vcvtq_f32_s32(sum[r][c]), both);
        }
        if (!t->min)
            continue;
        const float32x4_t min_f32x4 = vld1q_f32(t->min + 4 * r);
        LK_UNROLL
        for (int c = 0; c < G_COLS; c++)
            y[r][c] = vfmsq_n_f32(y[r][c], min_f32x4, p->d[column + c] * (float)sums[column + c]);
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

/* 8 rows from `row` on, 4 columns from `column` on. */
LK_INLINE void g_block(const int group, const int has_min, float *y, ptrdiff_t y_stride,
                       const lk_tile *tile, const lk_panel_block *panel, int k, int row, int rows,
                       int column, int cols, int accumulate) {
    const int is_q8 = tile->zero == 128;
    g_tile t = {tile->q + 4 * row, tile->scale + row, has_min ? tile->min + row : NULL,
                is_q8 ? 0 : tile->zero, is_q8 ? 0x80 : 0};
    float32x4_t y_f32x4[G_ROWS][G_COLS];
    LK_UNROLL
    for (int c = 0; c < G_COLS; c++)
        y_f32x4[0][c] = y_f32x4[1][c] = vdupq_n_f32(0.0f);
    for (int i = 0; i < k; i += group) {
        const lk_panel_block *p = &panel[i / 32];
        const int32_t *sums = group == 32 ? p->sum : i % 32 ? p->sum_hi : p->sum_lo;
        g_group(group, y_f32x4, &t, p, sums, column, i % 32);
        t.q += group * LK_TILE_ROWS;
        t.scale += LK_TILE_ROWS;
        if (has_min)
            t.min += LK_TILE_ROWS;
    }
    LK_UNROLL
    for (int c = 0; c < G_COLS; c++)
        LK_UNROLL
    for (int r = 0; r < G_ROWS; r++)
        if (column + c < cols && row + 4 * r < rows)
            g_store(y + (column + c) * y_stride + row + 4 * r, y_f32x4[r][c], rows - row - 4 * r,
                    accumulate);
}

#define GEMM(name, group, has_min)                                                                 \
    void LEVEL(name)(float *y, ptrdiff_t y_stride, const lk_tile *tile,                            \
                     const lk_panel_block *panel, int k, int rows, int cols, int accumulate) {     \
        for (int row = 0; row < rows; row += 4 * G_ROWS)                                           \
            for (int column = 0; column < cols; column += G_COLS)                                  \
                g_block(group, has_min, y, y_stride, tile, panel, k, row, rows, column, cols,      \
                        accumulate);                                                               \
    }
GEMM(gemm_g32, 32, 0)
GEMM(gemm_g32_min, 32, 1)
GEMM(gemm_g16, 16, 0)
GEMM(gemm_g16_min, 16, 1)
