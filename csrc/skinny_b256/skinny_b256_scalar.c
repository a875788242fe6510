/* skinny_q2_K .. q6_K, the specification: skinny.h has it. */
#include "../skinny.h"

SKINNY(q2_K, LK_QK256, gemm_g16_min, 1)
SKINNY(q3_K, LK_QK256, gemm_g16, 0)
SKINNY(q4_K, LK_QK256, gemm_g32_min, 1)
SKINNY(q5_K, LK_QK256, gemm_g32_min, 1)
SKINNY(q6_K, LK_QK256, gemm_g16, 0)
SKINNY(iq4_xs, LK_QK256, gemm_g32, 0)
