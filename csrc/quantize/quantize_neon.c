/* quantize_TYPE, four groups side by side; what it computes: quantize_scalar.c, groups.h. */
#include <math.h>

#include "../half.h"
#include "../kernels.h"

#if LK_ARM
#include "lanes_neon.h"

#define NAME(type) quantize_##type##_neon
#include "quantize.inc"
#endif
