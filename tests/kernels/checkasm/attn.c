/*
 * attn_TYPE over up to three tiles, the state carried from one to the next. With p = exp(s - m):
 * a score of n products is off by e = n 2u max sum|q k| at most, and a capped one by 2^-20 of the
 * cap more; so m by e, and l and acc, once brought to the same m, by a factor exp(2 e) and the
 * roundings of their own sums.
 */
#include "attn/attn.h"
#include "check.h"

typedef struct {
    int n_q, dk, dv;
    int type;      /* of the cache */
    float spread;  /* size of the scores */
    float softcap; /* of them; 0: none */
} shape;

typedef struct {
    float *m, *l, *acc;
} state;

/* A random key or value cache: `groups` of 32 for q8_0, else single elements. */
static void fill(void *cache, const shape *s, size_t bytes, bool keys) {
    const int low = keys ? -3 : -6, high = keys ? 2 : 3;
    if (s->type == LK_Q8_0) {
        check_random_bytes(cache, bytes);
        for (size_t g = 0; keys && g < bytes / sizeof(lk_key_group); g++)
            for (int lane = 0; lane < LK_KEY_BLOCK; lane++)
                ((lk_key_group *)cache)[g].d[lane] = lk_f32_to_f16(check_wide(low - 7, high - 7));
        for (size_t g = 0; !keys && g < bytes / sizeof(block_q8_0); g++)
            ((block_q8_0 *)cache)[g].d = lk_f32_to_f16(check_wide(low - 7, high - 7));
        return;
    }
    const size_t size = s->type == LK_F16 ? 2 : 4;
    for (size_t i = 0; i < bytes / size; i++) {
        const float value = check_wide(low, high);
        const uint16_t half = lk_f32_to_f16(value);
        memcpy((char *)cache + size * i, size == 2 ? (const void *)&half : &value, size);
    }
}

static double key(const shape *s, const void *k, int p, int j) {
    return (double)attn_key(s->type, k, s->dk, p, j);
}

