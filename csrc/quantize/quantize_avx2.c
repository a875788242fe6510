/* quantize_TYPE, eight groups side by side; what it computes: quantize_scalar.c, groups.h. */
#include <math.h>

#include "../half.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2
#include "lanes_avx2.h"

#define NAME(type) quantize_##type##_avx2
#include "quantize.inc"
LK_END
#endif
