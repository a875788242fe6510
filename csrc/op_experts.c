/*
 * A mixture of experts: every token is given to a few of many feed-forward networks.
 *
 * The pairs of a token and an expert are sorted by expert: an expert with the pairs it is given is
 * a group, whose products are those of op_linear.c for as many tokens, dots or tiles. So a prompt
 * unpacks the weights of an expert once, and experts that nobody chose are not touched.
 * 1. Norms, and the choice, by token; then, on one thread, the groups.
 * 2. For every pair its input is quantised.
 * 3. Pieces of rows of gate and up, over all groups.
 * 4. For every pair what is hidden is quantised.
 * 5. Pieces of rows of down: a thread adds those of all groups, in order, to the residual stream.
 * A single token needs 3 and 5 only: every thread prepares copies of its own.
 */
#include <math.h>
#include <string.h>

#include "op_linear.h"

#define PIECES_PER_THREAD 4 /* of rows of down, so that threads end together */

/* An expert and its pairs. */
typedef struct {
    int32_t first, n;      /* pairs */
    int64_t piece;         /* number of its first piece of gate and up */
    lk_linear up, down;    /* its matrices */
    float *hidden[1];      /* (n, n_ff) */
    size_t up_at, down_at; /* where the copies of its inputs are */
    lk_linear_call up_call, down_call;
} group;

typedef struct {
    size_t ends, tokens, weights, chosen, groups, group_of, normed, hidden; /* offsets */
    size_t copies;     /* of pairs' inputs, behind all those */
    size_t own, total; /* bytes: of a thread, of everything */
} layout;

typedef struct {
    const lk_experts *op;
    const float *logits;
    float *x;
    char *scratch;
    layout at;
    int32_t *ends, *tokens, *chosen, *group_of;
    float *weights, *normed, *hidden;
    group *groups;
    size_t copies; /* bytes of all copies: shared, or of each thread for a single token */
    int n_tokens, n_pairs, n_groups;
    int down_rows; /* of down, in a piece */
    lk_split tokens_left, groups_left, inputs_left, up_left, hidden_left, down_left;
} run_state;

/* ---- preparing ---------------------------------------------------------------------------- */

/* The matrices of an expert, as products: with the norm, if the input is not normalised yet. */
static lk_linear up_of(const lk_experts *op, int expert, int with_norm) {
    lk_linear up = {.w = {op->gate, op->up}, .n_w = 2, .k = op->n_embd, .epilogue = op->epilogue};
    if (with_norm)
        up.norm = op->norm;
    for (int i = 0; i < 2; i++) {
        up.w[i].data = (const char *)up.w[i].data + expert * up.w[i].row_bytes * op->n_ff;
        if (up.w[i].bias)
            up.w[i].bias += (ptrdiff_t)expert * op->n_ff;
    }
    return up;
}

static lk_linear down_of(const lk_experts *op, int expert) {
    lk_linear down = {.w = {op->down}, .n_w = 1, .k = op->n_ff, .epilogue = LK_ADD};
    down.w[0].data = (const char *)op->down.data + expert * op->down.row_bytes * op->n_embd;
    if (op->down.bias)
        down.w[0].bias += (ptrdiff_t)expert * op->n_embd;
    return down;
}

int lk_experts_check(const lk_experts *op) {
    if (op->n_expert < 1 || op->n_expert > LK_MAX_EXPERTS || op->n_used < 1 ||
        op->n_used > op->n_expert || op->gate.n_rows != op->n_ff || op->down.n_rows != op->n_embd ||
        !(op->weights_scale > 0))
        return LK_ERR_ARGUMENT;
    const lk_linear up = up_of(op, 0, 1), down = down_of(op, 0);
    if (!lk_is_gated(&up))
        return LK_ERR_ARGUMENT;
    const int status = lk_linear_check(&up);
    return status ? status : lk_linear_check(&down);
}

static int min_of(int a, int b) {
    return a < b ? a : b;
}

