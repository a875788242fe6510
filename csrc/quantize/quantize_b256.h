/*
 * Encoders of the K-quants and IQ4_XS (blocks.h). First every group gets its best scale (and
 * offset) in floats; then the super-block's half float d (and dmin) and the groups' whole numbers
 * sc (and mn), x ~ d sc q - dmin mn, are chosen together by coordinate descent on the weighted
 * squared error: each sc (and mn) with the neighbours of what it is, all with codes rounded anew;
 * then d (and dmin) by least squares over the super-block, for as long as the error falls. Include
 * it after quantize_b32.h.
 */
#ifndef QUANTIZE_B256_H
#define QUANTIZE_B256_H

#include <math.h>

static const float starts_q3_K[] = {-4.0f, -3.7f, -3.4f, -3.1f, -2.8f, -4.4f, -2.5f, -2.2f,
                                    3.0f,  3.4f,  2.7f,  2.4f,  2.1f,  -4.8f, 3.8f,  1.8f};
static const float starts_q6_K[] = {-32.0f, -31.6f, -31.2f, -30.8f, -30.4f, -30.0f,
                                    -32.5f, -29.5f, 31.0f,  30.6f,  30.2f,  29.8f};
static const float cuts_q2_K[] = {-0.04f, 0.0f, 0.06f, 0.12f, 0.18f, 0.24f};
#define ROUNDS 3 /* of the descent, at most: later ones find next to nothing */

/* How the groups of a type share what. */
typedef struct {
    grid codes;
    int n;              /* elements of a group */
    int sc_min, sc_max; /* of the whole numbers */
    int has_offset;     /* mn: 0..sc_max */
} k_layout;

/* Of one super-block: x ~ d sc q - dmin mn. */
typedef struct {
    uint16_t d, dmin;
    float sc[GROUPS], mn[GROUPS]; /* whole numbers, by group */
    float error;
} super;

/* ---- scales of the super-block ----------------------------------------------------------------
 */

/* Half floats d and dmin of 16 lanes, each that of its super-block. */
LK_INLINE void spread(float d[GROUPS], float dmin[GROUPS], const super *s, int per) {
    for (int i = 0; i < GROUPS; i++) {
        d[i] = lk_f16_to_f32(s[i / per].d);
        dmin[i] = lk_f16_to_f32(s[i / per].dmin);
    }
}

/* Moves sc and mn of all groups to the best of their neighbours, and sums up the error. */
LK_INLINE void move_to_neighbours(super *s, const groups *g, const k_layout l) {
    const int per = LK_QK256 / l.n;
    float d[GROUPS], dmin[GROUPS], sc[GROUPS], mn[GROUPS], least[GROUPS];
    spread(d, dmin, s, per);
    for (int i = 0; i < GROUPS; i++) {
        sc[i] = s[i / per].sc[i % per];
        mn[i] = s[i / per].mn[i % per];
    }
    const vec low = v_all((float)l.sc_min), high = v_all((float)l.sc_max), zero = v_all(0.0f);
    for (int c = 0; c < GROUPS; c += LANES) {
        const vec vd = v_load(&d[c]), vdmin = v_load(&dmin[c]);
        const vec sc0 = v_load(&sc[c]), mn0 = v_load(&mn[c]);
        fit best = {sc0, mn0, v_all(3e38f)};
        for (int i = 0; i < (l.has_offset ? 9 : 3); i++) {
            static const float moves[] = {0.0f, -1.0f, 1.0f};
            const vec a = v_min(v_max(v_add(sc0, v_all(moves[i % 3])), low), high);
            const vec b = v_min(v_max(v_add(mn0, v_all(moves[i / 3])), zero), high);
            const vec m = l.has_offset ? v_sub(zero, v_mul(vdmin, b)) : zero;
            best = better(best, (fit){a, b, error_of(g, c, l.codes, v_mul(vd, a), m, NULL)});
        }
        v_store(&sc[c], best.d);
        v_store(&mn[c], best.m);
        v_store(&least[c], best.error);
    }
    for (int i = 0; i < GROUPS / per; i++) {
        s[i].error = 0.0f;
        for (int j = 0; j < per; j++) {
            s[i].sc[j] = sc[i * per + j];
            s[i].mn[j] = mn[i * per + j];
            s[i].error += least[i * per + j];
        }
    }
}

