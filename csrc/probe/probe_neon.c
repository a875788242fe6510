/*
 * probe_read: 16 bytes a load, 64 of a stream in a step, XORed into four registers; the end of the
 * range is copied.
 * probe_int8: SMULL, then SMLAL on its int16 (16 * 127 * 8 < 2^15), then SADALP to int32: as
 * products with weights of 4 bits may do it. 8 such sums go on at once.
 */
#include "probe.h"

#if LK_ARM
#include "../neon.h"

#define STEP 64
#define SUMS 8
#define HALVES 8 /* of operands, that a sum adds in int16 */

LK_INLINE void fold(uint8x16_t bits[4], const uint8_t *p) {
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        bits[i] = veorq_u8(bits[i], vld1q_u8(p + 16 * i));
}

uint64_t probe_read_neon(const void *p, size_t n, int n_streams) {
    const uint8_t *near = p;
    const size_t half = n_streams == 2 ? n / 2 / STEP * STEP : 0;
    const uint8_t *far = near + half;
    uint8x16_t bits[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};
    size_t i = 0;
    for (; i < half; i += STEP) {
        fold(bits, near + i);
        fold(bits, far + i);
    }
    for (i = 2 * half; i + STEP <= n; i += STEP)
        fold(bits, near + i);
    uint8_t rest[STEP] = {0};
    memcpy(rest, near + i, n - i);
    fold(bits, rest);
    const uint64x2_t words =
        vreinterpretq_u64_u8(veorq_u8(veorq_u8(bits[0], bits[1]), veorq_u8(bits[2], bits[3])));
    return vgetq_lane_u64(words, 0) ^ vgetq_lane_u64(words, 1);
}

int64_t probe_int8_neon(const uint8_t *a, const int8_t *w, int64_t rounds, uint32_t *sum) {
    const int8x16_t a_s8x16[2] = {vld1q_s8((const int8_t *)a), vld1q_s8((const int8_t *)a + 16)};
    int8x16_t w_s8x16[2] = {vld1q_s8(w), vld1q_s8(w + 16)};
    int32x4_t sum_s32x4[SUMS];
    LK_UNROLL
    for (int i = 0; i < SUMS; i++)
        sum_s32x4[i] = vdupq_n_s32(0);
    for (int64_t r = 0; r < rounds; r++) {
        int16x8_t part_s16x8[SUMS];
        LK_UNROLL
        for (int h = 0; h < HALVES; h++) {
            LK_UNROLL
            for (int i = 0; i < SUMS; i++) {
                const int8x16_t a_half = a_s8x16[h % 2];
                int8x16_t *w_half = &w_s8x16[h % 2];
                PROBE_OPAQUE(*w_half);
                const int8x8_t w_low = vget_low_s8(*w_half), a_low = vget_low_s8(a_half);
                part_s16x8[i] =
                    h == 0 ? vmull_s8(w_low, a_low) : vmlal_s8(part_s16x8[i], w_low, a_low);
                part_s16x8[i] = vmlal_high_s8(part_s16x8[i], *w_half, a_half);
                PROBE_OPAQUE(part_s16x8[i]);
            }
        }
        LK_UNROLL
        for (int i = 0; i < SUMS; i++)
            sum_s32x4[i] = vpadalq_s16(sum_s32x4[i], part_s16x8[i]);
    }
    LK_UNROLL
    for (int i = 1; i < SUMS; i++)
        sum_s32x4[0] = vaddq_s32(sum_s32x4[0], sum_s32x4[i]);
    *sum = (uint32_t)vaddvq_s32(sum_s32x4[0]);
    return 16 * HALVES * SUMS;
}
#endif
