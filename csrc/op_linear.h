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
    int n_copies;      /* of the prepared activations: one per thread, or one for all */
    int n_panels;      /* of a prompt, if some weights are quantised */
    size_t act_stride; /* bytes; 0: no weights are quantised */
    size_t normed, act[2], panels, copy; /* offsets inside a copy (act by order), and its size */
    size_t other, q, start, scale, min, own; /* offsets inside a thread's own part, and its size */
    size_t total;
} lk_linear_layout;

typedef struct {
    const lk_linear *op;
    const float *x;
    float *const *y;
    char *scratch;
    lk_linear_layout at;
    int n_tokens, n_threads;
    lk_split tokens, pieces;
    int64_t cuts[LK_MAX_THREADS + 1];   /* dots: thread t has rows cuts[t] .. cuts[t + 1] */
    int64_t firsts[LK_MAX_THREADS + 1]; /* and pieces firsts[t] .. firsts[t + 1] */
} lk_linear_state;

const lk_linear_kernels *lk_linear_kernels_of(int type);

/* Normalise and quantise one token into a copy. */
void lk_linear_prepare(const lk_linear_state *s, char *copy, int token);

LK_INLINE char *lk_linear_copy(const lk_linear_state *s, int thread) {
    return s->scratch + (s->at.n_copies > 1 ? thread * s->at.copy : 0);
}
LK_INLINE char *lk_linear_own(const lk_linear_state *s, int thread) {
    return s->scratch + s->at.n_copies * s->at.copy + thread * s->at.own;
}
LK_INLINE int lk_is_quantised(const lk_matrix *w) {
    return lk_linear_kernels_of(w->type)->unpack >= 0;
}

/* Whether the epilogue makes one output of two matrices, whose rows go along with each other. */
LK_INLINE int lk_is_gated(const lk_linear *op) {
    return op->epilogue == LK_SWIGLU || op->epilogue == LK_GEGLU;
}
/* Matrices whose rows are cut into pieces: those of up go along with gate's. */
LK_INLINE int lk_n_cut(const lk_linear *op) {
    return lk_is_gated(op) ? 1 : op->n_w;
}
/* y (n) = the activation of y, times up where it is gated. */
LK_INLINE void lk_activate(const lk_linear *op, float *y, const float *up, int n) {
    if (op->epilogue == LK_SWIGLU)
        LK_CALL(lk_swiglu_fn, swiglu)(y, y, up, n);
    else
        LK_CALL(lk_geglu_fn, geglu)(y, y, up, n);
}

/* y (n_tokens rows, y_stride floats apart) += bias */
void lk_linear_add_bias(float *y, ptrdiff_t y_stride, const float *bias, int n, int n_tokens);

/* Few tokens: how the rows are cut, and the phase that multiplies. */
void lk_linear_cut_dots(lk_linear_state *s);
void lk_linear_dots(void *state, int thread, int n_threads);
/* A prompt. */
void lk_linear_cut_tiles(lk_linear_state *s);
void lk_linear_tiles(void *state, int thread, int n_threads);

#endif
