/*
 * Encoders of the types whose codes are points of a lattice: IQ1 to IQ3 (blocks.h, iq_quants.h).
 * Every four or eight weights x become a point p, times a scale s = d k, k odd, of 16 or 32
 * weights.
 *
 * With weights w of the squared errors that of a point is a constant and s^2 sum w p^2 - 2 s sum w
 * x p, whose two sums do not depend on the scale. So all points are compared at a dozen scales at
 * once, and what was the best at any of them is all that is looked at from there on. For points
 * that are given, the best scale is sum w x p / sum w p^2. Signs are taken off first; where their
 * number has to be even, the weight that it costs least takes the wrong one.
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
#define TRIED 11        /* scales at which all points are compared */
#define AT_ONCE 64      /* points whose sums are in the nearest cache */

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
    float largest, smallest;              /* elements above zero */
    _Alignas(64) float at[8][POINTS_MAX]; /* by element */
} iq_book;

/* A point for a part of a sub-block. */
typedef struct {
    int point;
    float xp2, pp; /* 2 sum w x p, sum w p^2 */
} iq_candidate;

/* Points for all parts of a sub-block, and their sums. */
typedef struct {
    int point[PARTS_MAX];
    float xp2, pp;
} iq_choice;

typedef struct {
    iq_book book;
    iq_candidate candidates[16][PARTS_MAX][2][TRIED]; /* of sub-blocks: shifted down are apart */
    float x[256], w[256];                             /* a super-block, without signs */
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
    book->smallest = INFINITY;
    for (int j = 0; j < book->dims; j++)
        for (int i = 0; i < book->n; i++) {
            const float p = book->at[j][i] = iq_element(kind, i, j);
            if (p > book->largest)
                book->largest = p;
            if (p > 0.0f && p < book->smallest)
                book->smallest = p;
        }
}

/* ---- points -------------------------------------------------------------------------------- */

/* The sums of AT_ONCE points, from c on. */
LK_INLINE void iq_sum(float xp2[AT_ONCE], float pp[AT_ONCE], const iq_book *book, int c,
                      const float *x, const float *w) {
    for (int i = 0; i < AT_ONCE; i += LANES) {
        vec xp = v_all(0.0f), square = v_all(0.0f);
        for (int j = 0; j < book->dims; j++) {
            const vec p = v_load(&book->at[j][c + i]);
            xp = v_add(xp, v_mul(v_all(2.0f * w[j] * x[j]), p));
            square = v_add(square, v_mul(v_mul(v_all(w[j]), p), p));
        }
        v_store(xp2 + i, xp);
        v_store(pp + i, square);
    }
}

/* Point c with its sums, added up as iq_sum does. */
static iq_candidate iq_candidate_of(const iq_book *book, int c, const float *x, const float *w) {
    iq_candidate found = {c, 0.0f, 0.0f};
    for (int j = 0; j < book->dims; j++) {
        const float p = book->at[j][c];
        found.xp2 += 2.0f * w[j] * x[j] * p;
        found.pp += w[j] * p * p;
    }
    return found;
}

/* The first of the best points, where lane l has point at[l] + l. */
LK_INLINE int iq_first_best(const float error[LANES], const float at[LANES]) {
    int best = 0;
    for (int l = 1; l < LANES; l++)
        if (error[l] < error[best] ||
            (error[l] == error[best] && (int)at[l] + l < (int)at[best] + best))
            best = l;
    return (int)at[best] + best;
}

/* The points of [first, end) with the smallest errors at some scales. */
static void iq_compare(iq_candidate best[TRIED], const iq_book *book, int first, int end,
                       const float s[TRIED], const float *x, const float *w) {
    _Alignas(64) float xp2[AT_ONCE], pp[AT_ONCE];
    float error[TRIED][LANES], at[TRIED][LANES];
    for (int t = 0; t < TRIED; t++)
        for (int l = 0; l < LANES; l++) {
            error[t][l] = INFINITY;
            at[t][l] = (float)first;
        }
    for (int c = first; c < end; c += AT_ONCE) {
        iq_sum(xp2, pp, book, c, x, w);
        for (int t = 0; t < TRIED; t++) {
            vec least = v_load(error[t]), place = v_load(at[t]);
            for (int i = 0; i < AT_ONCE; i += LANES) {
                const vec e = v_sub(v_mul(v_all(s[t]), v_load(pp + i)), v_load(xp2 + i));
                const lane_mask less = v_greater(least, e);
                least = v_min(e, least);
                place = v_select(less, v_all((float)(c + i)), place);
            }
            v_store(error[t], least);
            v_store(at[t], place);
        }
    }
    for (int t = 0; t < TRIED; t++)
        best[t] = iq_candidate_of(book, iq_first_best(error[t], at[t]), x, w);
}