/*
 * The most that the copies of inputs of n_pairs pairs take, however they are shared out and at
 * whatever level: each pair a row, and panels that may all end with missing columns.
 */
static size_t most_copies(const lk_linear *op, int n_pairs, int n_tokens, int n_groups) {
    const size_t row = lk_linear_lay_out(op, 1, n_tokens > 1, 0).copy;
    const size_t panel = lk_linear_lay_out(op, LK_PANEL_COLS, 0, 1).copy;
    const int n_panels = n_tokens > 1 ? n_pairs / LK_PANEL_COLS + n_groups : 0;
    return n_pairs * row + n_panels * panel;
}

static layout lay_out(const lk_experts *op, int n_tokens, int n_threads) {
    const int n_pairs = n_tokens * op->n_used, n_groups = min_of(n_pairs, op->n_expert);
    const lk_linear up = up_of(op, 0, n_tokens == 1), down = down_of(op, 0);
    layout l;
    size_t at = 0;
    l.ends = lk_reserve(&at, op->n_expert * sizeof(int32_t));
    l.tokens = lk_reserve(&at, n_pairs * sizeof(int32_t));
    l.weights = lk_reserve(&at, 2 * sizeof(float) * n_pairs);
    l.chosen = lk_reserve(&at, n_pairs * sizeof(int32_t));
    l.groups = lk_reserve(&at, n_groups * sizeof(group));
    l.group_of = lk_reserve(&at, n_pairs * sizeof(int32_t));
    l.normed = lk_reserve(&at, n_tokens == 1 ? 0 : (size_t)n_tokens * op->n_embd * sizeof(float));
    l.hidden = lk_reserve(&at, (size_t)n_pairs * op->n_ff * sizeof(float));
    l.copies = at;
    const size_t copies = most_copies(&up, n_pairs, n_tokens, n_groups) +
                          most_copies(&down, n_pairs, n_tokens, n_groups);
    const size_t up_own = lk_linear_own_bytes(&up, n_tokens);
    const size_t down_own = lk_linear_own_bytes(&down, n_tokens);
    l.own = up_own > down_own ? up_own : down_own;
    l.total = l.copies + (n_tokens == 1 ? n_threads : 1) * copies + n_threads * l.own;
    return l;
}

size_t lk_experts_scratch(const lk_experts *op, int n_tokens, int n_threads) {
    return lay_out(op, n_tokens, n_threads).total;
}

/* ---- choosing ----------------------------------------------------------------------------- */

/* The n_used largest of a token's logits, sorted, and their weights. */
static void choose(const lk_experts *op, const float *logits, int32_t *chosen, float *weights) {
    int n = 0;
    for (int e = 0; e < op->n_expert; e++) {
        int at = n;
        while (at > 0 && logits[e] > logits[chosen[at - 1]])
            at--;
        if (at == op->n_used)
            continue;
        n = min_of(n + 1, op->n_used);
        memmove(chosen + at + 1, chosen + at, (n - 1 - at) * sizeof(int32_t));
        chosen[at] = e;
    }
    const float highest = logits[chosen[0]];
    double sum = 0;
    for (int i = 0; i < (op->weights_norm ? n : op->n_expert); i++)
        sum += expf(logits[op->weights_norm ? chosen[i] : i] - highest);
    for (int i = 0; i < n; i++)
        weights[i] = (float)(expf(logits[chosen[i]] - highest) / sum * op->weights_scale);
}

static void choose_by_token(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    const lk_experts *op = s->op;
    float *weights = s->weights + s->n_pairs; /* in the order of tokens; behind those by pairs */
    int64_t begin, end;
    while (lk_split_take(&s->tokens_left, thread, &begin, &end))
        for (int64_t t = begin; t < end; t++) {
            choose(op, s->logits + t * op->n_expert, s->chosen + t * op->n_used,
                   weights + t * op->n_used);
            lk_normalise(&op->norm, s->normed + t * op->n_embd, s->x + t * op->n_embd, op->n_embd);
        }
}

