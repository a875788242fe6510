/*
 * x += scale * norm(y), or x = norm(x + scale * y): a norm behind a part of a block, and parts that
 * count less than once: by a constant, or by a gate for each token. And norms alone.
 */
#include <math.h>

#include "norm.h"
#include "pool.h"

typedef struct {
    const lk_residual *op;
    float *y, *x;
    const float *gate;
    lk_split tokens;
} run_state;

int lk_residual_check(const lk_residual *op) {
    return op->n < 1 || !lk_norm_is_valid(&op->norm) ? LK_ERR_ARGUMENT : LK_OK;
}

static void add_tokens(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    const int n = s->op->n;
    int64_t begin, end;
    while (lk_split_take(&s->tokens, thread, &begin, &end))
        for (int64_t t = begin; t < end; t++) {
            float *x = s->x + t * n, *y = s->y + t * n;
            const float scale = s->op->scale / (s->gate ? 1 + expf(-s->gate[t]) : 1);
            if (!s->op->sum_norm)
                lk_normalise(&s->op->norm, y, y, n);
            for (int i = 0; i < n; i++)
                x[i] += scale * y[i];
            if (s->op->sum_norm)
                lk_normalise(&s->op->norm, x, x, n);
        }
}

/* Few tokens are done sooner alone. */
static int useful_threads(int n_tokens, const lk_work *work) {
    return n_tokens < 16 ? 1 : work->n_threads;
}

int lk_residual_run(const lk_residual *op, float *y, const float *gate, float *x, int n_tokens,
                    const lk_work *work) {
    if (n_tokens < 1 || work->n_threads < 1 || work->n_threads > LK_MAX_THREADS)
        return LK_ERR_ARGUMENT;
    run_state s; /* its split is large and filled below: no initialiser */
    s.op = op;
    s.y = y;
    s.x = x;
    s.gate = gate;
    const int n_threads = useful_threads(n_tokens, work);
    lk_split_init(&s.tokens, n_tokens, 4, n_threads);
    return lk_pool_run((const lk_phase[]){add_tokens}, 1, &s, n_threads);
}

typedef struct {
    const lk_norm *norm;
    const float *x;
    float *y;
    int n;
    lk_split tokens;
} norm_state;

static void normalise_tokens(void *arg, int thread, int n_threads) {
    (void)n_threads;
    norm_state *s = arg;
    int64_t begin, end;
    while (lk_split_take(&s->tokens, thread, &begin, &end))
        for (int64_t t = begin; t < end; t++)
            lk_normalise(s->norm, s->y + t * s->n, s->x + t * s->n, s->n);
}

int lk_norm_run(const lk_norm *norm, const float *x, float *y, int n, int n_tokens,
                const lk_work *work) {
    if (n < 1 || n_tokens < 1 || !lk_norm_is_valid(norm) || work->n_threads < 1 ||
        work->n_threads > LK_MAX_THREADS)
        return LK_ERR_ARGUMENT;
    norm_state s; /* likewise */
    s.norm = norm;
    s.x = x;
    s.y = y;
    s.n = n;
    const int n_threads = useful_threads(n_tokens, work);
    lk_split_init(&s.tokens, n_tokens, 4, n_threads);
    return lk_pool_run((const lk_phase[]){normalise_tokens}, 1, &s, n_threads);
}
