/*
 * attn_TYPE over up to three tiles, the state carried from one to the next. With p = exp(s - m):
 * a score of n products is off by e = n 2u max sum|q k| at most, so m by e, and l and acc, once
 * brought to the same m, by a factor exp(2 e) and the roundings of their own sums.
 */
#include "check.h"
#include "half.h"

typedef struct {
    int n_q, dk, dv;
    bool f16;
    float spread; /* size of the scores */
} shape;

typedef struct {
    float *m, *l, *acc;
} state;

static void store(void *row, int i, bool f16, float value) {
    uint16_t half = lk_f32_to_f16(value);
    if (f16)
        memcpy((char *)row + 2 * i, &half, 2);
    else
        memcpy((char *)row + 4 * i, &value, 4);
}

static double load(const void *row, int i, bool f16) {
    if (f16)
        return (double)lk_f16_to_f32(lk_load_u16((const char *)row + 2 * i));
    return (double)lk_load_f32((const char *)row + 4 * i);
}

static state new_state(const char *name, const shape *s) {
    state y = {check_output(name, (size_t)s->n_q), check_output(name, (size_t)s->n_q),
               check_output(name, (size_t)(s->n_q * s->dv))};
    for (int i = 0; i < s->n_q; i++) {
        y.m[i] = -INFINITY;
        y.l[i] = 0.0f;
    }
    for (int i = 0; i < s->n_q * s->dv; i++)
        y.acc[i] = 0.0f;
    return y;
}

/* Largest sum |q k| of the query: the error of any score is within (dk + 1) 2u of it. */
static double score_magnitude(const shape *s, const lk_attn_tile *t, int i) {
    double most = 0.0;
    for (int p = 0; p < t->n_seen[i]; p++) {
        double sum = 0.0;
        for (int j = 0; j < s->dk; j++)
            sum += fabs((double)t->q[i * t->q_stride + j] * load(t->k, p * s->dk + j, s->f16));
        most = fmax(most, sum);
    }
    return most;
}

/* `sums`: an upper bound of sum p |v| relative to m by now, for each value of acc. */
static void update_sums(const shape *s, const lk_attn_tile *t, int i, float old_m, double *sums) {
    double m = (double)t->m[i];
    for (int j = 0; j < s->dv; j++)
        sums[j] *= exp((double)old_m - m);
    for (int p = 0; p < t->n_seen[i]; p++) {
        double score = 0.0;
        for (int j = 0; j < s->dk; j++)
            score += (double)t->q[i * t->q_stride + j] * load(t->k, p * s->dk + j, s->f16);
        for (int j = 0; j < s->dv; j++)
            sums[j] += exp(score - m) * fabs(load(t->v, p * s->dv + j, s->f16));
    }
}

static void compare(const shape *s, const state *got, const state *want, const double *error,
                    const double *sums, int n_seen) {
    for (int i = 0; i < s->n_q; i++) {
        check_near("m", i, (double)got->m[i], (double)want->m[i], error[i]);
        if (isinf(want->m[i]))
            continue;
        double to_same_m = exp((double)got->m[i] - (double)want->m[i]);
        /* exp is good to 4 ulp plus half an ulp of its argument, s - m, itself within 2^7 */
        double relative = expm1(4 * error[i]) + (n_seen + 16 + 128) * CHECK_EPS;
        check_near("l", i, (double)got->l[i] * to_same_m, (double)want->l[i],
                   relative * (double)want->l[i]);
        for (int j = 0; j < s->dv; j++) {
            int at = i * s->dv + j;
            check_near("acc", at, (double)got->acc[at] * to_same_m, (double)want->acc[at],
                       relative * sums[at] + 0x1p-126);
        }
    }
}

static void run(const check_kernel *kernel, const shape *s, int n_tiles) {
    static double sums[40 * 256], error[40];
    static float old_m[40];
    check_case("n_q = %d, head_dim_k = %d, head_dim_v = %d, scores about %g, %d tiles", s->n_q,
               s->dk, s->dv, (double)s->spread, n_tiles);
    size_t size = s->f16 ? 2 : 4;
    state want = new_state("scalar state", s), got = new_state("state", s);
    int q_stride = s->dk + check_below(3), seen = 0;
    float *q = check_at_end("q", 4 * (size_t)(q_stride * (s->n_q - 1) + s->dk));
    for (int i = 0; i < q_stride * (s->n_q - 1) + s->dk; i++)
        q[i] = check_uniform(-1, 1) * s->spread / (float)s->dk;
    memset(sums, 0, sizeof sums);
    memset(error, 0, sizeof error);
    for (int tile = 0; tile < n_tiles; tile++) {
        int n_pos = tile + 1 < n_tiles ? LK_ATTN_TILE : 1 + check_below(LK_ATTN_TILE);
        void *k = check_at_end("k", size * (size_t)(n_pos * s->dk));
        void *v = check_at_end("v", size * (size_t)(n_pos * s->dv));
        int32_t *n_seen = check_at_end("n_seen", 4 * (size_t)s->n_q);
        for (int i = 0; i < n_pos * s->dk; i++)
            store(k, i, s->f16, check_wide(-3, 2));
        for (int i = 0; i < n_pos * s->dv; i++)
            store(v, i, s->f16, check_wide(-6, 3));
        for (int i = 0; i < s->n_q; i++) {
            n_seen[i] = check_below(3) ? n_pos : check_below(n_pos + 1);
            old_m[i] = want.m[i];
        }
        lk_attn_tile t = {q,        k,        v,      n_seen, want.m, want.l,
                          want.acc, q_stride, s->n_q, n_pos,  s->dk,  s->dv};
        lk_attn_tile tested = t;
        tested.m = got.m, tested.l = got.l, tested.acc = got.acc;
        ((lk_attn_fn)kernel->scalar)(&t);
        ((lk_attn_fn)kernel->fn)(&tested);
        check_canaries();
        seen += n_pos;
        for (int i = 0; i < s->n_q; i++) {
            double e = (s->dk + 1) * CHECK_EPS * score_magnitude(s, &t, i);
            error[i] = fmax(error[i], e);
            if (n_seen[i] > 0)
                update_sums(s, &t, i, old_m[i], sums + i * s->dv);
        }
        compare(s, &got, &want, error, sums, seen);
        check_drop_buffer(), check_drop_buffer(), check_drop_buffer();
    }
}

void check_lk_attn_fn(const check_kernel *kernel) {
    static const int dims[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 80, 96, 97, 128, 256};
    bool f16 = strstr(kernel->name, "f16") != NULL;
    for (int i = 0; i < CHECK_COUNT(dims); i++) {
        int n_q = 1 + check_below(9);
        run(kernel, &(shape){n_q, dims[i], dims[i], f16, 8.0f}, 1 + i % 3);
        run(kernel, &(shape){n_q, dims[i], dims[check_below(CHECK_COUNT(dims))], f16, 40.0f}, 2);
    }
    for (int n_q = 1; n_q <= 17; n_q++)
        run(kernel, &(shape){n_q, 32, 32, f16, 3.0f}, 1);
}
