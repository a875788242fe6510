/* What the levels of act_q8 share: the scale of a group, and where its values go. */
#ifndef LK_ACT_H
#define LK_ACT_H

#include <float.h>
#include <string.h>

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

/* The record of group b, where its first 16 q begin in it, and the distance to the other 16. */
typedef struct {
    lk_act_block *record;
    int8_t *lo, *hi;
} act_place;

LK_INLINE act_place act_place_of(lk_act_block *act, int b, int order) {
    lk_act_block *record = &act[b / 8];
    int8_t *q = record->q;
    const int first = b % 8 * ACT_QK;
    return (act_place){record, q + lk_act_place(order, first), q + lk_act_place(order, first + 16)};
}

LK_INLINE void act_put_scales(lk_act_block *record, int b, float d, int32_t lo, int32_t hi) {
    record->d[b % 8] = d;
    record->s32[b % 8] = d * (float)(lo + hi);
    record->s16[b % 8 * 2] = d * (float)lo;
    record->s16[b % 8 * 2 + 1] = d * (float)hi;
}

/* Zeros to where the last record has no group. */
LK_INLINE void act_clear_tail(lk_act_block *act, int k) {
    if (k % 256)
        memset(&act[k / 256], 0, sizeof *act);
}

#endif
