/*
 * A prompt: 16 weight rows at a time are unpacked into a tile in cache, which meets the panels of
 * all tokens. Float weights have no tiles: their dots take all tokens at once.
 */
#include "op_linear.h"

/* y (n_tokens rows, y_stride floats apart) = rows [r0, r0 + n) of w times all tokens. */
static void rows_by_dot(const lk_linear_call *c, const lk_matrix *w, char *copy, int64_t r0, int n,
                        float *y, ptrdiff_t y_stride) {
    const lk_linear *op = c->op;
    const lk_dot d = {
        .w = {(const char *)w->data + r0 * w->row_bytes, NULL},
        .y = {y, NULL},
        .x = lk_linear_floats(c, copy),
        .w_stride = w->row_bytes,
        .x_stride = op->k * sizeof(float),
        .y_stride = y_stride,
        .k = op->k,
        .rows = n,
        .cols = c->n_tokens,
    };
    ((lk_dot_fn)lk_kernel(lk_linear_kernels_of(w->type)->dot))(&d);
}

/* The block of element k of a row. */
static const char *weights_at(const lk_matrix *w, int64_t row, int k) {
    int32_t block, block_bytes;
    lk_type_block(w->type, &block, &block_bytes);
    return (const char *)w->data + row * w->row_bytes + (int64_t)k / block * block_bytes;
}

/* Weights k0 .. k0 + kn of n rows from r0 on, in the thread's own memory. */
static void unpack_tiles(const lk_linear_call *c, const lk_matrix *w, char *own, int64_t r0, int n,
                         int k0, int kn, lk_tile tiles[LK_TILES_PER_PIECE]) {
    const lk_linear_kernels *kernels = lk_linear_kernels_of(w->type);
    lk_unpack_fn unpack = (lk_unpack_fn)lk_kernel(kernels->unpack);
    for (int row = 0, t = 0; row < n; row += LK_TILE_ROWS, t++) {
        const size_t groups = (size_t)row * (LK_K_PER_TILE / 16);
        tiles[t] = (lk_tile){
            .q = (int8_t *)own + c->at.q + (size_t)row * LK_K_PER_TILE,
            .start = (int32_t *)(own + c->at.start) + groups,
            .scale = (float *)(own + c->at.scale) + groups,
            .min = kernels->has_min ? (float *)(own + c->at.min) + groups : NULL,
            .q_max = kernels->q_max,
        };
        unpack(&tiles[t], weights_at(w, r0 + row, k0), w->row_bytes, kn,
               n - row < LK_TILE_ROWS ? n - row : LK_TILE_ROWS);
    }
}

/* y = rows [r0, r0 + n) of w times all tokens, of which there are few; y += with `add`. */
static void rows_by_skinny(const lk_linear_call *c, const lk_matrix *w, char *copy, int64_t r0,
                           int n, float *y, ptrdiff_t y_stride, int add) {
    lk_skinny_fn skinny = (lk_skinny_fn)lk_kernel(lk_linear_kernels_of(w->type)->skinny);
    const lk_panel_block *panel = (const lk_panel_block *)(copy + c->at.panels);
    const int k = c->op->k;
    for (int k0 = 0; k0 < k; k0 += LK_K_PER_TILE) {
        const int kn = k - k0 < LK_K_PER_TILE ? k - k0 : LK_K_PER_TILE;
        for (int row = 0; row < n; row += LK_TILE_ROWS)
            skinny(y + row, y_stride, weights_at(w, r0 + row, k0), w->row_bytes, panel + k0 / 32,
                   kn, n - row < LK_TILE_ROWS ? n - row : LK_TILE_ROWS, c->n_tokens, add || k0 > 0);
    }
}

/* The same of many. */
static void rows_by_tile(const lk_linear_call *c, const lk_matrix *w, char *copy, char *own,
                         int64_t r0, int n, float *y, ptrdiff_t y_stride, int add) {
    if (c->n_tokens <= LK_SKINNY_COLS) {
        rows_by_skinny(c, w, copy, r0, n, y, y_stride, add);
        return;
    }
    lk_gemm_fn gemm = (lk_gemm_fn)lk_kernel(lk_linear_kernels_of(w->type)->gemm);
    const lk_panel_block *panels = (const lk_panel_block *)(copy + c->at.panels);
    const int k = c->op->k, pair = 2 * LK_TILE_ROWS;
    for (int k0 = 0; k0 < k; k0 += LK_K_PER_TILE) {
        const int kn = k - k0 < LK_K_PER_TILE ? k - k0 : LK_K_PER_TILE;
        lk_tile tiles[LK_TILES_PER_PIECE];
        unpack_tiles(c, w, own, r0, n, k0, kn, tiles);
        for (int p = 0; p < c->at.n_panels; p++) {
            const int token = p * LK_PANEL_COLS;
            const int cols =
                c->n_tokens - token < LK_PANEL_COLS ? c->n_tokens - token : LK_PANEL_COLS;
            const lk_panel_block *panel = panels + (size_t)p * (k / 32) + k0 / 32;
            for (int row = 0; row < n; row += pair)
                gemm(y + (ptrdiff_t)token * y_stride + row, y_stride, &tiles[row / LK_TILE_ROWS],
                     panel, kn, n - row < pair ? n - row : pair, cols, add || k0 > 0);
        }
    }
}

