/* Embedding look-up: chosen rows of a matrix as float32. */
#include "op_rows.h"

#include "kernels.h"
#include "pool.h"

int lk_row_slot(int type) {
    switch (type) {
    case LK_F32:
        return LK_SLOT_row_f32;
    case LK_F16:
        return LK_SLOT_row_f16;
    case LK_BF16:
        return LK_SLOT_row_bf16;
    case LK_Q4_0:
        return LK_SLOT_row_q4_0;
    case LK_Q4_1:
        return LK_SLOT_row_q4_1;
    case LK_Q5_0:
        return LK_SLOT_row_q5_0;
    case LK_Q5_1:
        return LK_SLOT_row_q5_1;
    case LK_Q8_0:
        return LK_SLOT_row_q8_0;
    case LK_Q2_K:
        return LK_SLOT_row_q2_K;
    case LK_Q3_K:
        return LK_SLOT_row_q3_K;
    case LK_Q4_K:
        return LK_SLOT_row_q4_K;
    case LK_Q5_K:
        return LK_SLOT_row_q5_K;
    case LK_Q6_K:
        return LK_SLOT_row_q6_K;
    case LK_IQ4_NL:
        return LK_SLOT_row_iq4_nl;
    case LK_IQ4_XS:
        return LK_SLOT_row_iq4_xs;
    case LK_TQ1_0:
        return LK_SLOT_row_tq1_0;
    case LK_TQ2_0:
        return LK_SLOT_row_tq2_0;
    case LK_IQ3_XXS:
        return LK_SLOT_row_iq3_xxs;
    case LK_IQ3_S:
        return LK_SLOT_row_iq3_s;
    case LK_IQ2_XXS:
        return LK_SLOT_row_iq2_xxs;
    case LK_IQ2_XS:
        return LK_SLOT_row_iq2_xs;
    case LK_IQ2_S:
        return LK_SLOT_row_iq2_s;
    case LK_IQ1_S:
        return LK_SLOT_row_iq1_s;
    case LK_IQ1_M:
        return LK_SLOT_row_iq1_m;
    case LK_MXFP4:
        return LK_SLOT_row_mxfp4;
    default:
        return -1;
    }
}

typedef struct {
    const lk_matrix *w;
    const int32_t *ids;
    float *y;
    int k, n_ids;
} run_state;

static void look_up(void *arg, int thread, int n_threads) {
    (void)thread;
    (void)n_threads;
    const run_state *s = arg;
    lk_row_fn row = (lk_row_fn)lk_kernel(lk_row_slot(s->w->type));
    for (int i = 0; i < s->n_ids; i++)
        row(s->y + (ptrdiff_t)i * s->k, (const char *)s->w->data + s->ids[i] * s->w->row_bytes,
            s->k);
}

int lk_rows(const lk_matrix *w, int k, const int32_t *ids, int n_ids, float *y) {
    int32_t block, block_bytes;
    if (lk_type_block(w->type, &block, &block_bytes))
        return LK_ERR_UNSUPPORTED;
    if (k < 1 || k % block || w->row_bytes != (int64_t)k / block * block_bytes)
        return LK_ERR_ARGUMENT;
    for (int i = 0; i < n_ids; i++)
        if (ids[i] < 0 || ids[i] >= w->n_rows)
            return LK_ERR_ARGUMENT;
    run_state s = {w, ids, y, k, n_ids};
    /* A few rows are no work to share; the pool is here for its guard against vanishing pages. */
    return lk_pool_run((const lk_phase[]){look_up}, 1, &s, 1);
}