/* What a choice errs at a scale, less than the sum of squares. */
LK_INLINE float iq_error(const iq_choice *c, float s) {
    return s * (s * c->pp - c->xp2);
}

/* The best candidates of one kind of all parts. */
static iq_choice iq_choose(const iq_candidate (*parts)[2][TRIED], int n_parts, int down, float s) {
    iq_choice choice = {.xp2 = 0.0f};
    for (int i = 0; i < n_parts; i++) {
        const iq_candidate *c = parts[i][down], *best = c;
        for (int t = 1; t < TRIED; t++)
            if (s * c[t].pp - c[t].xp2 < s * best->pp - best->xp2)
                best = c + t;
        choice.point[i] = best->point;
        choice.xp2 += best->xp2;
        choice.pp += best->pp;
    }
    return choice;
}

/* The best points of a sub-block. IQ1_S shifts all of them up, or all down. */
static iq_choice iq_points(const iq_room *room, const iq_kind *kind, int sub_block, float s) {
    const int n_parts = kind->width / kind->dims;
    const iq_choice up = iq_choose(room->candidates[sub_block], n_parts, 0, s);
    if (kind->type != LK_IQ_iq1_s)
        return up;
    const iq_choice down = iq_choose(room->candidates[sub_block], n_parts, 1, s);
    return iq_error(&down, s) < iq_error(&up, s) ? down : up;
}

/* ---- scales -------------------------------------------------------------------------------- */

/* The candidates of a sub-block, and the best of them at the best scale, whatever it is. */
static iq_choice iq_search(iq_room *room, const iq_kind *kind, int sub_block) {
    static const float shares[TRIED - 1] = {0.34f, 0.43f, 0.52f, 0.61f, 0.7f,
                                            0.79f, 0.89f, 1.0f,  1.2f,  2.5f};
    const int first = sub_block * kind->width, apart = kind->type == LK_IQ_iq1_s;
    float size = SMALLEST, least = 0.0f, s[TRIED];
    for (int j = 0; j < kind->width; j++)
        size = fabsf(room->x[first + j]) > size ? fabsf(room->x[first + j]) : size;
    for (int t = 0; t < TRIED - 1; t++)
        s[t] = shares[t] * size / room->book.largest;
    s[TRIED - 1] = size / room->book.smallest; /* weights of equal size */
    for (int i = 0; i < kind->width / kind->dims; i++) {
        const float *x = room->x + first + i * kind->dims, *w = room->w + first + i * kind->dims;
        iq_candidate(*to)[TRIED] = room->candidates[sub_block][i];
        iq_compare(to[0], &room->book, 0, apart ? SHIFTED : kind->n_points, s, x, w);
        if (apart)
            iq_compare(to[1], &room->book, SHIFTED, POINTS_MAX, s, x, w);
    }
    iq_choice best = {.xp2 = 0.0f};
    for (int t = 0; t < TRIED; t++)
        for (int pass = 0; pass < 3; pass++) {
            const iq_choice choice = iq_points(room, kind, sub_block, s[t]);
            if (!(choice.xp2 > 0.0f && choice.pp > 0.0f))
                break;
            const float error = -0.25f * choice.xp2 * choice.xp2 / choice.pp;
            if (error < least) {
                least = error;
                best = choice;
            }
            s[t] = 0.5f * choice.xp2 / choice.pp;
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
        for (int k = middle - 4; k <= middle + 4; k += 2) {
            if (k < 1 || k > kind->k_max)
                continue;
            const float s = d * (float)k;
            const iq_choice choice = iq_points(room, kind, b, s);
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
    for (int b = 0; b < n; b++)
        room->chosen[b] = iq_search(room, kind, b);
    float d = iq_first_scale(room, kind, n), least = INFINITY;
    uint16_t best = 0;
    iq_choice chosen[16];
    int k[16];
    for (int pass = 0; pass < 4; pass++) {
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
