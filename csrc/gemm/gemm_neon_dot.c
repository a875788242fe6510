/* gemm_neon.h with SDOT by element. */
#include "../kernels.h"

#if LK_ARM
#include "gemm_common_neon.h"

#define LEVEL(name) name##_neon_dot
#define DOT_LANE(acc, w, a, lane) neon_sdot_lane(acc, w, a, lane)

LK_BEGIN_NEON_DOT

#include "gemm_lanes_neon.h"

#include "gemm_neon.h"

LK_END
#endif
