/*
 * K-quant rows to the tile of kernels.h: q[i / 4][r][i % 4], scale[i / G][r], min[i / G][r], 16
 * rows wide. Blocks: blocks.h, expanded by k_quants.h. Rows that are missing are row 0 again.
 */
#include "../k_quants.h"
#include "tile.h"

typedef struct {
    lk_k_expand_fn expand;
    size_t bytes; /* of a super-block */
    int group, zero, has_min;
} k_type;

LK_INLINE void unpack_block(k_type type, const lk_tile *t, const uint8_t *w) {
    uint8_t q[LK_QK256];
    float scale[16], min[16];
    type.expand(q, scale, min, w);
    for (int g = 0; g < LK_QK256 / type.group; g++) {
        int32_t sum = 0;
        for (int e = g * type.group; e < (g + 1) * type.group; e++) {
            const int code = q[e] - type.zero;
            t->q[e / 4 * 4 * LK_TILE_ROWS + e % 4] = (int8_t)code;
            sum += code;
        }
        t->start[g * LK_TILE_ROWS] = -128 * sum;
        t->scale[g * LK_TILE_ROWS] = scale[g];
        if (type.has_min)
            t->min[g * LK_TILE_ROWS] = min[g];
    }
}

LK_INLINE void unpack_rows(k_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride,
                           int k, int n_rows) {
    const lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, k / LK_QK256 * type.bytes);
    for (int i = 0; i < k; i += LK_QK256) {
        const lk_tile step = lk_tile_from(tile, i, type.group);
        for (int r = 0; r < LK_TILE_ROWS; r++) {
            const lk_tile t = lk_tile_rows(&step, r);
            unpack_block(type, &t, rows.row[r] + (size_t)i / LK_QK256 * type.bytes);
        }
    }
}

#define UNPACK(name, group, zero, has_min)                                                         \
    void unpack_##name##_scalar(const lk_tile *tile, const void *w, size_t w_stride, int k,        \
                                int rows) {                                                        \
        const k_type type = {lk_expand_##name, sizeof(block_##name), group, zero, has_min};        \
        unpack_rows(type, tile, w, w_stride, k, rows);                                             \
    }

UNPACK(q2_K, 16, 0, 1)
UNPACK(q3_K, 16, LK_ZERO_Q3_K, 0)
UNPACK(q4_K, 32, 0, 1)
UNPACK(q5_K, 32, 0, 1)
UNPACK(q6_K, 16, LK_ZERO_Q6_K, 0)
UNPACK(iq4_xs, 32, LK_ZERO_IQ4_XS, 0)