/* Sums of a group with its codes, for the least squares of its super-block. */
typedef struct {
    float xq[GROUPS], qq[GROUPS], x[GROUPS], q[GROUPS], w[GROUPS];
} k_sums;

/* Fills g->q as well. Sums of products with x are of what is left over, so that none cancels. */
LK_INLINE void sum_up(k_sums *t, groups *g, const k_layout l, const super *s) {
    const int per = LK_QK256 / l.n;
    float d[GROUPS], m[GROUPS];
    spread(d, m, s, per);
    for (int i = 0; i < GROUPS; i++) {
        d[i] = d[i] * s[i / per].sc[i % per];
        m[i] = l.has_offset ? -m[i] * s[i / per].mn[i % per] : 0.0f;
    }
    for (int c = 0; c < GROUPS; c += LANES) {
        const vec vd = v_load(&d[c]), vm = v_load(&m[c]);
        vec xq = v_all(0.0f), qq = xq, sx = xq, sq = xq, sw = xq;
        error_of(g, c, l.codes, vd, vm, g->q);
        for (int j = 0; j < g->n; j++) {
            const vec w = v_load(&g->w[j][c]), q = v_load(&g->q[j][c]);
            const vec e = v_sub(v_sub(v_load(&g->x[j][c]), vm), v_mul(vd, q));
            const vec we = v_mul(w, e), wq = v_mul(w, q);
            xq = v_add(xq, v_mul(we, q));
            qq = v_add(qq, v_mul(wq, q));
            sx = v_add(sx, we);
            sq = v_add(sq, wq);
            sw = v_add(sw, w);
        }
        v_store(&t->xq[c], xq);
        v_store(&t->qq[c], qq);
        v_store(&t->x[c], sx);
        v_store(&t->q[c], sq);
        v_store(&t->w[c], sw);
    }
}

/* d and dmin by least squares for codes, sc and mn as they are: lanes `from` on of the sums. */
LK_INLINE void fit_super(super *s, const k_sums *t, int from, int per, const int has_offset) {
    double dd = 0, dm = 0, mm = 0, ed = 0, em = 0; /* x left over ~ a (sc q) + b (-mn) */
    for (int i = 0; i < per; i++) {
        const double sc = s->sc[i], mn = has_offset ? -s->mn[i] : 0.0;
        dd += sc * sc * t->qq[from + i];
        dm += sc * mn * t->q[from + i];
        mm += mn * mn * t->w[from + i];
        ed += sc * t->xq[from + i];
        em += mn * t->x[from + i];
    }
    const double determinant = dd * mm - dm * dm;
    double a = dd > TINY ? ed / dd : 0.0, b = 0.0;
    if (has_offset && determinant > 1e-6 * dd * mm) {
        a = (ed * mm - em * dm) / determinant;
        b = (em * dd - ed * dm) / determinant;
    }
    s->d = to_half(lk_f16_to_f32(s->d) + (float)a);
    const float dmin = lk_f16_to_f32(s->dmin) + (float)b;
    s->dmin = to_half(dmin > 0.0f ? dmin : 0.0f);
}

LK_INLINE float whole(float v, int low, int high) {
    const float bounded = v<(float)low ? (float)low : v>(float) high ? (float)high : v;
    return bounded + 0x1.8p23f - 0x1.8p23f; /* to the nearest */
}

