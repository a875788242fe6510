/* dot_b256_neon.h on Armv8.0: SMULL and SMLAL into int16 (2 * 32 * 127 < 2^15), SADALP to int32. */
#include "../kernels.h"

#if LK_ARM
#include "../k_quants_neon.h"

#define LEVEL(name) name##_neon

LK_INLINE int32x4_t dot16(int32x4_t acc, int8x16_t w, int8x16_t a) {
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(a));
    return vpadalq_s16(acc, vmlal_high_s8(low, w, a));
}

#include "dot_b256_neon.h"
#endif
