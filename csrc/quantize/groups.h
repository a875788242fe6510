/*
 * Groups of 16 or 32 weights, and the least squares that choose their scales.
 *
 * A group is a row of values x that share a scale d, and an offset m where the type has one: it is
 * stored as codes q, with x ~ d q + m. Groups are independent, so 16 of them are laid side by side
 * (element-major), LANES of which make a vector: nothing is ever added across lanes, and every
 * level computes the same bits. Include it after the lanes of the level.
 *
 * For codes that are given, the best scale is a weighted least-squares fit; for a scale that is
 * given, the best codes are the nearest. A pass does one after the other: it takes (d, m), rounds
 * r = (x - m) / d - q, and fits the correction of (d, m) to the residuals r. Residuals, not values,
 * are what is summed: with 8-bit codes sums of squares of values would cancel to nothing. Repeated
 * passes never increase the error; starting points are spread over what is plausible, as the
 * error has many local minima.
 */
#ifndef QUANTIZE_GROUPS_H
#define QUANTIZE_GROUPS_H

#include "../half.h"

#define GROUPS 16
#define GROUP_MAX 32
#define HALF_MAX 65504.0f
#define SMALLEST 0x1p-30f /* far below what any scale can express: a group of such is zero */
#define TINY 1e-30f

typedef struct {
    _Alignas(64) float x[GROUP_MAX][GROUPS];
    _Alignas(64) float w[GROUP_MAX][GROUPS]; /* weights of the squared errors */
    _Alignas(64) float q[GROUP_MAX][GROUPS]; /* codes, whole numbers */
    int n;                                   /* elements of a group: 16 or 32 */
} groups;

/* What codes there are: all whole numbers from lo to hi, or the 16 values of a book, ascending. */
typedef struct {
    float lo, hi;
    const int8_t *book;
} grid;

LK_INLINE vec nearest(const grid g, vec t) {
    if (!g.book)
        return v_round(v_min(v_max(t, v_all(g.lo)), v_all(g.hi)));
    vec code = v_all(g.book[0]);
    LK_UNROLL
    for (int i = 1; i < 16; i++) {
        const vec middle = v_all(0.5f * (float)(g.book[i - 1] + g.book[i]));
        code = v_select(v_greater(t, middle), v_all(g.book[i]), code);
    }
    return code;
}

/* Values of a book in g->q become their places in it. */
LK_INLINE void find_places(groups *g, const int8_t *book) {
    for (int j = 0; j < g->n; j++)
        for (int c = 0; c < GROUPS; c += LANES) {
            const vec value = v_load(&g->q[j][c]);
            vec place = v_all(0.0f);
            LK_UNROLL
            for (int i = 0; i < 15; i++)
                place = v_select(v_greater(value, v_all(book[i])), v_all((float)(i + 1)), place);
            v_store(&g->q[j][c], place);
        }
}

LK_INLINE vec v_inverse(vec d) {
    const vec size = v_max(d, v_sub(v_all(0.0f), d));
    const vec usable = v_select(v_greater(size, v_all(TINY)), d, v_all(1.0f));
    return v_select(v_greater(size, v_all(TINY)), v_div(v_all(1.0f), usable), v_all(0.0f));
}

/* ---- loading ------------------------------------------------------------------------------- */

/* The mean of the squares of a row, in 16 partial sums whatever the level. */
LK_INLINE float mean_square(const float *x, int k) {
    float sum[16] = {0}, total = 0.0f;
    for (int i = 0; i < k; i += 16)
        for (int j = 0; j < 16; j++)
            sum[j] += x[i + j] * x[i + j];
    for (int j = 0; j < 16; j++)
        total += sum[j];
    return total / (float)k;
}

/*
 * Lays out the groups that begin at x, as many as there are of 16; the others are zero. Squared
 * errors weigh importance * sqrt(sigma2 + x^2), sigma2 being the mean square of the row: what a
 * column's inputs amplify, and large values somewhat more: what a model says changes less so.
 */
LK_INLINE void load_groups(groups *g, const float *x, const float *importance, float sigma2,
                           int n_groups) {
    const int n = g->n;
    for (int lane = 0; lane < GROUPS; lane++)
        for (int j = 0; j < n; j++) {
            const int there = lane < n_groups;
            g->x[j][lane] = there ? x[lane * n + j] : 0.0f;
            g->w[j][lane] = !there ? 0.0f : importance ? importance[lane * n + j] : 1.0f;
        }
    for (int j = 0; j < n; j++)
        for (int c = 0; c < GROUPS; c += LANES) {
            const vec v = v_load(&g->x[j][c]);
            const vec size = v_sqrt(v_add(v_all(sigma2), v_mul(v, v)));
            v_store(&g->w[j][c], v_mul(v_load(&g->w[j][c]), size));
        }
}