/* The start: the largest scale, and offset, of a super-block get the largest whole numbers. */
LK_INLINE void start_super(super *s, const float *d, const float *m, const k_layout l) {
    const int per = LK_QK256 / l.n;
    float extreme = 0.0f, deepest = 0.0f;
    for (int i = 0; i < per; i++) {
        if (fabsf(d[i]) > fabsf(extreme))
            extreme = d[i];
        if (l.has_offset && -m[i] > deepest)
            deepest = -m[i];
    }
    s->d = to_half(extreme / (float)(l.sc_min < 0 ? l.sc_min : l.sc_max));
    s->dmin = to_half(deepest / (float)l.sc_max);
    const float step = lk_f16_to_f32(s->d), step_min = lk_f16_to_f32(s->dmin);
    for (int i = 0; i < per; i++) {
        const float sc = step != 0.0f ? whole(d[i] / step, l.sc_min, l.sc_max) : 0.0f;
        s->sc[i] = sc;
        s->mn[i] = l.has_offset && step_min > 0.0f ? whole(-m[i] / step_min, 0, l.sc_max) : 0.0f;
    }
}

/* All super-blocks in g, as d (and m) of their groups want them; g->q gets the codes. */
LK_INLINE void settle_supers(super *s, groups *g, const k_layout l, const float d[GROUPS],
                             const float m[GROUPS]) {
    const int per = LK_QK256 / l.n;
    k_sums sums;
    for (int i = 0; i < GROUPS / per; i++)
        start_super(&s[i], d + i * per, m + i * per, l);
    move_to_neighbours(s, g, l);
    for (int round = 0; round < ROUNDS; round++) {
        super next[2];
        sum_up(&sums, g, l, s);
        for (int i = 0; i < GROUPS / per; i++) {
            next[i] = s[i];
            fit_super(&next[i], &sums, i * per, per, l.has_offset);
        }
        move_to_neighbours(next, g, l);
        for (int i = 0; i < GROUPS / per; i++)
            if (next[i].error < s[i].error)
                s[i] = next[i];
    }
    sum_up(&sums, g, l, s);
}

/* ---- writing blocks -------------------------------------------------------------------------- */

/* The codes of a super-block in the order of its elements, plus zero: lanes from `from` on. */
LK_INLINE void codes_of(uint8_t q[LK_QK256], const groups *g, int from, int zero) {
    for (int e = 0; e < LK_QK256; e++)
        q[e] = (uint8_t)((int)g->q[e % g->n][from + e / g->n] + zero);
}

/* Two bits of each element, from bit `shift` of its code on: the order of block_q2_K. */
LK_INLINE void put_two_bits(uint8_t qs[64], const uint8_t q[LK_QK256]) {
    for (int i = 0; i < 64; i++) {
        const uint8_t *e = q + i / 32 * 128 + i % 32;
        qs[i] = (uint8_t)((e[0] & 3) | (e[32] & 3) << 2 | (e[64] & 3) << 4 | (e[96] & 3) << 6);
    }
}

/* Bit `bit` of the codes: bit e / 32 of byte e % 32. */
LK_INLINE void put_high_bits(uint8_t high[32], const uint8_t q[LK_QK256], int bit) {
    for (int i = 0; i < 32; i++) {
        unsigned bits = 0;
        for (int j = 0; j < 8; j++)
            bits |= (unsigned)(q[32 * j + i] >> bit & 1) << j;
        high[i] = (uint8_t)bits;
    }
}

/* The low four bits, as block_q4_K has them. */
LK_INLINE void put_low_nibbles(uint8_t qs[128], const uint8_t q[LK_QK256]) {
    for (int i = 0; i < 128; i++) {
        const uint8_t *e = q + i / 32 * 64 + i % 32;
        qs[i] = (uint8_t)((e[0] & 15) | (e[32] & 15) << 4);
    }
}

