/* dot_b256_neon.h with SDOT. */
#include "../kernels.h"

#if LK_ARM
#include "../k_quants_neon.h"

#define LEVEL(name) name##_neon_dot

LK_BEGIN_NEON_DOT

LK_INLINE int32x4_t dot16(int32x4_t acc, int8x16_t w, int8x16_t a) {
    return neon_sdot(acc, w, a);
}

#include "dot_b256_neon.h"

LK_END
#endif
