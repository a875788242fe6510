/* gemm_neon.h on Armv8.0: SMULL, pairs added in int16 (2 * 128 * 127 < 2^15), SADALP to int32. */
#include "../kernels.h"

#if LK_ARM
#include "gemm_common_neon.h"

#define LEVEL(name) name##_neon
#define DOT_LANE(acc, w, a, lane)                                                                  \
    dot_rows(acc, w, vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(a), lane)))

LK_INLINE int32x4_t dot_rows(int32x4_t acc, int8x16_t w, int8x16_t a) {
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(a));
    return vpadalq_s16(acc, vpaddq_s16(low, vmull_high_s8(w, a)));
}

#include "gemm_lanes_neon.h"

#include "gemm_neon.h"
#endif