/* Six-bit scales and minima of Q4_K and Q5_K. */
LK_INLINE void put_scales_min(uint8_t out[12], const super *s) {
    for (int j = 0; j < 4; j++) {
        const unsigned sc = (unsigned)s->sc[j], mn = (unsigned)s->mn[j];
        const unsigned sc4 = (unsigned)s->sc[j + 4], mn4 = (unsigned)s->mn[j + 4];
        out[j] = (uint8_t)(sc | (sc4 >> 4) << 6);
        out[j + 4] = (uint8_t)(mn | (mn4 >> 4) << 6);
        out[j + 8] = (uint8_t)((sc4 & 15) | (mn4 & 15) << 4);
    }
}

/* Sixteen six-bit scales of Q3_K, biased by 32. */
LK_INLINE void put_scales_q3(uint8_t out[12], const super *s) {
    unsigned top[4] = {0};
    for (int j = 0; j < 16; j++)
        top[j % 4] |= (unsigned)((int)s->sc[j] + 32) >> 4 << 2 * (j / 4);
    for (int j = 0; j < 8; j++) {
        const unsigned low = (unsigned)((int)s->sc[j] + 32) & 15;
        out[j] = (uint8_t)(low | ((unsigned)((int)s->sc[j + 8] + 32) & 15) << 4);
    }
    for (int j = 0; j < 4; j++)
        out[8 + j] = (uint8_t)top[j];
}

LK_INLINE void put_q2_K(void *dst, const super *s, const groups *g, int from) {
    block_q2_K *b = dst;
    uint8_t q[LK_QK256];
    codes_of(q, g, from, 0);
    put_two_bits(b->qs, q);
    for (int j = 0; j < 16; j++)
        b->scales[j] = (uint8_t)((unsigned)s->sc[j] | (unsigned)s->mn[j] << 4);
    b->d = s->d;
    b->dmin = s->dmin;
}

LK_INLINE void put_q3_K(void *dst, const super *s, const groups *g, int from) {
    block_q3_K *b = dst;
    uint8_t q[LK_QK256];
    codes_of(q, g, from, 4);
    put_two_bits(b->qs, q);
    put_high_bits(b->hmask, q, 2);
    put_scales_q3(b->scales, s);
    b->d = s->d;
}

LK_INLINE void put_q4_K(void *dst, const super *s, const groups *g, int from) {
    block_q4_K *b = dst;
    uint8_t q[LK_QK256];
    codes_of(q, g, from, 0);
    put_low_nibbles(b->qs, q);
    put_scales_min(b->scales, s);
    b->d = s->d;
    b->dmin = s->dmin;
}

LK_INLINE void put_q5_K(void *dst, const super *s, const groups *g, int from) {
    block_q5_K *b = dst;
    uint8_t q[LK_QK256];
    codes_of(q, g, from, 0);
    put_low_nibbles(b->qs, q);
    put_high_bits(b->qh, q, 4);
    put_scales_min(b->scales, s);
    b->d = s->d;
    b->dmin = s->dmin;
}

LK_INLINE void put_q6_K(void *dst, const super *s, const groups *g, int from) {
    block_q6_K *b = dst;
    uint8_t q[LK_QK256];
    codes_of(q, g, from, 32);
    for (int i = 0; i < 128; i++) {
        const uint8_t *e = q + i / 64 * 128 + i % 64;
        b->ql[i] = (uint8_t)((e[0] & 15) | (e[64] & 15) << 4);
    }
    for (int i = 0; i < 64; i++) {
        const uint8_t *e = q + i / 32 * 128 + i % 32;
        b->qh[i] = (uint8_t)(e[0] >> 4 | e[32] >> 4 << 2 | e[64] >> 4 << 4 | e[96] >> 4 << 6);
    }
    for (int j = 0; j < 16; j++)
        b->scales[j] = (int8_t)s->sc[j];
    b->d = s->d;
}