static double value(const shape *s, const void *v, int p, int j) {
    return (double)attn_value(s->type, v, s->dv, p, j);
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

static const float *new_queries(const shape *s, int q_stride) {
    const int n = q_stride * (s->n_q - 1) + s->dk;
    float *q = check_at_end("q", 4 * (size_t)n);
    for (int i = 0; i < n; i++)
        q[i] = check_uniform(-1, 1) * s->spread / (float)s->dk;
    return q;
}

static lk_attn_tile new_tile(const shape *s, const float *q, int q_stride, const state *y,
                             const int32_t *n_seen, const int32_t *n_skipped, int n_pos) {
    const size_t n_blocks = (size_t)(n_pos + LK_KEY_BLOCK - 1) / LK_KEY_BLOCK;
    const size_t k_bytes = n_blocks * lk_key_block_bytes(s->type, s->dk);
    const size_t v_bytes = (size_t)n_pos * lk_value_row_bytes(s->type, s->dv);
    void *k = check_at_end("k", k_bytes), *v = check_at_end("v", v_bytes);
    fill(k, s, k_bytes, true);
    fill(v, s, v_bytes, false);
    return (lk_attn_tile){q,      k,        v,      n_seen, n_skipped, y->m,  y->l,
                          y->acc, q_stride, s->n_q, n_pos,  s->dk,     s->dv, s->softcap};
}

/* The score of query i with position p. */
static double score_of(const shape *s, const lk_attn_tile *t, int i, int p) {
    double score = 0.0;
    for (int j = 0; j < s->dk; j++)
        score += (double)t->q[i * t->q_stride + j] * key(s, t->k, p, j);
    const double cap = (double)s->softcap;
    return cap != 0.0 ? cap * tanh(score / cap) : score;
}

/* Largest sum |q k| of the query: the error of any score is within (dk + 1) 2u of it. */
static double score_magnitude(const shape *s, const lk_attn_tile *t, int i) {
    double most = 0.0;
    for (int p = t->n_skipped[i]; p < t->n_seen[i]; p++) {
        double sum = 0.0;
        for (int j = 0; j < s->dk; j++)
            sum += fabs((double)t->q[i * t->q_stride + j] * key(s, t->k, p, j));
        most = fmax(most, sum);
    }
    return most;
}

/* `sums`: an upper bound of sum p |v| relative to m by now, for each value of acc. */
static void update_sums(const shape *s, const lk_attn_tile *t, int i, float old_m, double *sums) {
    double m = (double)t->m[i];
    for (int j = 0; j < s->dv; j++)
        sums[j] *= exp((double)old_m - m);
    for (int p = t->n_skipped[i]; p < t->n_seen[i]; p++) {
        const double score = score_of(s, t, i, p);
        for (int j = 0; j < s->dv; j++)
            sums[j] += exp(score - m) * fabs(value(s, t->v, p, j));
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
    check_case("n_q = %d, head_dim_k = %d, head_dim_v = %d, scores about %g, cap %g, %d tiles",
               s->n_q, s->dk, s->dv, (double)s->spread, (double)s->softcap, n_tiles);
    state want = new_state("scalar state", s), got = new_state("state", s);
    int q_stride = s->dk + check_below(3), seen = 0;
    const float *q = new_queries(s, q_stride);
    memset(sums, 0, sizeof sums);
    memset(error, 0, sizeof error);
    for (int tile = 0; tile < n_tiles; tile++) {
        int n_pos = tile + 1 < n_tiles ? LK_ATTN_TILE : 1 + check_below(LK_ATTN_TILE);
        int32_t *n_seen = check_at_end("n_seen", 4 * (size_t)s->n_q);
        int32_t *n_skipped = check_at_end("n_skipped", 4 * (size_t)s->n_q);
        for (int i = 0; i < s->n_q; i++) {
            n_seen[i] = check_below(3) ? n_pos : check_below(n_pos + 1);
            n_skipped[i] = check_below(3) ? 0 : check_below(n_pos + 1);
            old_m[i] = want.m[i];
        }
        lk_attn_tile t = new_tile(s, q, q_stride, &want, n_seen, n_skipped, n_pos);
        lk_attn_tile tested = t;
        tested.m = got.m, tested.l = got.l, tested.acc = got.acc;
        ((lk_attn_fn)kernel->scalar)(&t);
        ((lk_attn_fn)kernel->fn)(&tested);
        check_canaries();
        seen += n_pos;
        for (int i = 0; i < s->n_q; i++) {
            double e = (s->dk + 1) * CHECK_EPS * score_magnitude(s, &t, i);
            error[i] = fmax(error[i], e + (double)s->softcap * 0x1p-20);
            if (n_seen[i] > n_skipped[i])
                update_sums(s, &t, i, old_m[i], sums + i * s->dv);
        }
        compare(s, &got, &want, error, sums, seen);
        for (int i = 0; i < 4; i++)
            check_drop_buffer();
    }
}

static int type_of(const check_kernel *kernel) {
    return strstr(kernel->name, "q8_0") ? LK_Q8_0 : strstr(kernel->name, "f16") ? LK_F16 : LK_F32;
}

void check_lk_attn_fn(const check_kernel *kernel) {
    static const int any[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 80, 96, 97, 128, 256},
                     of_32[] = {32, 64, 96, 128, 160, 256};
    const int type = type_of(kernel);
    const int *dims = type == LK_Q8_0 ? of_32 : any;
    const int n = type == LK_Q8_0 ? CHECK_COUNT(of_32) : CHECK_COUNT(any);
    for (int i = 0; i < n; i++) {
        int n_q = 1 + check_below(9);
        run(kernel, &(shape){n_q, dims[i], dims[i], type, 8.0f, 0.0f}, 1 + i % 3);
        run(kernel, &(shape){n_q, dims[i], dims[check_below(n)], type, 40.0f, 0.0f}, 2);
        run(kernel, &(shape){n_q, dims[i], dims[i], type, 40.0f, 20.0f}, 2);
    }
    for (int n_q = 1; n_q <= 17; n_q++)
        run(kernel, &(shape){n_q, 32, 32, type, 3.0f, 0.0f}, 1);
}

/* The heads of a token that share keys, and the block of a prompt. */
void bench_lk_attn_fn(const check_kernel *kernel) {
    static const int queries[] = {8, 32}, dims[] = {64, 128};
    const int n_pos = LK_ATTN_TILE;
    for (int i = 0; i < CHECK_COUNT(queries); i++) {
        const int n_q = queries[i], dim = dims[i];
        const shape s = {n_q, dim, dim, type_of(kernel), 8.0f, 0.0f};
        check_case("n_q = %d, head_dim = %d, %d positions", n_q, dim, n_pos);
        const state y = new_state("state", &s);
        int32_t *n_seen = check_at_end("n_seen", 4 * (size_t)n_q);
        for (int j = 0; j < n_q; j++)
            n_seen[j] = n_pos;
        int32_t *n_skipped = check_at_end("n_skipped", 4 * (size_t)n_q);
        memset(n_skipped, 0, 4 * (size_t)n_q);
        const lk_attn_tile t =
            new_tile(&s, new_queries(&s, dim), dim, &y, n_seen, n_skipped, n_pos);
        BENCH(((lk_attn_fn)kernel->fn)(&t),
              .bytes = 2.0 * n_pos * (double)lk_value_row_bytes(s.type, dim),
              .operations = 4.0 * n_q * n_pos * dim, .limits = "L1");
    }
}
