/*
 * y = epilogue(W norm(x) + b) for up to three matrices that share an input.
 *
 * Phase 1 prepares the activations: the norm, then 8-bit rows (few tokens) or panels (a prompt).
 * For a single token every thread prepares a copy of its own: cheaper than a barrier.
 * Phase 2 goes through the weights once: op_linear_dots.c for few tokens, op_linear_tiles.c for a
 * prompt.
 */
#include "op_linear.h"

#include <string.h>

/* From here on unpacking rows is cheaper than repeated dots: fused with the products, or alone. */
#define SKINNY_TOKENS 5
#define TILE_TOKENS 9
#define BYTES_PER_THREAD (128 << 10) /* less weight than this is read faster than shared */

#define FLOAT_TYPE(slot) {LK_SLOT_dot_##slot, -1, -1, -1, LK_ACT_IN_ORDER, 0, 0}
#define QUANT_TYPE(slot, gemm, order, q_max, has_min)                                              \
    {LK_SLOT_dot_##slot,                                                                           \
     LK_SLOT_skinny_##slot,                                                                        \
     LK_SLOT_unpack_##slot,                                                                        \
     LK_SLOT_gemm_##gemm,                                                                          \
     LK_ACT_##order,                                                                               \
     q_max,                                                                                        \
     has_min}

const lk_linear_kernels *lk_linear_kernels_of(int type) {
    static const lk_linear_kernels f32 = FLOAT_TYPE(f32), f16 = FLOAT_TYPE(f16),
                                   bf16 = FLOAT_TYPE(bf16);
    static const lk_linear_kernels quant[] = {
        [LK_Q4_0] = QUANT_TYPE(q4_0, g32, BY_HALVES, 8, 0),
        [LK_Q4_1] = QUANT_TYPE(q4_1, g32_min, BY_HALVES, 15, 1),
        [LK_Q5_0] = QUANT_TYPE(q5_0, g32, BY_HALVES, 16, 0),
        [LK_Q5_1] = QUANT_TYPE(q5_1, g32_min, BY_HALVES, 31, 1),
        [LK_Q8_0] = QUANT_TYPE(q8_0, g32, IN_ORDER, 128, 0),
        [LK_Q2_K] = QUANT_TYPE(q2_K, g16_min, IN_ORDER, 3, 1),
        [LK_Q3_K] = QUANT_TYPE(q3_K, g16, IN_ORDER, 4, 0),
        [LK_Q4_K] = QUANT_TYPE(q4_K, g32_min, IN_ORDER, 15, 1),
        [LK_Q5_K] = QUANT_TYPE(q5_K, g32_min, IN_ORDER, 31, 1),
        [LK_Q6_K] = QUANT_TYPE(q6_K, g16, IN_ORDER, 32, 0),
        [LK_IQ4_NL] = QUANT_TYPE(iq4_nl, g32, BY_HALVES, 127, 0),
        [LK_IQ4_XS] = QUANT_TYPE(iq4_xs, g32, IN_ORDER, 127, 0),
        [LK_TQ1_0] = QUANT_TYPE(tq1_0, g32, IN_ORDER, 1, 0),
        [LK_TQ2_0] = QUANT_TYPE(tq2_0, g32, IN_ORDER, 2, 0),
        [LK_IQ3_XXS] = QUANT_TYPE(iq3_xxs, g32, IN_ORDER, 62, 0),
        [LK_IQ3_S] = QUANT_TYPE(iq3_s, g32, IN_ORDER, 15, 0),
        [LK_IQ2_XXS] = QUANT_TYPE(iq2_xxs, g32, IN_ORDER, 43, 0),
        [LK_IQ2_XS] = QUANT_TYPE(iq2_xs, g16, IN_ORDER, 43, 0),
        [LK_IQ2_S] = QUANT_TYPE(iq2_s, g16, IN_ORDER, 43, 0),
        [LK_IQ1_S] = QUANT_TYPE(iq1_s, g32, IN_ORDER, 9, 0),
        [LK_IQ1_M] = QUANT_TYPE(iq1_m, g16, IN_ORDER, 9, 0),
        [LK_MXFP4] = QUANT_TYPE(mxfp4, g32, BY_HALVES, 12, 0),
    };
    switch (type) {
    case LK_F32:
        return &f32;
    case LK_F16:
        return &f16;
    case LK_BF16:
        return &bf16;
    default:
        return &quant[type]; /* lk_linear_check has seen that the type is one of ours */
    }
}

/* ---- where everything lies in the scratch ------------------------------------------------- */

/* Whether some weights read activations in this order; for prompts, whether some are quantised. */
static int needs_order(const lk_linear *op, int order) {
    for (int i = 0; i < op->n_w; i++)
        if (lk_is_quantised(&op->w[i]) && lk_linear_kernels_of(op->w[i].type)->order == order)
            return 1;
    return 0;
}

static int has_floats(const lk_linear *op) {
    for (int i = 0; i < op->n_w; i++)
        if (!lk_is_quantised(&op->w[i]))
            return 1;
    return 0;
}