LK_INLINE void put_iq4_xs(void *dst, const super *s, groups *g, int from) {
    block_iq4_xs *b = dst;
    unsigned high = 0;
    for (int j = 0; j < 8; j++)
        high |= (unsigned)((int)s->sc[j] + 32) >> 4 << 2 * j;
    for (int j = 0; j < 8; j += 2) {
        const unsigned low = (unsigned)((int)s->sc[j] + 32) & 15;
        b->scales_l[j / 2] = (uint8_t)(low | ((unsigned)((int)s->sc[j + 1] + 32) & 15) << 4);
    }
    for (int j = 0; j < 8; j++)
        put_nibbles(b->qs + 16 * j, g, from + j, 0);
    b->scales_h = (uint16_t)high;
    b->d = s->d;
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef enum { AS_Q2_K, AS_Q3_K, AS_Q4_K, AS_Q5_K, AS_Q6_K, AS_IQ4_XS } k_type;

LK_INLINE k_layout layout_of(const k_type type) {
    switch (type) {
    case AS_Q2_K:
        return (k_layout){{0, 3, NULL}, 16, 0, 15, 1};
    case AS_Q3_K:
        return (k_layout){{-4, 3, NULL}, 16, -32, 31, 0};
    case AS_Q4_K:
        return (k_layout){{0, 15, NULL}, 32, 0, 63, 1};
    case AS_Q5_K:
        return (k_layout){{0, 31, NULL}, 32, 0, 63, 1};
    case AS_IQ4_XS:
        return (k_layout){{0, 0, lk_iq4_values}, 32, -32, 31, 0};
    default:
        return (k_layout){{-32, 31, NULL}, 16, -128, 127, 0};
    }
}

LK_INLINE void search_k(const k_type type, float d[GROUPS], float m[GROUPS], const groups *g,
                        const grid codes) {
    if (type == AS_Q2_K)
        search_offsets(d, m, g, codes, cuts_q2_K, COUNT(cuts_q2_K), 1);
    else if (type == AS_Q3_K)
        search_scales(d, g, codes, starts_q3_K, COUNT(starts_q3_K));
    else if (type == AS_Q4_K)
        search_offsets(d, m, g, codes, cuts_q4_1, COUNT(cuts_q4_1), 1);
    else if (type == AS_Q5_K)
        search_offsets(d, m, g, codes, cuts_q5_1, COUNT(cuts_q5_1), 1);
    else if (type == AS_IQ4_XS)
        search_scales(d, g, codes, starts_iq4, COUNT(starts_iq4));
    else
        search_scales(d, g, codes, starts_q6_K, COUNT(starts_q6_K));
}

LK_INLINE void quantize_b256(const k_type type, size_t block_bytes, void *dst, const float *x,
                             const float *importance, int k) {
    const k_layout l = layout_of(type);
    const int per = LK_QK256 / l.n;
    const float sigma2 = mean_square(x, k);
    groups g;
    g.n = l.n;
    for (int at = 0; at < k / l.n; at += GROUPS) {
        const int n = k / l.n - at < GROUPS ? k / l.n - at : GROUPS;
        float d[GROUPS], m[GROUPS] = {0};
        super s[2];
        load_groups(&g, x + l.n * at, importance ? importance + l.n * at : NULL, sigma2, n);
        search_k(type, d, m, &g, l.codes);
        settle_supers(s, &g, l, d, m);
        if (type == AS_IQ4_XS)
            find_places(&g, lk_iq4_values);
        for (int i = 0; i < n / per; i++) {
            uint8_t *block = (uint8_t *)dst + (size_t)(at / per + i) * block_bytes;
            if (type == AS_Q2_K)
                put_q2_K(block, &s[i], &g, i * per);
            else if (type == AS_Q3_K)
                put_q3_K(block, &s[i], &g, i * per);
            else if (type == AS_Q4_K)
                put_q4_K(block, &s[i], &g, i * per);
            else if (type == AS_Q5_K)
                put_q5_K(block, &s[i], &g, i * per);
            else if (type == AS_IQ4_XS)
                put_iq4_xs(block, &s[i], &g, i * per);
            else
                put_q6_K(block, &s[i], &g, i * per);
        }
    }
}

#endif
