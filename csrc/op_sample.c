/* What sampling asks of a row of logits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define CHUNK 4096   /* what is scanned again for the place of a maximum */
#define HEAP_MAX 512 /* up to here a heap is faster than sorting all */
#define RADIX_BITS 11

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
static int worse(double xa, int32_t ia, double xb, int32_t ib) {
    return xa < xb || (xa == xb && ia > ib);
}

static void sift_down(double *values, int32_t *indices, int at, int n, double x, int32_t index) {
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

static void heap_select(const float *x, int n, int k, int32_t *indices, double *values) {
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
        double x0 = values[0];
        int32_t i0 = indices[0];
        sift_down(values, indices, 0, end, values[end], indices[end]);
        values[end] = x0;
        indices[end] = i0;
    }
}

/* An unsigned number that grows as x falls; -0 counts as 0. */
static uint32_t descending(float x) {
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

/* Radix sort, stable, so that equal values keep the order of their indices. */
static int radix_select(const float *x, int n, int k, int32_t *indices, double *values) {
    uint64_t *memory = malloc(2 * (size_t)n * sizeof *memory);
    if (!memory)
        return LK_ERR_MEMORY;
    uint64_t *from = memory, *to = memory + n;
    for (int i = 0; i < n; i++)
        from[i] = (uint64_t)descending(x[i]) << 32 | (uint32_t)i;
    for (int shift = 32; shift < 64; shift += RADIX_BITS) {
        uint32_t at[1 << RADIX_BITS] = {0}, sum = 0;
        const uint64_t mask = (1 << RADIX_BITS) - 1;
        for (int i = 0; i < n; i++)
            at[from[i] >> shift & mask]++;
        for (int digit = 0; digit <= (int)mask; digit++) {
            uint32_t count = at[digit];
            at[digit] = sum;
            sum += count;
        }
        for (int i = 0; i < n; i++)
            to[at[from[i] >> shift & mask]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    for (int i = 0; i < k; i++) {
        indices[i] = (int32_t)(uint32_t)from[i];
        values[i] = x[indices[i]];
    }
    free(memory);
    return LK_OK;
}

int lk_top_k(const float *x, int n, int k, int32_t *indices, double *values) {
    if (n < 1 || k < 1 || k > n || isnan(LK_CALL(lk_max_fn, max)(x, n)))
        return LK_ERR_ARGUMENT;
    if (k > HEAP_MAX)
        return radix_select(x, n, k, indices, values);
    heap_select(x, n, k, indices, values);
    return LK_OK;
}

int lk_cumulate(const double *logits, int n, const double *shift, double t, double *mass) {
    if (n < 1 || !(t > 0))
        return LK_ERR_ARGUMENT;
    double from = shift ? *shift : logits[0], sum = 0;
    for (int i = 1; !shift && i < n; i++)
        from = logits[i] > from ? logits[i] : from;
    for (int i = 0; i < n; i++) {
        sum += exp((logits[i] - from) / t);
        mass[i] = sum;
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