/* Pairs in the order of experts, and of tokens within an expert. */
static void sort_pairs(run_state *s) {
    const lk_experts *op = s->op;
    const float *weights = s->weights + s->n_pairs;
    memset(s->ends, 0, op->n_expert * sizeof(int32_t));
    for (int i = 0; i < s->n_pairs; i++)
        s->ends[s->chosen[i]]++;
    for (int e = 0, start = 0; e < op->n_expert; e++) {
        const int n = s->ends[e];
        s->ends[e] = start; /* and moves to the end below */
        start += n;
    }
    for (int i = 0; i < s->n_pairs; i++) {
        const int to = s->ends[s->chosen[i]]++;
        s->tokens[to] = i / op->n_used;
        s->weights[to] = weights[i];
    }
}

/* Rows of gate and up in a piece. */
static int up_piece_rows(const group *g) {
    return g->up_call.at.is_prompt ? LK_PIECE_ROWS : lk_dot_piece_rows(&g->up.w[0]);
}

/* The groups, and where their copies lie; the number of all pieces of gate and up. */
static int64_t make_groups(run_state *s) {
    const lk_experts *op = s->op;
    const int is_single = s->n_tokens == 1;
    size_t at = 0;
    int64_t piece = 0;
    s->n_groups = 0;
    for (int e = 0, start = 0; e < op->n_expert; start = s->ends[e++]) {
        if (s->ends[e] == start)
            continue;
        group *g = &s->groups[s->n_groups];
        g->first = start;
        g->n = s->ends[e] - start;
        g->piece = piece;
        g->up = up_of(op, e, is_single);
        g->down = down_of(op, e);
        g->hidden[0] = s->hidden + (ptrdiff_t)start * op->n_ff;
        const int is_prompt = lk_linear_is_prompt(g->n);
        g->up_call = (lk_linear_call){
            .op = &g->up,
            .x = is_single ? s->x : s->normed,
            .rows = is_single ? NULL : s->tokens + start,
            .y = g->hidden,
            .at = lk_linear_lay_out(&g->up, g->n, !is_single, is_prompt),
            .n_tokens = g->n,
        };
        g->down_call = (lk_linear_call){
            .op = &g->down,
            .x = g->hidden[0],
            .at = lk_linear_lay_out(&g->down, g->n, 0, is_prompt),
            .n_tokens = g->n,
        };
        if (is_single && s->n_groups) /* all have the same input */
            g->up_at = s->groups[0].up_at;
        else
            g->up_at = lk_reserve(&at, g->up_call.at.copy);
        g->down_at = lk_reserve(&at, g->down_call.at.copy);
        for (int i = 0; i < g->n; i++)
            s->group_of[start + i] = s->n_groups;
        piece += (op->n_ff + up_piece_rows(g) - 1) / up_piece_rows(g);
        s->n_groups++;
    }
    s->copies = at;
    return piece;
}

/* ---- multiplying -------------------------------------------------------------------------- */

static char *copies_of(const run_state *s, int thread) {
    return s->scratch + s->at.copies + (s->n_tokens == 1 ? thread * s->copies : 0);
}
static char *own_of(const run_state *s, int thread, int n_threads) {
    const int n_copies = s->n_tokens == 1 ? n_threads : 1;
    return s->scratch + s->at.copies + n_copies * s->copies + thread * s->at.own;
}

static void clear_panels(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    char *copies = copies_of(s, thread);
    int64_t begin, end;
    while (lk_split_take(&s->groups_left, thread, &begin, &end))
        for (int64_t i = begin; i < end; i++) {
            const group *g = &s->groups[i];
            lk_linear_clear(&g->up_call, copies + g->up_at);
            lk_linear_clear(&g->down_call, copies + g->down_at);
        }
}

