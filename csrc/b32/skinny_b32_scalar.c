/* skinny_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4, the specification: skinny.h has it. */
#include "../skinny.h"

SKINNY(q4_0, LK_QK32, gemm_g32, 0)
SKINNY(q4_1, LK_QK32, gemm_g32_min, 1)
SKINNY(q5_0, LK_QK32, gemm_g32, 0)
SKINNY(q5_1, LK_QK32, gemm_g32_min, 1)
SKINNY(q8_0, LK_QK32, gemm_g32, 0)
SKINNY(iq4_nl, LK_QK32, gemm_g32, 0)
SKINNY(mxfp4, LK_QK32, gemm_g32, 0)
