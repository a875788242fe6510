/*
 * probe_int8: USMMLA, 32 products an instruction (two rows of 8 with two of 8), up to 4 a cycle
 * with a latency of 3 or 4: 16 sums keep it busy. Both rows of an operand are the same 8 elements.
 */
#include "probe.h"

#if LK_ARM
#include "../neon.h"

LK_BEGIN_NEON_I8MM

#define SUMS 16
#define EIGHTS (LK_PROBE_K / 8)

LK_INLINE int32x4_t usmmla(int32x4_t acc, uint8x16_t a, int8x16_t w) {
#if defined(__clang__) && __clang_major__ < 16 /* see neon_sdot */
    __asm__("usmmla %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(a), "w"(w));
    return acc;
#else
    return vusmmlaq_s32(acc, a, w);
#endif
}

int64_t probe_int8_neon_i8mm(const uint8_t *a, const int8_t *w, int64_t rounds, uint32_t *sum) {
    uint8x16_t a_u8x16[EIGHTS];
    int8x16_t w_s8x16[EIGHTS];
    int32x4_t sum_s32x4[SUMS];
    LK_UNROLL
    for (int i = 0; i < EIGHTS; i++) {
        a_u8x16[i] = vcombine_u8(vld1_u8(a + 8 * i), vld1_u8(a + 8 * i));
        w_s8x16[i] = vcombine_s8(vld1_s8(w + 8 * i), vld1_s8(w + 8 * i));
    }
    LK_UNROLL
    for (int i = 0; i < SUMS; i++) {
        sum_s32x4[i] = vdupq_n_s32(0);
        PROBE_OPAQUE(sum_s32x4[i]);
    }
    for (int64_t r = 0; r < rounds; r++) {
        LK_UNROLL
        for (int i = 0; i < SUMS; i++)
            sum_s32x4[i] = usmmla(sum_s32x4[i], a_u8x16[i % EIGHTS], w_s8x16[i % EIGHTS]);
    }
    LK_UNROLL
    for (int i = 1; i < SUMS; i++)
        sum_s32x4[0] = vaddq_s32(sum_s32x4[0], sum_s32x4[i]);
    *sum = (uint32_t)vaddvq_s32(sum_s32x4[0]);
    return 32 * SUMS;
}

LK_END
#endif
