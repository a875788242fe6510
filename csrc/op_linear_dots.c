/*
 * Few tokens: dot kernels straight on the file's blocks, bound by how fast memory gives them.
 *
 * Every thread has one range of rows, cut by bytes, and goes through it as two far streams that
 * memory prefetchers can follow: rows r and r + half of it, or the same rows of gate and up. It
 * takes them in pieces, one behind the other, so that threads that are done can help with the rest.
 */
#include "op_linear.h"

#define STREAM_BYTES (64 << 10) /* of a stream in a piece */

int lk_dot_piece_rows(const lk_matrix *w) {
    int64_t rows = STREAM_BYTES / w->row_bytes;
    return rows < 8 ? 8 : rows > LK_DOT_PIECE_ROWS ? LK_DOT_PIECE_ROWS : (int)rows;
}

/* A stream's rows among n of a matrix; what is odd is a piece of its own. */
static int64_t stream_rows(const lk_linear *op, int64_t n) {
    return lk_is_gated(op) ? n : n / 2;
}

static int64_t pieces_among(const lk_linear *op, int i, int64_t n) {
    int64_t rows = stream_rows(op, n), per_piece = lk_dot_piece_rows(&op->w[i]);
    return (rows + per_piece - 1) / per_piece + (lk_is_gated(op) ? 0 : n % 2);
}

/* Rows [*begin, *end) of matrix i that lie within a thread's range. */
static void part_of(const lk_linear_state *s, int thread, int i, int64_t *begin, int64_t *end) {
    int64_t first = 0, n_rows = s->call.op->w[i].n_rows;
    for (int j = 0; j < i; j++)
        first += s->call.op->w[j].n_rows;
    *begin = s->cuts[thread] - first;
    *end = s->cuts[thread + 1] - first;
    *begin = *begin < 0 ? 0 : *begin > n_rows ? n_rows : *begin;
    *end = *end < 0 ? 0 : *end > n_rows ? n_rows : *end;
}

/* The row, counted through the matrices, before which a given number of bytes lie; whole cache
 * lines of y. */
static int64_t row_at(const lk_linear *op, int64_t bytes) {
    int64_t row = 0;
    for (int i = 0; i < lk_n_cut(op); i++) {
        const lk_matrix *w = &op->w[i];
        int64_t size = w->n_rows * w->row_bytes;
        if (bytes < size)
            return row + bytes / w->row_bytes / 16 * 16;
        bytes -= size;
        row += w->n_rows;
    }
    return row;
}

void lk_linear_cut_dots(lk_linear_state *s) {
    const lk_linear *op = s->call.op;
    int64_t bytes = 0;
    for (int i = 0; i < lk_n_cut(op); i++)
        bytes += op->w[i].n_rows * op->w[i].row_bytes;
    s->cuts[0] = s->firsts[0] = 0;
    for (int t = 0; t < s->n_threads; t++)
        s->cuts[t + 1] =
            row_at(op, bytes / s->n_threads * (t + 1) + (t + 1 == s->n_threads) * bytes);
    lk_split_init(&s->pieces, 0, 1, s->n_threads);
    for (int t = 0; t < s->n_threads; t++) {
        int64_t n = 0, begin, end;
        for (int i = 0; i < lk_n_cut(op); i++) {
            part_of(s, t, i, &begin, &end);
            n += pieces_among(op, i, end - begin);
        }
        s->firsts[t + 1] = s->firsts[t] + n;
        lk_split_set(&s->pieces, t, s->firsts[t], s->firsts[t + 1]);
    }
}

static lk_dot_piece find_piece(const lk_linear_state *s, int64_t number) {
    const lk_linear *op = s->call.op;
    int thread = 0, i = 0;
    while (number >= s->firsts[thread + 1])
        thread++;
    number -= s->firsts[thread];
    int64_t begin, end;
    for (;; i++) {
        part_of(s, thread, i, &begin, &end);
        int64_t n = pieces_among(op, i, end - begin);
        if (number < n)
            break;
        number -= n;
    }
    int64_t rows = stream_rows(op, end - begin), first = number * lk_dot_piece_rows(&op->w[i]);
    if (first >= rows) /* the odd row */
        return (lk_dot_piece){i, {end - 1, -1}, 1};
    int64_t n =
        rows - first < lk_dot_piece_rows(&op->w[i]) ? rows - first : lk_dot_piece_rows(&op->w[i]);
    int64_t far = lk_is_gated(op) ? begin : begin + rows;
    return (lk_dot_piece){i, {begin + first, far + first}, (int)n};
}

