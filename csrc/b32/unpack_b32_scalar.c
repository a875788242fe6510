/*
 * unpack_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4, the specification: 16 rows into the tile of
 * kernels.h, q[i / 4][row][i % 4], scale[b][row] = d, min[b][row] = -m (Q4_1 and Q5_1 only). Rows
 * that are missing are row 0 again.
 */
#include "b32.h"
#include "tile.h"

LK_INLINE void unpack_block(b32_type type, const lk_tile *t, const uint8_t *w) {
    b32_values v;
    int32_t sum = 0;
    b32_decode(&v, type, w);
    for (int j = 0; j < LK_QK32; j++) {
        const int q = v.q[j] - b32_zero(type);
        t->q[j / 4 * 4 * LK_TILE_ROWS + j % 4] = (int8_t)q;
        sum += q;
    }
    *t->start = -128 * sum;
    *t->scale = v.d;
    if (b32_has_min(type))
        *t->min = -v.m;
}

LK_INLINE void unpack_rows(b32_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride,
                           int k, int n_rows) {
    const lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, k / LK_QK32 * b32_bytes(type));
    for (int b = 0; b < k / LK_QK32; b++) {
        const lk_tile step = lk_tile_from(tile, LK_QK32 * b, LK_QK32);
        for (int r = 0; r < LK_TILE_ROWS; r++) {
            const lk_tile t = lk_tile_rows(&step, r);
            unpack_block(type, &t, rows.row[r] + b * b32_bytes(type));
        }
    }
}

#define UNPACK(type)                                                                               \
    void unpack_##type##_scalar(const lk_tile *tile, const void *w, size_t w_stride, int k,        \
                                int rows) {                                                        \
        unpack_rows(B32_##type, tile, w, w_stride, k, rows);                                       \
    }
B32_TYPES(UNPACK)