/* ---- passes over LANES groups, from lane c on ------------------------------------------------ */

typedef struct {
    vec d, m, error; /* x ~ d q + m with this weighted sum of squared errors */
} fit;

LK_INLINE fit better(fit a, fit b) {
    const lane_mask is_b = v_greater(a.error, b.error);
    return (fit){v_select(is_b, b.d, a.d), v_select(is_b, b.m, a.m),
                 v_select(is_b, b.error, a.error)};
}

/* A pass without offset. */
LK_INLINE fit pass_scale(const groups *g, int c, const grid codes, vec d) {
    const vec inverse = v_inverse(d);
    vec rr = v_all(0.0f), rq = v_all(0.0f), qq = v_all(0.0f);
    for (int j = 0; j < g->n; j++) {
        const vec t = v_mul(v_load(&g->x[j][c]), inverse), q = nearest(codes, t);
        const vec w = v_load(&g->w[j][c]), r = v_sub(t, q), wr = v_mul(w, r);
        rr = v_add(rr, v_mul(wr, r));
        rq = v_add(rq, v_mul(wr, q));
        qq = v_add(qq, v_mul(v_mul(w, q), q));
    }
    const vec a = v_div(rq, v_max(qq, v_all(TINY)));
    const vec error = v_mul(v_mul(d, d), v_sub(rr, v_mul(a, rq)));
    return (fit){v_add(d, v_mul(d, a)), v_all(0.0f), error};
}

/* A pass with offset, which `at_most_zero` may have to be. */
LK_INLINE fit pass_offset(const groups *g, int c, const grid codes, vec d, vec m,
                          const int at_most_zero) {
    const vec inverse = v_inverse(d), none = v_all(0.0f);
    vec rr = none, rq = none, qq = none, sr = none, sq = none, sw = none;
    for (int j = 0; j < g->n; j++) {
        const vec t = v_mul(v_sub(v_load(&g->x[j][c]), m), inverse), q = nearest(codes, t);
        const vec w = v_load(&g->w[j][c]), r = v_sub(t, q), wr = v_mul(w, r), wq = v_mul(w, q);
        rr = v_add(rr, v_mul(wr, r));
        rq = v_add(rq, v_mul(wr, q));
        qq = v_add(qq, v_mul(wq, q));
        sr = v_add(sr, wr);
        sq = v_add(sq, wq);
        sw = v_add(sw, w);
    }
    /* r ~ a q + b */
    const vec product = v_mul(sw, qq), determinant = v_sub(product, v_mul(sq, sq));
    const lane_mask regular = v_greater(determinant, v_mul(product, v_all(1e-4f)));
    const vec safe = v_select(regular, determinant, v_all(1.0f));
    vec a = v_select(regular, v_div(v_sub(v_mul(sw, rq), v_mul(sq, sr)), safe), none);
    vec b = v_select(regular, v_div(v_sub(v_mul(qq, sr), v_mul(sq, rq)), safe),
                     v_div(sr, v_max(sw, v_all(TINY))));
    if (at_most_zero) {
        const lane_mask above = v_greater(v_add(m, v_mul(d, b)), none);
        const vec back = v_sub(none, v_mul(m, inverse)); /* m + d b = 0 */
        b = v_select(above, back, b);
        const vec alone = v_div(v_sub(rq, v_mul(b, sq)), v_max(qq, v_all(TINY)));
        a = v_select(above, alone, a);
    }
    /* sum of w (r - a q - b)^2 */
    vec error = v_sub(v_mul(a, v_sub(v_mul(a, qq), v_add(rq, rq))), v_mul(v_add(b, b), sr));
    error = v_add(error, v_mul(b, v_add(v_mul(b, sw), v_mul(v_add(a, a), sq))));
    const vec d_next = v_add(d, v_mul(d, a));
    vec m_next = v_add(m, v_mul(d, b));
    if (at_most_zero)
        m_next = v_min(m_next, none);
    return (fit){d_next, m_next, v_mul(v_mul(d, d), v_add(rr, error))};
}

/* The error with a scale and an offset as they are, and the codes if they are wanted. */
LK_INLINE vec error_of(const groups *g, int c, const grid codes, vec d, vec m, float (*q)[GROUPS]) {
    const vec inverse = v_inverse(d);
    vec error = v_all(0.0f);
    for (int j = 0; j < g->n; j++) {
        const vec x = v_sub(v_load(&g->x[j][c]), m), code = nearest(codes, v_mul(x, inverse));
        const vec e = v_sub(x, v_mul(d, code));
        error = v_add(error, v_mul(v_mul(v_load(&g->w[j][c]), e), e));
        if (q)
            v_store(&q[j][c], code);
    }
    return error;
}

