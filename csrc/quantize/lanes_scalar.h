/* One group at a time, in plain C: what the vectors of the other levels mean, lane by lane. */
#ifndef QUANTIZE_LANES_SCALAR_H
#define QUANTIZE_LANES_SCALAR_H

#include <math.h>

#include "../target.h"

#define LANES 1
typedef float vec;
typedef int lane_mask;

LK_INLINE vec v_all(float a) {
    return a;
}
LK_INLINE vec v_load(const float *p) {
    return *p;
}
LK_INLINE void v_store(float *p, vec a) {
    *p = a;
}
LK_INLINE vec v_add(vec a, vec b) {
    return a + b;
}
LK_INLINE vec v_sub(vec a, vec b) {
    return a - b;
}
LK_INLINE vec v_mul(vec a, vec b) {
    return a * b;
}
LK_INLINE vec v_div(vec a, vec b) {
    return a / b;
}
LK_INLINE vec v_min(vec a, vec b) {
    return a < b ? a : b;
}
LK_INLINE vec v_max(vec a, vec b) {
    return a > b ? a : b;
}
LK_INLINE vec v_sqrt(vec a) {
    return sqrtf(a);
}
/* To the nearest whole number, ties to even, for |a| < 2^22. */
LK_INLINE vec v_round(vec a) {
    return a + 0x1.8p23f - 0x1.8p23f;
}
LK_INLINE lane_mask v_greater(vec a, vec b) {
    return a > b;
}
LK_INLINE vec v_select(lane_mask m, vec a, vec b) {
    return m ? a : b;
}

#endif
