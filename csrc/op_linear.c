/*
 * y = epilogue(W rmsnorm(x) + b) for up to three matrices that share an input.
 *
 * Phase 1 prepares the activations: RMSNorm, then 8-bit rows (few tokens) or panels (a prompt).
 * For a single token every thread prepares a copy of its own: cheaper than a barrier.
 * Phase 2 goes through the weights once. Few tokens: dot kernels straight on the file's blocks. A
 * prompt: 16 rows at a time are unpacked into a tile in cache, which meets all panels.
 */
#include <string.h>

#include "kernels.h"
#include "pool.h"
#include "scratch.h"

#define ROWS_PER_PIECE 64 /* what a thread takes at a time: four tiles, a long read */
#define K_PER_TILE 1024   /* a tile of 16 KB and a panel of 18 KB share the L1 cache */
#define TOKENS_PER_DOT 8  /* their activations stay in the L1 cache while the rows go by */
#define PROMPT_TOKENS 8   /* from here on unpacking a tile is cheaper than repeated dots */
#define BYTES_PER_THREAD (128 << 10) /* less weight than this is read faster than shared */

typedef struct {
    int16_t dot, unpack, gemm; /* slots; -1 for float types, which have dots alone */
    uint8_t zero, group, has_min;
} type_kernels;