/* Copies and own part that hold a call; the norm's output, or gathered rows, only where needed. */
lk_linear_layout lk_linear_lay_out(const lk_linear *op, int n_tokens, int gathers, int is_prompt) {
    const int needs[2] = {needs_order(op, 0), needs_order(op, 1)};
    lk_linear_layout l = {.is_prompt = is_prompt};
    l.keeps_floats = op->norm.kind || (gathers && has_floats(op));
    size_t at = 0;
    l.normed = lk_reserve(&at, l.keeps_floats ? (size_t)n_tokens * op->k * sizeof(float) : 0);
    if (needs[0] || needs[1]) /* an odd number of cache lines: columns do not share L1 sets */
        l.act_stride = lk_act_bytes(op->k) | 64;
    if (l.is_prompt && l.act_stride) {
        l.n_panels = (n_tokens + LK_PANEL_COLS - 1) / LK_PANEL_COLS;
        l.panels = lk_reserve(&at, (size_t)l.n_panels * (op->k / 32) * sizeof(lk_panel_block));
    } else {
        for (int order = 0; order < 2; order++)
            l.act[order] = lk_reserve(&at, needs[order] ? l.act_stride * n_tokens : 0);
    }
    l.copy = at;
    at = 0;
    const size_t piece_rows = l.is_prompt ? LK_PIECE_ROWS : 2 * LK_DOT_PIECE_ROWS;
    const int has_other = op->epilogue == LK_ADD || lk_is_gated(op);
    l.other = lk_reserve(&at, has_other ? sizeof(float) * piece_rows * (size_t)n_tokens : 0);
    if (l.n_panels) {
        const size_t weights = (size_t)LK_PIECE_ROWS * LK_K_PER_TILE;
        l.q = lk_reserve(&at, weights);
        l.start = lk_reserve(&at, weights / 16 * sizeof(int32_t));
        l.scale = lk_reserve(&at, weights / 16 * sizeof(float));
        l.min = lk_reserve(&at, weights / 16 * sizeof(float));
    }
    l.own = at;
    return l;
}

/* Whether the active level has fused products of its own. */
static int has_skinny(void) {
    return lk_kernel_at(LK_SLOT_skinny_q4_0, lk_level_active()) != NULL;
}

int lk_linear_check(const lk_linear *op) {
    if (op->n_w < 1 || op->n_w > 3 || op->k < 1 || op->epilogue < LK_STORE ||
        op->epilogue > LK_GELU_ERF || !lk_norm_is_valid(&op->norm))
        return LK_ERR_ARGUMENT;
    for (int i = 0; i < op->n_w; i++) {
        const lk_matrix *w = &op->w[i];
        int32_t n, bytes;
        if (lk_type_block(w->type, &n, &bytes))
            return LK_ERR_UNSUPPORTED;
        if (!w->data || w->n_rows < 1 || op->k % n || w->row_bytes != (int64_t)op->k / n * bytes)
            return LK_ERR_ARGUMENT;
    }
    if (lk_is_gated(op) && (op->n_w != 2 || op->w[0].n_rows != op->w[1].n_rows))
        return LK_ERR_ARGUMENT;
    if ((op->epilogue == LK_ADD || lk_is_activated(op)) && op->n_w != 1)
        return LK_ERR_ARGUMENT;
    return LK_OK;
}

int lk_linear_is_prompt(int n_tokens) {
    return n_tokens >= (has_skinny() ? SKINNY_TOKENS : TILE_TOKENS);
}

/* Small ops are done sooner alone. */
int lk_useful_threads(int64_t bytes, int n_threads) {
    const int64_t useful = 1 + bytes / BYTES_PER_THREAD;
    return useful < n_threads ? (int)useful : n_threads;
}

static int64_t weight_bytes(const lk_linear *op) {
    int64_t bytes = 0;
    for (int i = 0; i < op->n_w; i++)
        bytes += op->w[i].row_bytes * op->w[i].n_rows;
    return bytes;
}

/* What a call takes of scratch: a copy for each thread, or one for all, and the threads' own. */
static size_t total_bytes(const lk_linear_layout *at, int n_tokens, int n_threads) {
    return (n_tokens == 1 ? n_threads : 1) * at->copy + n_threads * at->own;
}

/* Whatever level it will run at. */
size_t lk_linear_scratch(const lk_linear *op, int n_tokens, int n_threads) {
    size_t most = 0;
    for (int is_prompt = 0; is_prompt < 2; is_prompt++) {
        if (is_prompt ? n_tokens < SKINNY_TOKENS : n_tokens >= TILE_TOKENS)
            continue;
        const lk_linear_layout at = lk_linear_lay_out(op, n_tokens, 0, is_prompt);
        const size_t total = total_bytes(&at, n_tokens, n_threads);
        most = total > most ? total : most;
    }
    return most;
}

size_t lk_linear_own_bytes(const lk_linear *op, int n_tokens) {
    const int few = n_tokens < TILE_TOKENS ? n_tokens : TILE_TOKENS - 1;
    const size_t dots = lk_linear_lay_out(op, few, 0, 0).own;
    const size_t tiles = n_tokens >= SKINNY_TOKENS ? lk_linear_lay_out(op, n_tokens, 0, 1).own : 0;
    return dots > tiles ? dots : tiles;
}

