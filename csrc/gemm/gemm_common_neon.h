/* What the levels of the NEON gemm build their sums from; gemm_neon.h is the rest of it. */
#ifndef LK_GEMM_NEON_COMMON_H
#define LK_GEMM_NEON_COMMON_H

#include "../kernels.h"
#include "../neon.h"

#define G_ROWS 2 /* vectors of four rows */
#define G_COLS 4

/* Where the groups of the next 32 elements of 8 rows begin. */
typedef struct {
    const int8_t *q;
    const int32_t *start;
    const float *scale, *min;
} g_place;

/* The codes of four rows, vector v, at dword i of the step. */
LK_INLINE int8x16_t g_load_q(const g_place *at, int i, int v) {
    return vld1q_s8(at->q + 4 * LK_TILE_ROWS * i + 16 * v);
}

/* Sixteen activations of a column, the 128 taken off. */
LK_INLINE int8x16_t g_load_a(const uint8_t *a) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a), vdupq_n_u8(0x80)));
}

#endif
