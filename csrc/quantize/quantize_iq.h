/*
 * Encoders of the types whose codes are points of a lattice: IQ1 to IQ3 (blocks.h, iq_quants.h).
 * Every four or eight weights x become a point p, times a scale s = d k, k odd, of 16 or 32
 * weights.
 *
 * With weights w of the squared errors that of a point is a constant and s^2 sum w p^2 - 2 s sum w
 * x p. Neither sum depends on the scale: they are computed once for all points, so a scale that is
 * tried costs three operations a point, and the best point is found among all. For points that are
 * given, the best scale is sum w x p / sum w p^2. Signs are taken off first; where their number has
 * to be even, the weight that it costs least takes the wrong one.
 *
 * Lanes are points: each is computed alone, and of equal ones the first is taken, so all levels
 * give the same bits. Include it after groups.h.
 */
#ifndef QUANTIZE_IQ_H
#define QUANTIZE_IQ_H

#include <string.h>

#include "../iq_quants.h"
#include "../lk.h"

#define POINTS_MAX 4096 /* IQ1: each of its points shifted up, and down */
#define SHIFTED 2048    /* where those shifted down begin */
#define PARTS_MAX 8     /* points of a sub-block */

/* What a type is made of. */
typedef struct {
    lk_iq_type type;
    int n_points, dims; /* points, and weights that are one */
    int width;          /* weights that share a scale */
    int k_max;          /* the largest k */
    int has_signs, is_even;
    float unit; /* d is this times the half float */
} iq_kind;

typedef struct {
    int n, dims;
    float largest;
    _Alignas(64) float at[8][POINTS_MAX]; /* by element */
} iq_book;

/* Of a part of a sub-block, for every point. */
typedef struct {
    _Alignas(64) float xp2[POINTS_MAX]; /* 2 sum w x p */
    _Alignas(64) float pp[POINTS_MAX];  /* sum w p^2 */
} iq_sums;

typedef struct {
    int point[PARTS_MAX];
    float xp2, pp; /* sums over the parts */
} iq_choice;

typedef struct {
    iq_book book;
    iq_sums sums[PARTS_MAX];
    float x[256], w[256]; /* a super-block, without signs */
    uint8_t signs[32];
    iq_choice chosen[16];
    int k[16];
} iq_room;

static iq_kind iq_kind_of(lk_iq_type type) {
    switch (type) {
    case LK_IQ_iq3_xxs:
        return (iq_kind){type, 256, 4, 32, 31, 1, 1, 0.25f};
    case LK_IQ_iq3_s:
        return (iq_kind){type, 512, 4, 32, 31, 1, 0, 1.0f};
    case LK_IQ_iq2_xxs:
        return (iq_kind){type, 256, 8, 32, 31, 1, 1, 0.125f};
    case LK_IQ_iq2_xs:
        return (iq_kind){type, 512, 8, 16, 31, 1, 1, 0.125f};
    case LK_IQ_iq2_s:
        return (iq_kind){type, 1024, 8, 16, 31, 1, 0, 0.125f};
    case LK_IQ_iq1_s:
        return (iq_kind){type, 4096, 8, 32, 15, 0, 0, 0.125f};
    default:
        return (iq_kind){type, 4096, 8, 16, 15, 0, 0, 0.125f};
    }
}

static float iq_element(const iq_kind *kind, int point, int j) {
    switch (kind->type) {
    case LK_IQ_iq3_xxs:
        return (float)(lk_grid_iq3_xxs[point] >> 8 * j & 255);
    case LK_IQ_iq3_s:
        return (float)(lk_grid_iq3_s[point] >> 8 * j & 255);
    case LK_IQ_iq2_xxs:
        return (float)(lk_grid_iq2_xxs[point] >> 8 * j & 255);
    case LK_IQ_iq2_xs:
        return (float)(lk_grid_iq2_xs[point] >> 8 * j & 255);
    case LK_IQ_iq2_s:
        return (float)(lk_grid_iq2_s[point] >> 8 * j & 255);
    default:
        return (float)(lk_grid_iq1_s[point % SHIFTED] >> 8 * j & 255) - 128.0f -
               (point < SHIFTED ? 0.0f : 2.0f);
    }
}

static void iq_open(iq_book *book, const iq_kind *kind) {
    book->n = kind->n_points;
    book->dims = kind->dims;
    book->largest = 0.0f;
    for (int j = 0; j < book->dims; j++)
        for (int i = 0; i < book->n; i++) {
            book->at[j][i] = iq_element(kind, i, j);
            if (book->at[j][i] > book->largest)
                book->largest = book->at[j][i];
        }
}

/* ---- points -------------------------------------------------------------------------------- */

