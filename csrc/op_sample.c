/* What sampling asks of a row of logits. */
#include <math.h>

#include "kernels.h"

#define CHUNK 4096 /* what is scanned again for the place of a maximum */

int lk_argmax(const float *x, int n, int32_t *index) {
    if (n < 1)
        return LK_ERR_ARGUMENT;
    lk_max_fn max = LK_CALL(lk_max_fn, max);
    float best = -INFINITY;
    int at = 0;
    for (int i = 0; i < n; i += CHUNK) {
        float m = max(x + i, n - i < CHUNK ? n - i : CHUNK);
        if (isnan(m))
            return LK_ERR_ARGUMENT;
        if (m > best) {
            best = m;
            at = i;
        }
    }
    while (x[at] != best)
        at++;
    *index = at;
    return LK_OK;
}

/* The heap holds the best so far, worst on top: smaller value, then higher index. */
static int worse(float xa, int32_t ia, float xb, int32_t ib) {
    return xa < xb || (xa == xb && ia > ib);
}

static void sift_down(float *values, int32_t *indices, int at, int n, float x, int32_t index) {
    for (;;) {
        int child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n &&
            worse(values[child + 1], indices[child + 1], values[child], indices[child]))
            child++;
        if (!worse(values[child], indices[child], x, index))
            break;
        values[at] = values[child];
        indices[at] = indices[child];
        at = child;
    }
    values[at] = x;
    indices[at] = index;
}

int lk_top_k(const float *x, int n, int k, int32_t *indices, float *values) {
    if (n < 1 || k < 1 || k > n || isnan(LK_CALL(lk_max_fn, max)(x, n)))
        return LK_ERR_ARGUMENT;
    for (int i = 0; i < k; i++) {
        values[i] = x[i];
        indices[i] = i;
    }
    for (int i = k / 2; i-- > 0;)
        sift_down(values, indices, i, k, values[i], indices[i]);
    for (int i = k; i < n; i++)
        if (x[i] > values[0])
            sift_down(values, indices, 0, k, x[i], i);
    for (int end = k; end-- > 1;) { /* heap sort: the worst goes last */
        float x0 = values[0];
        int32_t i0 = indices[0];
        sift_down(values, indices, 0, end, values[end], indices[end]);
        values[end] = x0;
        indices[end] = i0;
    }
    return LK_OK;
}

int lk_log_sum_exp(const float *x, int n, double *result) {
    if (n < 1)
        return LK_ERR_ARGUMENT;
    float max = LK_CALL(lk_max_fn, max)(x, n);
    if (isnan(max) || isinf(max))
        return LK_ERR_ARGUMENT;
    *result = max + log(LK_CALL(lk_sum_exp_fn, sum_exp)(x, n, max));
    return LK_OK;
}
