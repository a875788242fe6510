/* The starts of a tile's sums, with NEON. */
#ifndef LK_TILE_NEON_H
#define LK_TILE_NEON_H

#include "neon.h"
#include "tile.h"

/* start = -128 * the sum of each group's q: SADDLP and SADALP. */
LK_INLINE void lk_tile_starts(const lk_tile *tile, int k, const int group) {
    for (int r = 0; r < LK_TILE_ROWS; r += 4) {
        const int8_t *q = tile->q + 4 * r;
        int32_t *start = tile->start + r;
        for (int i = 0; i < k; i += group, start += LK_TILE_ROWS) {
            int32x4_t sum_s32x4 = vdupq_n_s32(0);
            for (int j = 0; j < group; j += 4, q += 4 * LK_TILE_ROWS)
                sum_s32x4 = vpadalq_s16(sum_s32x4, vpaddlq_s8(vld1q_s8(q)));
            vst1q_s32(start, vmulq_n_s32(sum_s32x4, -128));
        }
    }
}

#endif