#define FLOAT_TYPE(slot) {LK_SLOT_dot_##slot, -1, -1, 0, 0, 0}
#define QUANT_TYPE(slot, gemm, zero, group, has_min)                                               \
    {LK_SLOT_dot_##slot, LK_SLOT_unpack_##slot, LK_SLOT_gemm_##gemm, zero, group, has_min}

static const type_kernels *kernels_of(int type) {
    static const type_kernels f32 = FLOAT_TYPE(f32), f16 = FLOAT_TYPE(f16), bf16 = FLOAT_TYPE(bf16);
    static const type_kernels quant[] = {
        [LK_Q4_0] = QUANT_TYPE(q4_0, g32, 8, 32, 0),
        [LK_Q4_1] = QUANT_TYPE(q4_1, g32_min, 0, 32, 1),
        [LK_Q5_0] = QUANT_TYPE(q5_0, g32, 16, 32, 0),
        [LK_Q5_1] = QUANT_TYPE(q5_1, g32_min, 0, 32, 1),
        [LK_Q8_0] = QUANT_TYPE(q8_0, g32, 128, 32, 0),
        [LK_Q2_K] = QUANT_TYPE(q2_K, g16_min, 0, 16, 1),
        [LK_Q3_K] = QUANT_TYPE(q3_K, g16, 4, 16, 0),
        [LK_Q4_K] = QUANT_TYPE(q4_K, g32_min, 0, 32, 1),
        [LK_Q5_K] = QUANT_TYPE(q5_K, g32_min, 0, 32, 1),
        [LK_Q6_K] = QUANT_TYPE(q6_K, g16, 32, 16, 0),
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

static int is_quantised(const lk_matrix *w) {
    return kernels_of(w->type)->unpack >= 0;
}

/* ---- where everything lies in the scratch ------------------------------------------------- */

typedef struct {
    int n_copies;      /* of the prepared activations: one per thread, or one for all */
    int n_panels;      /* 0: dots */
    size_t act_stride; /* bytes */
    size_t normed, act, panels, copy; /* offsets inside a copy, and its size */
    size_t other, q, scale, min, own; /* offsets inside a thread's own part, and its size */
    size_t total;
} layout;

static layout lay_out(const lk_linear *op, int n_tokens, int n_threads) {
    int k = op->k, any_quantised = 0;
    for (int i = 0; i < op->n_w; i++)
        any_quantised |= is_quantised(&op->w[i]);
    layout l = {.n_copies = n_tokens == 1 ? n_threads : 1};
    size_t at = 0;
    l.normed = lk_reserve(&at, op->norm ? (size_t)n_tokens * k * sizeof(float) : 0);
    if (any_quantised) {
        /* An odd number of cache lines: columns never meet in one set of the L1 cache. */
        l.act_stride = (LK_ACT_BYTES(k) + 63) / 64 * 64 | 64;
        if (n_tokens >= PROMPT_TOKENS)
            l.n_panels = (n_tokens + LK_PANEL_COLS - 1) / LK_PANEL_COLS;
        int n_rows = l.n_panels ? n_threads : n_tokens; /* a prompt's rows only pass through */
        l.act = lk_reserve(&at, l.act_stride * n_rows);
        l.panels = lk_reserve(&at, (size_t)l.n_panels * (k / 32) * sizeof(lk_panel_block));
    }
    l.copy = at;
    at = 0;
    int needs_other = op->epilogue != LK_STORE;
    l.other = lk_reserve(&at, needs_other ? sizeof(float) * ROWS_PER_PIECE * n_tokens : 0);
    if (l.n_panels) {
        size_t n_tiles = ROWS_PER_PIECE / LK_TILE_ROWS, groups = K_PER_TILE / 16;
        l.q = lk_reserve(&at, n_tiles * K_PER_TILE * LK_TILE_ROWS);
        l.scale = lk_reserve(&at, n_tiles * groups * LK_TILE_ROWS * sizeof(float));
        l.min = lk_reserve(&at, n_tiles * groups * LK_TILE_ROWS * sizeof(float));
    }
    l.own = at;
    l.total = l.n_copies * l.copy + n_threads * l.own;
    return l;
}

int lk_linear_check(const lk_linear *op) {
    if (op->n_w < 1 || op->n_w > 3 || op->k < 1 || op->epilogue < LK_STORE ||
        op->epilogue > LK_SWIGLU)
        return LK_ERR_ARGUMENT;
    for (int i = 0; i < op->n_w; i++) {
        const lk_matrix *w = &op->w[i];
        int32_t n, bytes;
        if (lk_type_block(w->type, &n, &bytes))
            return LK_ERR_UNSUPPORTED;
        if (!w->data || w->n_rows < 1 || op->k % n || w->row_bytes != (int64_t)op->k / n * bytes)
            return LK_ERR_ARGUMENT;
    }
    if (op->epilogue == LK_SWIGLU && (op->n_w != 2 || op->w[0].n_rows != op->w[1].n_rows))
        return LK_ERR_ARGUMENT;
    if (op->epilogue == LK_ADD && op->n_w != 1)
        return LK_ERR_ARGUMENT;
    return LK_OK;
}

/* Small ops are done sooner alone. */
static int useful_threads(const lk_linear *op, int n_tokens, int n_threads) {
    int64_t bytes = 0;
    for (int i = 0; i < op->n_w; i++)
        bytes += op->w[i].row_bytes * op->w[i].n_rows * n_tokens;
    int64_t useful = 1 + bytes / BYTES_PER_THREAD;
    return useful < n_threads ? (int)useful : n_threads;
}

size_t lk_linear_scratch(const lk_linear *op, int n_tokens, int n_threads) {
    return lay_out(op, n_tokens, n_threads).total;
}

/* ---- phase 1: activations ------------------------------------------------------------------ */

typedef struct {
    const lk_linear *op;
    const float *x;
    float *const *y;
    char *scratch;
    layout at;
    int n_tokens;
    lk_split tokens, rows;
} run_state;

static char *copy_of(const run_state *s, int thread) {
    return s->scratch + (s->at.n_copies > 1 ? thread * s->at.copy : 0);
}

static void pack_column(lk_panel_block *panel, int column, const void *act, int k) {
    const int8_t *q = lk_act_q(act);
    const float *d = lk_act_d(act, k);
    for (int block = 0; block < k / 32; block++, q += 32) {
        lk_panel_block *p = &panel[block];
        int32_t lo = 0, hi = 0;
        for (int i = 0; i < 16; i++) {
            lo += q[i];
            hi += q[i + 16];
        }
        memcpy(p->q[column], q, 32);
        p->d[column] = d[block];
        p->sum_lo[column] = lo;
        p->sum_hi[column] = hi;
        p->sum[column] = lo + hi;
    }
}

static void prepare_token(const run_state *s, char *copy, int thread, int token) {
    const lk_linear *op = s->op;
    int k = op->k;
    const float *x = s->x + (size_t)token * k;
    if (op->norm) {
        float *normed = (float *)(copy + s->at.normed) + (size_t)token * k;
        LK_CALL(lk_rmsnorm_fn, rmsnorm)(normed, x, op->norm, k, op->norm_eps);
        x = normed;
    }
    if (!s->at.act_stride)
        return;
    char *act = copy + s->at.act + (s->at.n_panels ? thread : token) * s->at.act_stride;
    LK_CALL(lk_act_fn, act_q8)(act, x, k);
    if (s->at.n_panels) {
        lk_panel_block *panels = (lk_panel_block *)(copy + s->at.panels);
        pack_column(panels + (size_t)(token / LK_PANEL_COLS) * (k / 32), token % LK_PANEL_COLS, act,
                    k);
    }
}

static void prepare(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    int64_t begin, end;
    while (lk_split_take(&s->tokens, thread, &begin, &end))
        for (int64_t token = begin; token < end; token++)
            prepare_token(s, copy_of(s, thread), thread, (int)token);
}

/* ---- phase 2: weights ---------------------------------------------------------------------- */

/* y (n_tokens rows, y_stride floats apart) = rows [r0, r0 + n) of w times all tokens. */
static void rows_by_dot(const run_state *s, const lk_matrix *w, char *copy, int64_t r0, int n,
                        float *y, ptrdiff_t y_stride) {
    const lk_linear *op = s->op;
    const char *weights = (const char *)w->data + r0 * w->row_bytes;
    const void *x = op->norm ? (const void *)(copy + s->at.normed) : (const void *)s->x;
    size_t x_stride = op->k * sizeof(float);
    if (is_quantised(w)) {
        x = copy + s->at.act;
        x_stride = s->at.act_stride;
    }
    lk_dot_fn dot = (lk_dot_fn)lk_kernel(kernels_of(w->type)->dot);
    for (int t = 0; t < s->n_tokens; t += TOKENS_PER_DOT) {
        int cols = s->n_tokens - t < TOKENS_PER_DOT ? s->n_tokens - t : TOKENS_PER_DOT;
        dot(y + t * y_stride, y_stride, weights, w->row_bytes, (const char *)x + t * x_stride,
            x_stride, op->k, n, cols);
    }
}

/* The same through tiles. */
static void rows_by_tile(const run_state *s, const lk_matrix *w, char *copy, char *own, int64_t r0,
                         int n, float *y, ptrdiff_t y_stride) {
    const type_kernels *kernels = kernels_of(w->type);
    lk_unpack_fn unpack = (lk_unpack_fn)lk_kernel(kernels->unpack);
    lk_gemm_fn gemm = (lk_gemm_fn)lk_kernel(kernels->gemm);
    const lk_panel_block *panels = (const lk_panel_block *)(copy + s->at.panels);
    int k = s->op->k;
    int32_t block, block_bytes;
    lk_type_block(w->type, &block, &block_bytes);
    lk_tile tiles[ROWS_PER_PIECE / LK_TILE_ROWS];
    int n_tiles = (n + LK_TILE_ROWS - 1) / LK_TILE_ROWS;
    for (int k0 = 0; k0 < k; k0 += K_PER_TILE) {
        int kn = k - k0 < K_PER_TILE ? k - k0 : K_PER_TILE;
        for (int t = 0; t < n_tiles; t++) {
            int row = t * LK_TILE_ROWS;
            int rows = n - row < LK_TILE_ROWS ? n - row : LK_TILE_ROWS;
            uint8_t *q = (uint8_t *)own + s->at.q + (size_t)row * K_PER_TILE;
            float *scale = (float *)(own + s->at.scale) + row * (K_PER_TILE / 16);
            float *min = (float *)(own + s->at.min) + row * (K_PER_TILE / 16);
            const char *weights = (const char *)w->data + (r0 + row) * w->row_bytes +
                                  (int64_t)k0 / block * block_bytes;
            unpack(q, scale, min, weights, w->row_bytes, kn, rows);
            tiles[t] = (lk_tile){q, scale, kernels->has_min ? min : NULL, kernels->zero};
        }
        for (int p = 0; p < s->at.n_panels; p++) {
            int token = p * LK_PANEL_COLS;
            int cols = s->n_tokens - token < LK_PANEL_COLS ? s->n_tokens - token : LK_PANEL_COLS;
            const lk_panel_block *panel = panels + (size_t)p * (k / 32) + k0 / 32;
            for (int t = 0; t < n_tiles; t++) {
                int row = t * LK_TILE_ROWS;
                int rows = n - row < LK_TILE_ROWS ? n - row : LK_TILE_ROWS;
                gemm(y + (ptrdiff_t)token * y_stride + row, y_stride, &tiles[t], panel, kn, rows,
                     cols, k0 > 0);
            }
        }
    }
}

static void add_bias(float *y, ptrdiff_t y_stride, const float *bias, int n, int n_tokens) {
    for (int t = 0; t < n_tokens; t++)
        for (int i = 0; i < n; i++)
            y[t * y_stride + i] += bias[i];
}

/* y = rows [r0, r0 + n) of w times all tokens, plus the bias. */
static void store_rows(const run_state *s, const lk_matrix *w, char *copy, char *own, int64_t r0,
                       int n, float *y, ptrdiff_t y_stride) {
    if (s->at.n_panels && is_quantised(w))
        rows_by_tile(s, w, copy, own, r0, n, y, y_stride);
    else
        rows_by_dot(s, w, copy, r0, n, y, y_stride);
    if (w->bias)
        add_bias(y, y_stride, w->bias + r0, n, s->n_tokens);
}

static void piece_of_rows(const run_state *s, int i, char *copy, char *own, int64_t r0, int n) {
    const lk_matrix *w = &s->op->w[i];
    ptrdiff_t y_stride = w->n_rows;
    float *y = s->y[i] + r0, *other = (float *)(own + s->at.other);
    switch (s->op->epilogue) {
    case LK_STORE:
        store_rows(s, w, copy, own, r0, n, y, y_stride);
        break;
    case LK_ADD:
        store_rows(s, w, copy, own, r0, n, other, ROWS_PER_PIECE);
        for (int t = 0; t < s->n_tokens; t++)
            for (int r = 0; r < n; r++)
                y[t * y_stride + r] += other[t * ROWS_PER_PIECE + r];
        break;
    case LK_SWIGLU:
        store_rows(s, w, copy, own, r0, n, y, y_stride);
        store_rows(s, w + 1, copy, own, r0, n, other, ROWS_PER_PIECE);
        for (int t = 0; t < s->n_tokens; t++)
            LK_CALL(lk_swiglu_fn, swiglu)(y + t * y_stride, y + t * y_stride,
                                          other + t * ROWS_PER_PIECE, n);
        break;
    }
}

static int64_t pieces_of(const lk_matrix *w) {
    return ((int64_t)w->n_rows + ROWS_PER_PIECE - 1) / ROWS_PER_PIECE;
}

/* Pieces are numbered through the matrices; those of a gate stand for its up rows too. */
static void multiply(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    const lk_linear *op = s->op;
    char *copy = copy_of(s, thread);
    char *own = s->scratch + s->at.n_copies * s->at.copy + thread * s->at.own;
    int n_split = op->epilogue == LK_SWIGLU ? 1 : op->n_w;
    if (s->n_tokens == 1)
        prepare_token(s, copy, thread, 0);
    int64_t begin, end;
    while (lk_split_take(&s->rows, thread, &begin, &end)) {
        for (int64_t piece = begin; piece < end; piece++) {
            int64_t within = piece;
            int i = 0;
            while (i < n_split - 1 && within >= pieces_of(&op->w[i]))
                within -= pieces_of(&op->w[i++]);
            int64_t r0 = within * ROWS_PER_PIECE;
            int64_t left = op->w[i].n_rows - r0;
            piece_of_rows(s, i, copy, own, r0, left < ROWS_PER_PIECE ? (int)left : ROWS_PER_PIECE);
        }
    }
}

int lk_linear_run(const lk_linear *op, const float *x, float *const *y, int n_tokens,
                  const lk_work *work) {
    if (n_tokens < 1 || work->n_threads < 1 || work->n_threads > LK_MAX_THREADS)
        return LK_ERR_ARGUMENT;
    int n_threads = useful_threads(op, n_tokens, work->n_threads);
    run_state s; /* its splits are large and filled below: no initialiser */
    s.op = op;
    s.x = x;
    s.y = y;
    s.scratch = work->scratch;
    s.n_tokens = n_tokens;
    s.at = lay_out(op, n_tokens, n_threads);
    if (s.at.total > work->scratch_bytes)
        return LK_ERR_MEMORY;
    int64_t n_pieces = 0;
    for (int i = 0; i < (op->epilogue == LK_SWIGLU ? 1 : op->n_w); i++)
        n_pieces += pieces_of(&op->w[i]);
    lk_split_init(&s.rows, n_pieces, 1, n_threads);
    if (n_tokens == 1)
        return lk_pool_run((const lk_phase[]){multiply}, 1, &s, n_threads);
    if (s.at.n_panels) /* the last panel's missing columns count as zero */
        memset(s.scratch + s.at.panels +
                   (size_t)(s.at.n_panels - 1) * (op->k / 32) * sizeof(lk_panel_block),
               0, (op->k / 32) * sizeof(lk_panel_block));
    lk_split_init(&s.tokens, n_tokens, 4, n_threads);
    return lk_pool_run((const lk_phase[]){prepare, multiply}, 2, &s, n_threads);
}
