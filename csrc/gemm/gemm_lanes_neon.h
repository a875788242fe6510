/*
 * g_sums for gemm_neon.h from products by element, included by a file that has defined
 *     DOT_LANE(acc, w, a, lane)   acc[r] + the four products of row r's bytes of w with the four
 *                                 bytes of a in that 32-bit lane (a constant)
 */
LK_INLINE void g_sums(int32x4_t sum[G_ROWS][G_COLS], const g_place *at, int g,
                      const lk_panel_block *p, int column, const int first, const int n) {
    (void)g;
    LK_UNROLL
    for (int c = 0; c < G_COLS; c++)
        sum[0][c] = sum[1][c] = vdupq_n_s32(0);
    LK_UNROLL
    for (int e = first; e < first + n; e += 16) {
        int8x16_t a_s8x16[G_COLS];
        LK_UNROLL
        for (int c = 0; c < G_COLS; c++)
            a_s8x16[c] = g_load_a(p->q[column + c] + e);
#define QUAD(lane)                                                                                 \
    LK_UNROLL                                                                                      \
    for (int v = 0; v < G_ROWS; v++) {                                                             \
        const int8x16_t w = g_load_q(at, e / 4 + (lane), v);                                       \
        LK_UNROLL                                                                                  \
        for (int c = 0; c < G_COLS; c++)                                                           \
            sum[v][c] = DOT_LANE(sum[v][c], w, a_s8x16[c], lane);                                  \
    }
        QUAD(0)
        QUAD(1)
        QUAD(2)
        QUAD(3)
#undef QUAD
    }
}