void lk_tile_rows(const lk_linear_call *c, const lk_matrix *w, char *copy, char *own, int64_t r0,
                  int n, float *y, ptrdiff_t y_stride) {
    if (lk_is_quantised(w))
        rows_by_tile(c, w, copy, own, r0, n, y, y_stride, 0);
    else
        rows_by_dot(c, w, copy, r0, n, y, y_stride);
    if (w->bias)
        lk_linear_add_bias(y, y_stride, w->bias + r0, n, c->n_tokens);
}

/* y += the same; other: room for n rows of all tokens. */
static void add_rows(const lk_linear_call *c, const lk_matrix *w, char *copy, char *own, int64_t r0,
                     int n, float *y, ptrdiff_t y_stride, float *other) {
    if (lk_is_quantised(w)) {
        rows_by_tile(c, w, copy, own, r0, n, y, y_stride, 1);
    } else {
        rows_by_dot(c, w, copy, r0, n, other, LK_PIECE_ROWS);
        for (int t = 0; t < c->n_tokens; t++)
            for (int r = 0; r < n; r++)
                y[t * y_stride + r] += other[t * LK_PIECE_ROWS + r];
    }
    if (w->bias)
        lk_linear_add_bias(y, y_stride, w->bias + r0, n, c->n_tokens);
}

void lk_tile_run(const lk_linear_call *c, int i, char *copy, char *own, int64_t r0, int n) {
    const lk_matrix *w = &c->op->w[i];
    ptrdiff_t y_stride = w->n_rows;
    float *y = c->y[i] + r0, *other = (float *)(own + c->at.other);
    switch (c->op->epilogue) {
    case LK_STORE:
    case LK_GELU:
    case LK_GELU_ERF:
        lk_tile_rows(c, w, copy, own, r0, n, y, y_stride);
        for (int t = 0; t < c->n_tokens && lk_is_activated(c->op); t++)
            lk_linear_activate(c->op, y + t * y_stride, NULL, n);
        break;
    case LK_ADD:
        add_rows(c, w, copy, own, r0, n, y, y_stride, other);
        break;
    case LK_SWIGLU:
    case LK_GEGLU:
    case LK_SWIGLU_OAI:
        lk_tile_rows(c, w, copy, own, r0, n, y, y_stride);
        lk_tile_rows(c, w + 1, copy, own, r0, n, other, LK_PIECE_ROWS);
        for (int t = 0; t < c->n_tokens; t++)
            lk_linear_activate(c->op, y + t * y_stride, other + t * LK_PIECE_ROWS, n);
        break;
    }
}

static int64_t pieces_of(const lk_matrix *w) {
    return ((int64_t)w->n_rows + LK_PIECE_ROWS - 1) / LK_PIECE_ROWS;
}

void lk_linear_cut_tiles(lk_linear_state *s) {
    int64_t n = 0;
    for (int i = 0; i < lk_n_cut(s->call.op); i++)
        n += pieces_of(&s->call.op->w[i]);
    lk_split_init(&s->pieces, n, 1, s->n_threads);
}

void lk_linear_tiles(void *state, int thread, int n_threads) {
    (void)n_threads;
    lk_linear_state *s = state;
    const lk_linear *op = s->call.op;
    char *copy = lk_linear_copy(s, thread), *own = lk_linear_own(s, thread);
    int64_t begin, end;
    while (lk_split_take(&s->pieces, thread, &begin, &end)) {
        int64_t within = begin;
        int i = 0;
        while (i < lk_n_cut(op) - 1 && within >= pieces_of(&op->w[i]))
            within -= pieces_of(&op->w[i++]);
        int64_t r0 = within * LK_PIECE_ROWS, left = op->w[i].n_rows - r0;
        lk_tile_run(&s->call, i, copy, own, r0, left < LK_PIECE_ROWS ? (int)left : LK_PIECE_ROWS);
    }
}
