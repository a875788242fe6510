/* What the parts of op_linear share: a run, and where everything lies in its scratch. */
#ifndef LK_OP_LINEAR_H
#define LK_OP_LINEAR_H

#include "norm.h"
#include "pool.h"
#include "scratch.h"

#define LK_TILES_PER_PIECE 8 /* weight rows that a thread unpacks at a time, in tiles */
#define LK_K_PER_TILE                                                                              \
    2048 /* eight tiles of 32 KB and half a panel of 36 KB at a time: L2 and L1                    \
          */
#define LK_DOT_PIECE_ROWS 256 /* the most rows of a stream that a thread takes at a time */

/* Kernel slots and tile parameters of a weight type. */
typedef struct {
    int16_t dot, skinny, unpack, gemm; /* -1 for float types, which have dots alone */
    uint8_t order;                     /* lk_act_order of the dot */
    uint8_t q_max, has_min;            /* of the tile */
} lk_linear_kernels;

typedef struct {
    int is_prompt;
    int keeps_floats;  /* the input is kept as floats, too: normalised, or gathered */
    int n_panels;      /* of a prompt, if some weights are quantised */
    size_t act_stride; /* bytes; 0: no weights are quantised */
    size_t normed, act[2], panels, copy; /* offsets inside a copy (act by order), and its size */
    size_t other, q, start, scale, min, own; /* offsets inside a thread's own part, and its size */
} lk_linear_layout;

/* What is multiplied: whose threads and memory it is, others decide. */
typedef struct {
    const lk_linear *op;
    const float *x;      /* (n_tokens, k) */
    const int32_t *rows; /* (n_tokens) where they lie among the rows of x; NULL: in order */
    float *const *y;
    lk_linear_layout at;
    int n_tokens;
} lk_linear_call;

/* A call on the threads of the pool. */
typedef struct {
    lk_linear_call call;
    char *scratch;
    int n_copies; /* of the prepared activations: one per thread, or one for all */
    int n_threads;
    lk_split tokens, pieces;
    int64_t cuts[LK_MAX_THREADS + 1];   /* dots: thread t has rows cuts[t] .. cuts[t + 1] */
    int64_t firsts[LK_MAX_THREADS + 1]; /* and pieces firsts[t] .. firsts[t + 1] */
} lk_linear_state;

const lk_linear_kernels *lk_linear_kernels_of(int type);

/* Whether so many tokens are a prompt at the active level, and the layout of a call's memory. */
int lk_linear_is_prompt(int n_tokens);
lk_linear_layout lk_linear_lay_out(const lk_linear *op, int n_tokens, int gathers, int is_prompt);
/* The most that a call of up to n_tokens takes of a thread's own part, at whatever level. */
size_t lk_linear_own_bytes(const lk_linear *op, int n_tokens);
/* How many threads are useful for reading so many bytes. */
int lk_useful_threads(int64_t bytes, int n_threads);

/* The last panel's missing columns count as zero: before its tokens are prepared. */
void lk_linear_clear(const lk_linear_call *c, char *copy);
/* Normalise and quantise one token into a copy. */
void lk_linear_prepare(const lk_linear_call *c, char *copy, int token);

LK_INLINE char *lk_linear_copy(const lk_linear_state *s, int thread) {
    return s->scratch + (s->n_copies > 1 ? thread * s->call.at.copy : 0);
}
LK_INLINE char *lk_linear_own(const lk_linear_state *s, int thread) {
    return s->scratch + s->n_copies * s->call.at.copy + thread * s->call.at.own;
}
/* Where float weights find their inputs. */
LK_INLINE const float *lk_linear_floats(const lk_linear_call *c, const char *copy) {
    return c->at.keeps_floats ? (const float *)(copy + c->at.normed) : c->x;
}
LK_INLINE int lk_is_quantised(const lk_matrix *w) {
    return lk_linear_kernels_of(w->type)->unpack >= 0;
}

/* Whether the epilogue makes one output of two matrices, whose rows go along with each other. */
LK_INLINE int lk_is_gated(const lk_linear *op) {
    return op->epilogue == LK_SWIGLU || op->epilogue == LK_GEGLU || op->epilogue == LK_SWIGLU_OAI;
}
/* Matrices whose rows are cut into pieces: those of up go along with gate's. */
LK_INLINE int lk_n_cut(const lk_linear *op) {
    return lk_is_gated(op) ? 1 : op->n_w;
}
/* Whether its one output goes through an activation. */
LK_INLINE int lk_is_activated(const lk_linear *op) {
    return op->epilogue == LK_GELU || op->epilogue == LK_GELU_ERF;
}
/* y (n) = the activation of y, times up where it is gated; up is overwritten. */
void lk_linear_activate(const lk_linear *op, float *y, float *up, int n);

/* y (n_tokens rows, y_stride floats apart) += bias */
void lk_linear_add_bias(float *y, ptrdiff_t y_stride, const float *bias, int n, int n_tokens);

/* ---- few tokens: dots --------------------------------------------------------------------- */

/* Consecutive rows of one or two streams. */
typedef struct {
    int matrix;     /* of the first stream; gate stands for up */
    int64_t row[2]; /* the second is -1 where there is no second stream */
    int n;
} lk_dot_piece;

int lk_dot_piece_rows(const lk_matrix *w);
/* y[j] (n_tokens rows, y_stride floats apart) = n rows from row[j] of w[j] on, and their bias;
 * w[1] may be NULL. */
void lk_dot_rows(const lk_linear_call *c, char *copy, const lk_matrix *const w[2],
                 const int64_t row[2], int n, float *const y[2], ptrdiff_t y_stride);
/* A piece with its epilogue; other: a thread's own room. */
void lk_dot_run(const lk_linear_call *c, char *copy, float *other, const lk_dot_piece *p);

void lk_linear_cut_dots(lk_linear_state *s);
void lk_linear_dots(void *state, int thread, int n_threads);

/* ---- a prompt: tiles ---------------------------------------------------------------------- */

#define LK_PIECE_ROWS (LK_TILES_PER_PIECE * LK_TILE_ROWS)

/* y (n_tokens rows, y_stride floats apart) = rows [r0, r0 + n) of w times all tokens, plus the
 * bias; n <= LK_PIECE_ROWS, own: the thread's. */
void lk_tile_rows(const lk_linear_call *c, const lk_matrix *w, char *copy, char *own, int64_t r0,
                  int n, float *y, ptrdiff_t y_stride);
/* The same rows of matrix i with the epilogue. */
void lk_tile_run(const lk_linear_call *c, int i, char *copy, char *own, int64_t r0, int n);

void lk_linear_cut_tiles(lk_linear_state *s);
void lk_linear_tiles(void *state, int thread, int n_threads);

#endif