static void iq_sum(iq_sums *sums, const iq_book *book, const float *x, const float *w) {
    for (int c = 0; c < book->n; c += LANES) {
        vec xp = v_all(0.0f), pp = v_all(0.0f);
        for (int j = 0; j < book->dims; j++) {
            const vec p = v_load(&book->at[j][c]);
            xp = v_add(xp, v_mul(v_all(2.0f * w[j] * x[j]), p));
            pp = v_add(pp, v_mul(v_mul(v_all(w[j]), p), p));
        }
        v_store(&sums->xp2[c], xp);
        v_store(&sums->pp[c], pp);
    }
}

/* The point of [first, end) with the smallest error at a scale s > 0. */
static int iq_nearest(const iq_sums *sums, int first, int end, float s) {
    float least[LANES], at[LANES];
    vec best = v_all(INFINITY), best_at = v_all(0.0f);
    for (int c = first; c < end; c += LANES) {
        const vec error = v_sub(v_mul(v_all(s), v_load(&sums->pp[c])), v_load(&sums->xp2[c]));
        const lane_mask less = v_greater(best, error);
        best = v_select(less, error, best);
        best_at = v_select(less, v_all((float)c), best_at);
    }
    v_store(least, best);
    v_store(at, best_at);
    int chosen = (int)at[0];
    for (int l = 1; l < LANES; l++)
        if (least[l] < least[0] || (least[l] == least[0] && (int)at[l] + l < chosen)) {
            least[0] = least[l];
            chosen = (int)at[l] + l;
        }
    return chosen;
}

static iq_choice iq_choose(const iq_sums *sums, int n_parts, int first, int end, float s) {
    iq_choice choice = {.xp2 = 0.0f};
    for (int i = 0; i < n_parts; i++) {
        const int point = choice.point[i] = iq_nearest(&sums[i], first, end, s);
        choice.xp2 += sums[i].xp2[point];
        choice.pp += sums[i].pp[point];
    }
    return choice;
}

/* What a choice errs at a scale, less than the sum of squares. */
LK_INLINE float iq_error(const iq_choice *c, float s) {
    return s * (s * c->pp - c->xp2);
}

/* The best points of a sub-block. IQ1_S shifts all of them up, or all down. */
static iq_choice iq_points(const iq_room *room, const iq_kind *kind, float s) {
    const int n_parts = kind->width / kind->dims;
    if (kind->type != LK_IQ_iq1_s)
        return iq_choose(room->sums, n_parts, 0, kind->n_points, s);
    const iq_choice up = iq_choose(room->sums, n_parts, 0, SHIFTED, s);
    const iq_choice down = iq_choose(room->sums, n_parts, SHIFTED, POINTS_MAX, s);
    return iq_error(&down, s) < iq_error(&up, s) ? down : up;
}

/* ---- scales -------------------------------------------------------------------------------- */

static void iq_prepare(iq_room *room, const iq_kind *kind, int sub_block) {
    const int first = sub_block * kind->width;
    for (int i = 0; i < kind->width / kind->dims; i++)
        iq_sum(&room->sums[i], &room->book, room->x + first + i * kind->dims,
               room->w + first + i * kind->dims);
}

/* The best points of a sub-block at the best scale, whatever it is. */
static iq_choice iq_search(const iq_room *room, const iq_kind *kind, int sub_block) {
    static const float shares[] = {1.0f,  0.92f, 0.84f, 0.76f, 0.68f, 0.6f,
                                   0.52f, 0.44f, 1.1f,  1.25f, 0.36f};
    const float *x = room->x + sub_block * kind->width;
    float size = 0.0f, least = 0.0f;
    for (int j = 0; j < kind->width; j++)
        size = fabsf(x[j]) > size ? fabsf(x[j]) : size;
    iq_choice best = {.xp2 = 0.0f};
    if (size <= SMALLEST)
        return best;
    for (int i = 0; i < (int)(sizeof shares / sizeof *shares); i++) {
        float s = shares[i] * size / room->book.largest;
        for (int pass = 0; pass < 2; pass++) {
            const iq_choice choice = iq_points(room, kind, s);
            if (!(choice.xp2 > 0.0f && choice.pp > 0.0f))
                break;
            const float error = -0.25f * choice.xp2 * choice.xp2 / choice.pp;
            if (!(error < least))
                break; /* no better than what was found from elsewhere */
            least = error;
            best = choice;
            s = 0.5f * choice.xp2 / choice.pp;
        }
    }
    return best;
}

LK_INLINE int iq_odd(const iq_kind *kind, float k) {
    const int odd = 2 * (int)(0.5f * k) + 1; /* of k to k + 2 the odd one next to k */
    return odd < 1 ? 1 : odd > kind->k_max ? kind->k_max : odd;
}

LK_INLINE float iq_best_scale(const iq_choice *c) {
    return c->pp > 0.0f ? 0.5f * c->xp2 / c->pp : 0.0f;
}

