/*
 * unpack_q4_0 q4_1 q5_0 q5_1 q8_0, the specification: 16 rows into the tile of kernels.h,
 *     q[i / 4][row][i % 4], scale[b][row] = d, min[b][row] = -m (Q4_1 and Q5_1 only).
 * Rows that are missing are not read and become zero.
 */
#include <string.h>

#include "b32.h"

LK_INLINE void unpack_rows(b32_type type, uint8_t *q, float *scale, float *min, const uint8_t *w,
                           size_t w_stride, int k, int rows) {
    for (int b = 0; b < k / LK_QK32; b++)
        for (int r = 0; r < LK_TILE_ROWS; r++) {
            b32_values v;
            if (r < rows)
                b32_decode(&v, type, w + r * w_stride + b * b32_bytes(type));
            else
                memset(&v, 0, sizeof v);
            for (int j = 0; j < LK_QK32; j += 4)
                memcpy(q + (LK_QK32 * b + j) * LK_TILE_ROWS + 4 * r, v.q + j, 4);
            scale[LK_TILE_ROWS * b + r] = v.d;
            if (b32_has_min(type))
                min[LK_TILE_ROWS * b + r] = r < rows ? -v.m : 0.0f;
        }
}

#define UNPACK(type)                                                                               \
    void unpack_##type##_scalar(uint8_t *q, float *scale, float *min, const void *w,               \
                                size_t w_stride, int k, int rows) {                                \
        unpack_rows(B32_##type, q, scale, min, w, w_stride, k, rows);                              \
    }
B32_TYPES(UNPACK)
