/* A norm of any kind, or none. */
#ifndef LK_NORM_H
#define LK_NORM_H

#include <string.h>

#include "kernels.h"

LK_INLINE int lk_norm_is_valid(const lk_norm *norm) {
    return norm->kind == LK_NORM_NONE ||
           (norm->weight && (norm->kind == LK_NORM_RMS || norm->kind == LK_NORM_LAYER));
}

/* y = norm(x), n values; y may be x. */
LK_INLINE void lk_normalise(const lk_norm *norm, float *y, const float *x, int n) {
    if (norm->kind == LK_NORM_RMS)
        LK_CALL(lk_rmsnorm_fn, rmsnorm)(y, x, norm->weight, n, norm->eps);
    else if (norm->kind == LK_NORM_LAYER)
        LK_CALL(lk_layernorm_fn, layernorm)(y, x, norm->weight, norm->bias, n, norm->eps);
    else if (y != x)
        memcpy(y, x, (size_t)n * sizeof(float));
}

#endif