/* Copies of the inputs of gate and up, or of down, by pair. */
static void prepare_pairs(run_state *s, lk_split *pairs, int is_down, int thread) {
    char *copies = copies_of(s, thread);
    int64_t begin, end;
    while (lk_split_take(pairs, thread, &begin, &end))
        for (int64_t i = begin; i < end; i++) {
            const group *g = &s->groups[s->group_of[i]];
            lk_linear_prepare(is_down ? &g->down_call : &g->up_call,
                              copies + (is_down ? g->down_at : g->up_at), (int)i - g->first);
        }
}

static void prepare_inputs(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    prepare_pairs(s, &s->inputs_left, 0, thread);
}

static void prepare_hidden(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    prepare_pairs(s, &s->hidden_left, 1, thread);
}

static const group *group_with(const run_state *s, int64_t piece) {
    int low = 0, high = s->n_groups;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (s->groups[middle].piece <= piece)
            low = middle;
        else
            high = middle;
    }
    return &s->groups[low];
}

static void run_up(void *arg, int thread, int n_threads) {
    run_state *s = arg;
    char *copies = copies_of(s, thread), *own = own_of(s, thread, n_threads);
    if (s->n_tokens == 1) /* all groups have the same input */
        lk_linear_prepare(&s->groups[0].up_call, copies + s->groups[0].up_at, 0);
    int64_t begin, end;
    while (lk_split_take(&s->up_left, thread, &begin, &end)) {
        const group *g = group_with(s, begin);
        const lk_linear_call *c = &g->up_call;
        const int most = up_piece_rows(g), first = (int)(begin - g->piece) * most;
        const int n = min_of(most, s->op->n_ff - first);
        if (c->at.is_prompt) {
            lk_tile_run(c, 0, copies + g->up_at, own, first, n);
        } else {
            const lk_dot_piece piece = {0, {first, first}, n};
            lk_dot_run(c, copies + g->up_at, (float *)(own + c->at.other), &piece);
        }
    }
}

/* other (g->n rows, as far apart as the result says) = rows [r0, r0 + n) of a group's down. */
static ptrdiff_t rows_of_down(const group *g, char *copy, char *own, float *other, int r0, int n) {
    const lk_linear_call *c = &g->down_call;
    const lk_matrix *w = &g->down.w[0];
    if (c->at.is_prompt) {
        lk_tile_rows(c, w, copy, own, r0, n, other, LK_PIECE_ROWS);
        return LK_PIECE_ROWS;
    }
    const int half = n / 2; /* two streams, beside each other in a row of other */
    const ptrdiff_t stride = 2 * LK_DOT_PIECE_ROWS;
    if (half)
        lk_dot_rows(c, copy, (const lk_matrix *const[2]){w, w}, (const int64_t[2]){r0, r0 + half},
                    half, (float *const[2]){other, other + half}, stride);
    if (n % 2)
        lk_dot_rows(c, copy, (const lk_matrix *const[2]){w, NULL},
                    (const int64_t[2]){r0 + n - 1, -1}, 1, (float *const[2]){other + n - 1, NULL},
                    stride);
    return stride;
}

static void run_down(void *arg, int thread, int n_threads) {
    run_state *s = arg;
    const int n_embd = s->op->n_embd;
    char *copies = copies_of(s, thread), *own = own_of(s, thread, n_threads);
    for (int i = 0; i < s->n_groups && s->n_tokens == 1; i++)
        lk_linear_prepare(&s->groups[i].down_call, copies + s->groups[i].down_at, 0);
    int64_t begin, end;
    while (lk_split_take(&s->down_left, thread, &begin, &end)) {
        const int r0 = (int)begin * s->down_rows, n = min_of(s->down_rows, n_embd - r0);
        for (int i = 0; i < s->n_groups; i++) {
            const group *g = &s->groups[i];
            float *other = (float *)(own + g->down_call.at.other);
            const ptrdiff_t stride = rows_of_down(g, copies + g->down_at, own, other, r0, n);
            for (int p = 0; p < g->n; p++) {
                const float weight = s->weights[g->first + p];
                float *x = s->x + (ptrdiff_t)s->tokens[g->first + p] * n_embd + r0;
                for (int r = 0; r < n; r++)
                    x[r] += weight * other[p * stride + r];
            }
        }
    }
}