/* ---- activations --------------------------------------------------------------------------- */

void lk_linear_clear(const lk_linear_call *c, char *copy) {
    if (!c->at.n_panels)
        return;
    const size_t bytes = (size_t)(c->op->k / 32) * sizeof(lk_panel_block);
    memset(copy + c->at.panels + (c->at.n_panels - 1) * bytes, 0, bytes);
}

void lk_linear_prepare(const lk_linear_call *c, char *copy, int token) {
    const lk_linear *op = c->op;
    const lk_linear_layout *at = &c->at;
    int k = op->k;
    const float *x = c->x + (size_t)(c->rows ? c->rows[token] : token) * k;
    if (at->keeps_floats) {
        float *kept = (float *)(copy + at->normed) + (size_t)token * k;
        lk_normalise(&op->norm, kept, x, k);
        x = kept;
    }
    if (!at->act_stride)
        return;
    if (at->n_panels) {
        lk_panel_block *panels = (lk_panel_block *)(copy + at->panels);
        LK_CALL(lk_panel_fn, panel_q8)(panels + (size_t)(token / LK_PANEL_COLS) * (k / 32),
                                       token % LK_PANEL_COLS, x, k);
        return;
    }
    for (int order = 0; order < 2; order++)
        if (needs_order(op, order))
            LK_CALL(lk_act_fn, act_q8)(
                (lk_act_block *)(copy + at->act[order] + token * at->act_stride), x, k, order);
}

static void prepare(void *arg, int thread, int n_threads) {
    (void)n_threads;
    lk_linear_state *s = arg;
    int64_t begin, end;
    while (lk_split_take(&s->tokens, thread, &begin, &end))
        for (int64_t token = begin; token < end; token++)
            lk_linear_prepare(&s->call, lk_linear_copy(s, thread), (int)token);
}

void lk_linear_add_bias(float *y, ptrdiff_t y_stride, const float *bias, int n, int n_tokens) {
    for (int t = 0; t < n_tokens; t++)
        for (int i = 0; i < n; i++)
            y[t * y_stride + i] += bias[i];
}

/* gpt-oss: gate' = min(gate, 7) and up' = min(max(up, -7), 7) make
 * gate' sigmoid(1.702 gate') (up' + 1); the factors let swiglu do it. */
static void prepare_swiglu_oai(float *gate, float *up, int n) {
    const float limit = 7.0f, alpha = 1.702f;
    for (int i = 0; i < n; i++) {
        const float g = gate[i] < limit ? gate[i] : limit, u = up[i] < limit ? up[i] : limit;
        gate[i] = alpha * g;
        up[i] = ((u > -limit ? u : -limit) + 1.0f) / alpha;
    }
}

void lk_linear_activate(const lk_linear *op, float *y, float *up, int n) {
    if (op->epilogue == LK_SWIGLU_OAI)
        prepare_swiglu_oai(y, up, n);
    if (op->epilogue == LK_SWIGLU || op->epilogue == LK_SWIGLU_OAI)
        LK_CALL(lk_swiglu_fn, swiglu)(y, y, up, n);
    else if (op->epilogue == LK_GELU_ERF)
        LK_CALL(lk_gelu_erf_fn, gelu_erf)(y, y, n);
    else
        LK_CALL(lk_geglu_fn, geglu)(y, y, up, n);
}

/* ---- the op -------------------------------------------------------------------------------- */

int lk_linear_run(const lk_linear *op, const float *x, float *const *y, int n_tokens,
                  const lk_work *work) {
    if (n_tokens < 1 || work->n_threads < 1 || work->n_threads > LK_MAX_THREADS)
        return LK_ERR_ARGUMENT;
    lk_linear_state s; /* its splits are large and filled below: no initialiser */
    s.call = (lk_linear_call){.op = op, .x = x, .y = y, .n_tokens = n_tokens};
    s.call.at = lk_linear_lay_out(op, n_tokens, 0, lk_linear_is_prompt(n_tokens));
    s.scratch = work->scratch;
    s.n_threads = lk_useful_threads(weight_bytes(op) * n_tokens, work->n_threads);
    s.n_copies = n_tokens == 1 ? s.n_threads : 1;
    if (total_bytes(&s.call.at, n_tokens, s.n_threads) > work->scratch_bytes)
        return LK_ERR_MEMORY;
    lk_phase multiply = lk_linear_dots;
    if (s.call.at.is_prompt) {
        multiply = lk_linear_tiles;
        lk_linear_cut_tiles(&s);
    } else {
        lk_linear_cut_dots(&s);
    }
    lk_linear_clear(&s.call, lk_linear_copy(&s, 0));
    if (n_tokens == 1)
        return lk_pool_run(&multiply, 1, &s, s.n_threads);
    lk_split_init(&s.tokens, n_tokens, 4, s.n_threads);
    return lk_pool_run((const lk_phase[]){prepare, multiply}, 2, &s, s.n_threads);
}