/* A scale d of the super-block that suits the sub-blocks' own. */
static float iq_first_scale(const iq_room *room, const iq_kind *kind, int n) {
    float most = 0.0f, best = 0.0f, least = 0.0f;
    for (int b = 0; b < n; b++)
        most = iq_best_scale(&room->chosen[b]) > most ? iq_best_scale(&room->chosen[b]) : most;
    for (int i = 0; i < 16; i++) {
        const float d = (0.8f + 0.025f * (float)i) * most / (float)kind->k_max;
        float error = 0.0f;
        for (int b = 0; b < n && d > 0.0f; b++) {
            const int k = iq_odd(kind, iq_best_scale(&room->chosen[b]) / d);
            error += iq_error(&room->chosen[b], d * (float)k);
        }
        if (error < least) {
            least = error;
            best = d;
        }
    }
    return best;
}

/* Points and k of all sub-blocks for a scale that is given; their error. */
static float iq_settle(iq_room *room, const iq_kind *kind, float d, int n) {
    float total = 0.0f;
    for (int b = 0; b < n; b++) {
        const int middle = iq_odd(kind, iq_best_scale(&room->chosen[b]) / d);
        float least = INFINITY;
        iq_prepare(room, kind, b);
        for (int k = middle - 2; k <= middle + 2; k += 2) {
            if (k < 1 || k > kind->k_max)
                continue;
            const float s = d * (float)k;
            const iq_choice choice = iq_points(room, kind, s);
            if (iq_error(&choice, s) < least) {
                least = iq_error(&choice, s);
                room->chosen[b] = choice;
                room->k[b] = k;
            }
        }
        total += least;
    }
    return total;
}

/* Finds d (a half float), k and points of a super-block. */
static uint16_t iq_solve(iq_room *room, const iq_kind *kind) {
    const int n = 256 / kind->width;
    for (int b = 0; b < n; b++) {
        iq_prepare(room, kind, b);
        room->chosen[b] = iq_search(room, kind, b);
    }
    float d = iq_first_scale(room, kind, n), least = INFINITY;
    uint16_t best = 0;
    iq_choice chosen[16];
    int k[16];
    for (int pass = 0; pass < 3; pass++) {
        const uint16_t half = to_half(d / kind->unit);
        const float stored = kind->unit * lk_f16_to_f32(half);
        if (!(stored > 0.0f))
            break;
        const float error = iq_settle(room, kind, stored, n);
        if (!(error < least))
            break;
        least = error;
        best = half;
        memcpy(chosen, room->chosen, sizeof chosen);
        memcpy(k, room->k, sizeof k);
        float xp = 0.0f, pp = 0.0f;
        for (int b = 0; b < n; b++) {
            xp += 0.5f * (float)k[b] * chosen[b].xp2;
            pp += (float)(k[b] * k[b]) * chosen[b].pp;
        }
        d = pp > 0.0f ? xp / pp : 0.0f;
    }
    if (best) {
        memcpy(room->chosen, chosen, sizeof chosen);
        memcpy(room->k, k, sizeof k);
    }
    return best;
}

/* ---- super-blocks --------------------------------------------------------------------------- */

/* Takes off the signs of eight weights; returns them, the first in the lowest bit. */
static uint8_t iq_take_signs(float *x, const float *w, int is_even) {
    unsigned signs = 0, n = 0;
    int cheapest = 0;
    for (int j = 0; j < 8; j++)
        if (x[j] < 0.0f) {
            signs |= 1u << j;
            x[j] = -x[j];
            n++;
        }
    if (!is_even || n % 2 == 0)
        return (uint8_t)signs;
    for (int j = 1; j < 8; j++)
        if (w[j] * x[j] < w[cheapest] * x[cheapest])
            cheapest = j;
    x[cheapest] = -x[cheapest];
    return (uint8_t)(signs ^ 1u << cheapest);
}

static void iq_load(iq_room *room, const iq_kind *kind, const float *x, const float *importance,
                    float sigma2) {
    for (int j = 0; j < 256; j++) {
        room->x[j] = x[j];
        room->w[j] = (importance ? importance[j] : 1.0f) * sqrtf(sigma2 + x[j] * x[j]);
    }
    for (int i = 0; i < 32 && kind->has_signs; i++)
        room->signs[i] = iq_take_signs(room->x + 8 * i, room->w + 8 * i, kind->is_even);
}

#include "quantize_iq_blocks.h"

static void quantize_iq(lk_iq_type type, void *dst, const float *x, const float *importance,
                        int k) {
    const iq_kind kind = iq_kind_of(type);
    const size_t bytes = iq_block_bytes(type);
    const float sigma2 = mean_square(x, k);
    iq_room room;
    iq_open(&room.book, &kind);
    for (int i = 0; i < k / 256; i++) {
        iq_load(&room, &kind, x + 256 * i, importance ? importance + 256 * i : NULL, sigma2);
        uint8_t *block = (uint8_t *)dst + (size_t)i * bytes;
        memset(block, 0, bytes);
        const uint16_t d = iq_solve(&room, &kind);
        if (d)
            iq_write(type, block, &room, d);
    }
}

#endif