void lk_dot_rows(const lk_linear_call *c, char *copy, const lk_matrix *const w[2],
                 const int64_t row[2], int n, float *const y[2], ptrdiff_t y_stride) {
    const lk_linear_kernels *kernels = lk_linear_kernels_of(w[0]->type);
    lk_dot d = {
        .w = {(const char *)w[0]->data + row[0] * w[0]->row_bytes,
              w[1] ? (const char *)w[1]->data + row[1] * w[1]->row_bytes : NULL},
        .y = {y[0], y[1]},
        .x = lk_linear_floats(c, copy),
        .w_stride = w[0]->row_bytes,
        .x_stride = c->op->k * sizeof(float),
        .y_stride = y_stride,
        .k = c->op->k,
        .rows = n,
        .cols = c->n_tokens,
    };
    if (lk_is_quantised(w[0])) {
        d.x = copy + c->at.act[kernels->order];
        d.x_stride = c->at.act_stride;
    }
    ((lk_dot_fn)lk_kernel(kernels->dot))(&d);
    for (int j = 0; j < 2; j++)
        if (w[j] && w[j]->bias)
            lk_linear_add_bias(y[j], y_stride, w[j]->bias + row[j], n, c->n_tokens);
}

static void gated(const lk_linear_call *c, char *copy, float *up, const lk_dot_piece *p) {
    const lk_matrix *gate_w = c->op->w, *up_w = gate_w + 1;
    ptrdiff_t stride = gate_w->n_rows;
    float *gate = c->y[0] + p->row[0];
    if (gate_w->type == up_w->type && c->n_tokens == 1) {
        lk_dot_rows(c, copy, (const lk_matrix *const[2]){gate_w, up_w}, p->row, p->n,
                    (float *const[2]){gate, up}, LK_DOT_PIECE_ROWS);
    } else {
        lk_dot_rows(c, copy, (const lk_matrix *const[2]){gate_w, NULL}, p->row, p->n,
                    (float *const[2]){gate, NULL}, stride);
        lk_dot_rows(c, copy, (const lk_matrix *const[2]){up_w, NULL}, p->row, p->n,
                    (float *const[2]){up, NULL}, LK_DOT_PIECE_ROWS);
    }
    for (int t = 0; t < c->n_tokens; t++)
        lk_linear_activate(c->op, gate + t * stride, up + t * LK_DOT_PIECE_ROWS, p->n);
}

void lk_dot_run(const lk_linear_call *c, char *copy, float *other, const lk_dot_piece *p) {
    if (lk_is_gated(c->op)) {
        gated(c, copy, other, p);
        return;
    }
    const lk_matrix *w = &c->op->w[p->matrix];
    const lk_matrix *const both[2] = {w, p->row[1] < 0 ? NULL : w};
    ptrdiff_t stride = w->n_rows;
    float *const y[2] = {c->y[p->matrix] + p->row[0], c->y[p->matrix] + p->row[1]};
    if (c->op->epilogue != LK_ADD) {
        lk_dot_rows(c, copy, both, p->row, p->n, y, stride);
        for (int j = 0; j < 2 && both[j] && lk_is_activated(c->op); j++)
            for (int t = 0; t < c->n_tokens; t++)
                lk_linear_activate(c->op, y[j] + t * stride, NULL, p->n);
        return;
    }
    float *const part[2] = {other, other + (ptrdiff_t)c->n_tokens * LK_DOT_PIECE_ROWS};
    lk_dot_rows(c, copy, both, p->row, p->n, part, LK_DOT_PIECE_ROWS);
    for (int j = 0; j < 2 && both[j]; j++)
        for (int t = 0; t < c->n_tokens; t++)
            for (int r = 0; r < p->n; r++)
                y[j][t * stride + r] += part[j][t * LK_DOT_PIECE_ROWS + r];
}

void lk_linear_dots(void *state, int thread, int n_threads) {
    (void)n_threads;
    lk_linear_state *s = state;
    char *copy = lk_linear_copy(s, thread);
    float *other = (float *)(lk_linear_own(s, thread) + s->call.at.other);
    if (s->call.n_tokens == 1) /* cheaper for every thread than a barrier behind one of them */
        lk_linear_prepare(&s->call, copy, 0);
    int64_t begin, end;
    while (lk_split_take(&s->pieces, thread, &begin, &end)) {
        const lk_dot_piece p = find_piece(s, begin);
        lk_dot_run(&s->call, copy, other, &p);
    }
}