/* The offset that suits a scale: the mean of what the nearest codes leave over. */
LK_INLINE vec offset_for(const groups *g, int c, const grid codes, vec d, vec m) {
    const vec inverse = v_inverse(d);
    vec sum = v_all(0.0f), sw = v_all(0.0f);
    for (int j = 0; j < g->n; j++) {
        const vec x = v_load(&g->x[j][c]), w = v_load(&g->w[j][c]);
        const vec q = nearest(codes, v_mul(v_sub(x, m), inverse));
        sum = v_add(sum, v_mul(w, v_sub(v_sub(x, m), v_mul(d, q))));
        sw = v_add(sw, w);
    }
    return v_add(m, v_div(sum, v_max(sw, v_all(TINY))));
}

/* ---- searches ------------------------------------------------------------------------------ */

#define DESCENT 2 /* passes from the best start: more find next to nothing */

/* Scales d of all groups. The starts put the value of largest size on each of these codes. */
LK_INLINE void search_scales(float d[GROUPS], const groups *g, const grid codes,
                             const float *starts, int n_starts) {
    for (int c = 0; c < GROUPS; c += LANES) {
        vec extreme = v_all(0.0f), size = v_all(SMALLEST);
        for (int j = 0; j < g->n; j++) {
            const vec x = v_load(&g->x[j][c]), own = v_max(x, v_sub(v_all(0.0f), x));
            extreme = v_select(v_greater(own, size), x, extreme);
            size = v_max(size, own);
        }
        fit best = pass_scale(g, c, codes, v_div(extreme, v_all(starts[0])));
        for (int i = 1; i < n_starts; i++)
            best = better(best, pass_scale(g, c, codes, v_div(extreme, v_all(starts[i]))));
        for (int i = 0; i < DESCENT; i++)
            best = better(best, pass_scale(g, c, codes, best.d));
        v_store(&d[c], best.d);
    }
}

/*
 * Scales d and offsets m of all groups, codes 0..levels. The starts leave out each of these
 * fractions of the range of values at the bottom, and each at the top.
 */
LK_INLINE void search_offsets(float d[GROUPS], float m[GROUPS], const groups *g, const grid codes,
                              const float *cuts, int n_cuts, const int at_most_zero) {
    for (int c = 0; c < GROUPS; c += LANES) {
        vec low = v_load(&g->x[0][c]), high = low;
        for (int j = 1; j < g->n; j++) {
            low = v_min(low, v_load(&g->x[j][c]));
            high = v_max(high, v_load(&g->x[j][c]));
        }
        if (at_most_zero)
            low = v_min(low, v_all(0.0f));
        vec range = v_sub(high, low);
        range = v_select(v_greater(range, v_all(SMALLEST)), range, v_all(0.0f));
        const vec whole = v_div(range, v_all(codes.hi));
        fit best = pass_offset(g, c, codes, whole, low, at_most_zero);
        for (int i = 0; i < n_cuts * n_cuts; i++) {
            const vec bottom = v_all(cuts[i / n_cuts]),
                      left = v_all(1.0f - cuts[i / n_cuts] - cuts[i % n_cuts]);
            best = better(best, pass_offset(g, c, codes, v_mul(whole, left),
                                            v_add(low, v_mul(range, bottom)), at_most_zero));
        }
        for (int i = 0; i < DESCENT; i++)
            best = better(best, pass_offset(g, c, codes, best.d, best.m, at_most_zero));
        v_store(&d[c], best.d);
        v_store(&m[c], best.m);
    }
}

/* ---- half floats ----------------------------------------------------------------------------- */

/* The half float next to v; of those beyond the largest, that; of zeros, the positive one. */
LK_INLINE uint16_t to_half(float v) {
    const float bounded = v > HALF_MAX ? HALF_MAX : v < -HALF_MAX ? -HALF_MAX : v;
    const uint16_t half = lk_f32_to_f16(bounded);
    return half == 0x8000 ? 0 : half;
}

/* The half float `steps` further from zero, or nearer; itself at both ends. */
LK_INLINE uint16_t half_beside(uint16_t h, int steps) {
    const int magnitude = (h & 0x7fff) + steps;
    return magnitude < 0 || magnitude > 0x7bff ? h : (uint16_t)((h & 0x8000) | magnitude);
}

#endif
