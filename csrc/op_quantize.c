/* Rows of any type that can be read, as rows of another: decoded to floats, looked at, encoded. */
#include <stdatomic.h>
#include <string.h>

#include "half.h"
#include "kernels.h"
#include "op_rows.h"
#include "pool.h"
#include "scratch.h"

#define PIECE_ELEMENTS 16384 /* that a thread takes at once, in whole rows */

typedef struct {
    const lk_matrix *src;
    const float *importance;
    uint8_t *dst;
    float *rows; /* one of k floats for each thread */
    lk_split split;
    _Atomic(int64_t) bad; /* the first element that cannot be stored */
    size_t row_stride, dst_row_bytes;
    float limit;
    int k, row_slot, slot, type;
} run_state;

static int quantize_slot(int type) {
    switch (type) {
    case LK_Q4_0:
        return LK_SLOT_quantize_q4_0;
    case LK_Q4_1:
        return LK_SLOT_quantize_q4_1;
    case LK_Q5_0:
        return LK_SLOT_quantize_q5_0;
    case LK_Q5_1:
        return LK_SLOT_quantize_q5_1;
    case LK_Q8_0:
        return LK_SLOT_quantize_q8_0;
    case LK_Q2_K:
        return LK_SLOT_quantize_q2_K;
    case LK_Q3_K:
        return LK_SLOT_quantize_q3_K;
    case LK_Q4_K:
        return LK_SLOT_quantize_q4_K;
    case LK_Q5_K:
        return LK_SLOT_quantize_q5_K;
    case LK_Q6_K:
        return LK_SLOT_quantize_q6_K;
    case LK_IQ4_NL:
        return LK_SLOT_quantize_iq4_nl;
    case LK_IQ4_XS:
        return LK_SLOT_quantize_iq4_xs;
    case LK_IQ3_XXS:
        return LK_SLOT_quantize_iq3_xxs;
    case LK_IQ3_S:
        return LK_SLOT_quantize_iq3_s;
    case LK_IQ2_XXS:
        return LK_SLOT_quantize_iq2_xxs;
    case LK_IQ2_XS:
        return LK_SLOT_quantize_iq2_xs;
    case LK_IQ2_S:
        return LK_SLOT_quantize_iq2_s;
    case LK_IQ1_S:
        return LK_SLOT_quantize_iq1_s;
    case LK_IQ1_M:
        return LK_SLOT_quantize_iq1_m;
    case LK_MXFP4:
        return LK_SLOT_quantize_mxfp4;
    case LK_TQ1_0:
        return LK_SLOT_quantize_tq1_0;
    case LK_TQ2_0:
        return LK_SLOT_quantize_tq2_0;
    default:
        return -1;
    }
}

/* The largest size of a value: all other types have half floats for scales. */
static float limit_of(int type) {
    return type == LK_F32 ? 0x1.fffffep127f : type == LK_BF16 ? 0x1.fep127f : 65504.0f;
}

static uint16_t to_bf16(float x) { /* to nearest, ties to even */
    const uint32_t bits = lk_f32_to_bits(x);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static int64_t first_bad(const float *x, int k, float limit) {
    int n_bad = 0;
    for (int i = 0; i < k; i++)
        n_bad += !(__builtin_fabsf(x[i]) <= limit); /* NaN as well */
    for (int i = 0; n_bad && i < k; i++)
        if (!(__builtin_fabsf(x[i]) <= limit))
            return i;
    return -1;
}

static void encode(const run_state *s, void *dst, const float *row) {
    uint8_t *out = dst;
    if (s->slot >= 0)
        ((lk_quantize_fn)lk_kernel(s->slot))(dst, row, s->importance, s->k);
    else if (s->type == LK_F32)
        memcpy(dst, row, (size_t)s->k * sizeof *row);
    else
        for (int i = 0; i < s->k; i++) {
            const uint16_t h = s->type == LK_F16 ? lk_f32_to_f16(row[i]) : to_bf16(row[i]);
            memcpy(out + 2 * (size_t)i, &h, 2);
        }
}

static void note_bad(run_state *s, int64_t index) {
    int64_t least = atomic_load(&s->bad);
    while ((least < 0 || index < least) && !atomic_compare_exchange_weak(&s->bad, &least, index))
        ;
}

static void quantize_rows(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    const lk_row_fn decode = (lk_row_fn)lk_kernel(s->row_slot);
    float *row = (float *)((char *)s->rows + (size_t)thread * s->row_stride);
    int64_t begin, end;
    while (lk_split_take(&s->split, thread, &begin, &end))
        for (int64_t r = begin; r < end; r++) {
            decode(row, (const char *)s->src->data + r * s->src->row_bytes, s->k);
            const int64_t bad = first_bad(row, s->k, s->limit);
            if (bad >= 0)
                note_bad(s, r * s->k + bad);
            else
                encode(s, s->dst + (size_t)r * s->dst_row_bytes, row);
        }
}

size_t lk_quantize_scratch(int k, int n_threads) {
    size_t at = 0;
    for (int i = 0; i < n_threads; i++)
        lk_reserve(&at, (size_t)k * sizeof(float));
    return at;
}

int lk_quantize_rows(const lk_matrix *src, int k, int type, const float *importance, void *dst,
                     const lk_work *work, int64_t *bad) {
    int32_t block, bytes, dst_block, dst_bytes;
    size_t stride = 0;
    if (lk_type_block(src->type, &block, &bytes) || lk_type_block(type, &dst_block, &dst_bytes))
        return LK_ERR_UNSUPPORTED;
    const int is_float = type == LK_F32 || type == LK_F16 || type == LK_BF16;
    if (!is_float && quantize_slot(type) < 0)
        return LK_ERR_UNSUPPORTED;
    if (k < 1 || k % block || k % dst_block || src->n_rows < 1 || work->n_threads < 1 ||
        work->n_threads > LK_MAX_THREADS || src->row_bytes != (int64_t)k / block * bytes)
        return LK_ERR_ARGUMENT;
    if (work->scratch_bytes < lk_quantize_scratch(k, work->n_threads))
        return LK_ERR_MEMORY;
    lk_reserve(&stride, (size_t)k * sizeof(float));
    run_state s = {
        .src = src,
        .importance = importance,
        .dst = dst,
        .rows = work->scratch,
        .bad = -1,
        .row_stride = stride,
        .dst_row_bytes = (size_t)(k / dst_block) * (size_t)dst_bytes,
        .limit = limit_of(type),
        .k = k,
        .row_slot = lk_row_slot(src->type),
        .slot = quantize_slot(type),
        .type = type,
    };
    const int64_t piece = k < PIECE_ELEMENTS ? PIECE_ELEMENTS / k : 1;
    lk_split_init(&s.split, src->n_rows, piece, work->n_threads);
    const int status = lk_pool_run((const lk_phase[]){quantize_rows}, 1, &s, work->n_threads);
    *bad = atomic_load(&s.bad);
    return status;
}