/* ---- the op ------------------------------------------------------------------------------- */

/* Rows of down in a piece: as many as a thread reads well, but pieces enough for all threads. */
static int down_piece_rows(const run_state *s, int n_threads) {
    int most = 2 * lk_dot_piece_rows(&s->op->down);
    for (int i = 0; i < s->n_groups; i++)
        if (s->groups[i].down_call.at.is_prompt)
            most = LK_PIECE_ROWS;
    const int even = s->op->n_embd / (PIECES_PER_THREAD * n_threads) / 32 * 32 + 32;
    return min_of(most, even);
}

static void place(run_state *s) {
    char *at = s->scratch;
    s->ends = (int32_t *)(at + s->at.ends);
    s->tokens = (int32_t *)(at + s->at.tokens);
    s->weights = (float *)(at + s->at.weights);
    s->chosen = (int32_t *)(at + s->at.chosen);
    s->groups = (group *)(at + s->at.groups);
    s->group_of = (int32_t *)(at + s->at.group_of);
    s->normed = (float *)(at + s->at.normed);
    s->hidden = (float *)(at + s->at.hidden);
}

static int multiply(run_state *s, int n_threads) {
    const int64_t n_pieces = make_groups(s);
    s->down_rows = down_piece_rows(s, n_threads);
    lk_split_init(&s->up_left, n_pieces, 1, n_threads);
    lk_split_init(&s->down_left, (s->op->n_embd + s->down_rows - 1) / s->down_rows, 1, n_threads);
    if (s->n_tokens == 1)
        return lk_pool_run((const lk_phase[]){run_up, run_down}, 2, s, n_threads);
    lk_split_init(&s->groups_left, s->n_groups, 1, n_threads);
    lk_split_init(&s->inputs_left, s->n_pairs, 4, n_threads);
    lk_split_init(&s->hidden_left, s->n_pairs, 4, n_threads);
    const lk_phase phases[] = {clear_panels, prepare_inputs, run_up, prepare_hidden, run_down};
    return lk_pool_run(phases, 5, s, n_threads);
}

int lk_experts_run(const lk_experts *op, const float *logits, float *x, int n_tokens,
                   const lk_work *work, lk_experts_seen *seen) {
    if (n_tokens < 1 || n_tokens > INT32_MAX / op->n_used || work->n_threads < 1 ||
        work->n_threads > LK_MAX_THREADS)
        return LK_ERR_ARGUMENT;
    run_state s; /* its splits are large and filled below: no initialiser */
    s.op = op;
    s.logits = logits;
    s.x = x;
    s.scratch = work->scratch;
    s.n_tokens = n_tokens;
    s.n_pairs = n_tokens * op->n_used;
    const int64_t bytes =
        (op->gate.row_bytes + op->up.row_bytes) * op->n_ff + op->down.row_bytes * op->n_embd;
    const int n_threads = lk_useful_threads(bytes * s.n_pairs, work->n_threads);
    s.at = lay_out(op, n_tokens, n_threads);
    if (s.at.total > work->scratch_bytes)
        return LK_ERR_MEMORY;
    place(&s);
    if (n_tokens == 1) {
        choose(op, logits, s.chosen, s.weights + s.n_pairs);
    } else {
        lk_split_init(&s.tokens_left, n_tokens, 4, n_threads);
        const int status = lk_pool_run((const lk_phase[]){choose_by_token}, 1, &s, n_threads);
        if (status)
            return status;
    }
    sort_pairs(&s);
    if (seen)
        *seen = (lk_experts_seen){s.ends, s.tokens, s.weights, s.hidden};
    return multiply(&s, n_threads);
}
