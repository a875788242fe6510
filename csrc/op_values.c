/* Arithmetic on values in place: embeddings and logits, before and after the blocks. */
#include "kernels.h"

int lk_scale(float *x, int64_t n, float scale) {
    for (int64_t i = 0; i < n; i++)
        x[i] *= scale;
    return LK_OK;
}

int lk_add(float *x, const float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        x[i] += y[i];
    return LK_OK;
}

int lk_softcap(float *x, int64_t n, float cap) {
    const int step = 1 << 20; /* kernels count in int */
    if (!(cap > 0))
        return LK_ERR_ARGUMENT;
    for (; n > 0; n -= step, x += step)
        LK_CALL(lk_softcap_fn, softcap)(x, n < step ? (int)n : step, cap);
    return LK_OK;
}
