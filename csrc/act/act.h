/* The scale of a group of activations, the same arithmetic at every level. */
#ifndef LK_ACT_H
#define LK_ACT_H

#include <float.h>

#include "../kernels.h"

#define ACT_QK 32

/*
 * d = max / 127, and in *inverse what x is multiplied by. |x| 127 / max exceeds 127 by two
 * roundings at most, so |q| <= 127. A group whose d would be subnormal counts as zeros: its inverse
 * could overflow, and no sum downstream could tell the difference.
 */
LK_INLINE float act_scale(float max, float *inverse) {
    const float d = max / 127.0f;
    *inverse = d < FLT_MIN ? 0.0f : 127.0f / max;
    return d < FLT_MIN ? 0.0f : d;
}

#endif
