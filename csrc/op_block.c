/*
 * The ops of a transformer block in one call. Between two calls from Python the caches hold
 * weights, not the interpreter: a call that takes half a microsecond when repeated takes three
 * there.
 */
#include "lk.h"

static int run_step(const lk_step *step, const lk_batch *batch, const lk_work *work) {
    if (step->kind == LK_STEP_LINEAR)
        return lk_linear_run(step->linear.op, step->linear.x, step->linear.y, batch->n_tokens,
                             work);
    if (step->kind == LK_STEP_ATTENTION)
        return lk_attention_run(step->attention.op, step->attention.q, step->attention.k,
                                step->attention.v, step->attention.out, step->attention.k_cache,
                                step->attention.v_cache, step->attention.angles, batch->pos,
                                batch->seq, batch->n_tokens, work);
    if (step->kind == LK_STEP_RESIDUAL)
        return lk_residual_run(step->residual.op, step->residual.y, step->residual.gate,
                               step->residual.x, batch->n_tokens, work);
    if (step->kind == LK_STEP_EXPERTS)
        return lk_experts_run(step->experts.op, step->experts.logits, step->experts.x,
                              batch->n_tokens, work, NULL);
    return LK_ERR_ARGUMENT;
}

int lk_block_run(const lk_step *steps, int n_steps, const lk_batch *batch, const lk_work *work,
                 int32_t *failed) {
    for (int i = 0; i < n_steps; i++) {
        int status = run_step(&steps[i], batch, work);
        if (status) {
            *failed = i;
            return status;
        }
    }
    return LK_OK;
}
