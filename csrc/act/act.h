/*
 * act_q8 and panel_q8 at every level: the same groups of 32, written to records or to a panel.
 * A level's file defines
 *     act_group32 act_quantise(const float *x, int8_t lo[16], int8_t hi[16], int flip)
 * which stores 32 codes, each XOR flip, and returns their scale and sums, and calls ACT_KERNELS.
 */
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

typedef struct {
    float d;
    int32_t lo, hi; /* sums of 16 codes */
} act_group32;

#define ACT_KERNELS(level)                                                                         \
    void act_q8_##level(lk_act_block *act, const float *x, int k, int order) {                     \
        if (k % 256) /* zeros where the last record has no group */                                \
            memset(&act[k / 256], 0, sizeof *act);                                                 \
        for (int b = 0; b < k / ACT_QK; b++, x += ACT_QK) {                                        \
            lk_act_block *to = &act[b / 8];                                                        \
            const int g = b % 8;                                                                   \
            const act_group32 v = act_quantise(x, to->q + lk_act_place(order, ACT_QK * g),         \
                                               to->q + lk_act_place(order, ACT_QK * g + 16), 0);   \
            to->d[g] = v.d;                                                                        \
            to->s32[g] = v.d * (float)(v.lo + v.hi);                                               \
            to->s16[2 * g] = v.d * (float)v.lo;                                                    \
            to->s16[2 * g + 1] = v.d * (float)v.hi;                                                \
        }                                                                                          \
    }                                                                                              \
    void panel_q8_##level(lk_panel_block *panel, int column, const float *x, int k) {              \
        for (int b = 0; b < k / ACT_QK; b++, x += ACT_QK) {                                        \
            lk_panel_block *to = &panel[b];                                                        \
            int8_t *q = (int8_t *)to->q[column];                                                   \
            const act_group32 v = act_quantise(x, q, q + 16, 0x80);                                \
            to->d[column] = v.d;                                                                   \
            to->s32[column] = v.d * (float)(v.lo + v.hi);                                          \
            to->s16[0][column] = v.d * (float)v.lo;                                                \
            to->s16[1][column] = v.d * (float)v.hi;                                                \
        }                                                                                          \
    }

#endif
