/*
 * probe_int8: SDOT, 16 products an instruction, up to 4 a cycle with a latency of 3 or 4: 16 sums
 * keep it busy.
 */
#include "probe.h"

#if LK_ARM
#include "../neon.h"

LK_BEGIN_NEON_DOT

#define SUMS 16

int64_t probe_int8_neon_dot(const uint8_t *a, const int8_t *w, int64_t rounds, uint32_t *sum) {
    const int8x16_t a_s8x16[2] = {vld1q_s8((const int8_t *)a), vld1q_s8((const int8_t *)a + 16)};
    const int8x16_t w_s8x16[2] = {vld1q_s8(w), vld1q_s8(w + 16)};
    int32x4_t sum_s32x4[SUMS];
    LK_UNROLL
    for (int i = 0; i < SUMS; i++) {
        sum_s32x4[i] = vdupq_n_s32(0);
        PROBE_OPAQUE(sum_s32x4[i]);
    }
    for (int64_t r = 0; r < rounds; r++) {
        LK_UNROLL
        for (int i = 0; i < SUMS; i++)
            sum_s32x4[i] = neon_sdot(sum_s32x4[i], w_s8x16[i % 2], a_s8x16[i % 2]);
    }
    LK_UNROLL
    for (int i = 1; i < SUMS; i++)
        sum_s32x4[0] = vaddq_s32(sum_s32x4[0], sum_s32x4[i]);
    *sum = (uint32_t)vaddvq_s32(sum_s32x4[0]);
    return 16 * SUMS;
}

LK_END
#endif
