/* quantize_TYPE, sixteen groups side by side; what it computes: quantize_scalar.c, groups.h. */
#include <math.h>

#include "../half.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512
#include "lanes_avx512.h"

#define NAME(type) quantize_##type##_avx512
#include "quantize.inc"
LK_END
#endif
