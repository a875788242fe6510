/*
 * attn_f32, attn_f16: the tile update of attn_scalar.c, up to four queries of the KV head at a
 * time, so that a key or value is loaded (and widened, FCVTL) once for all of them. Scores and
 * weighted sums by FMLA in float32, exp by neon_exp, weights of positions a query does not see are
 * zero. Values go by 16, then 4, then one; keys by 4, then one. Inputs are finite.
 */
#include <math.h>

#include "../kernels.h"

#if LK_ARM
#include "../neon.h"

#define QUERIES 4

typedef struct {
    const float *q[QUERIES];
    float *acc[QUERIES];
    float weight[QUERIES][LK_ATTN_TILE]; /* scores, then exp(score - m) */
    float factor[QUERIES];               /* exp(old m - new m) */
    float *m[QUERIES], *l[QUERIES];
    int n_seen[QUERIES], most_seen;
} batch;

LK_INLINE float32x4_t load4(const int size, const char *row, int i) {
    return size == 4 ? neon_load_f32(row + 4 * (ptrdiff_t)i)
                     : neon_load_f16(row + 2 * (ptrdiff_t)i);
}

LK_INLINE float load1(const int size, const char *row, int i) {
    return size == 4 ? lk_load_f32(row + 4 * (ptrdiff_t)i)
                     : lk_f16_to_f32(lk_load_u16(row + 2 * (ptrdiff_t)i));
}

/* Scores of two positions (or twice the same) for n queries. */
LK_INLINE void score_pair(const int size, batch *b, const int n, const char *k, int p0, int p1,
                          int dim) {
    const char *row[2] = {k + (ptrdiff_t)p0 * dim * size, k + (ptrdiff_t)p1 * dim * size};
    float32x4_t sum_f32x4[2][QUERIES];
    LK_UNROLL
    for (int i = 0; i < n; i++)
        sum_f32x4[0][i] = sum_f32x4[1][i] = vdupq_n_f32(0.0f);
    int j = 0;
    for (; j + 4 <= dim; j += 4) {
        const float32x4_t k0_f32x4 = load4(size, row[0], j), k1_f32x4 = load4(size, row[1], j);
        LK_UNROLL
        for (int i = 0; i < n; i++) {
            const float32x4_t q_f32x4 = vld1q_f32(b->q[i] + j);
            sum_f32x4[0][i] = vfmaq_f32(sum_f32x4[0][i], q_f32x4, k0_f32x4);
            sum_f32x4[1][i] = vfmaq_f32(sum_f32x4[1][i], q_f32x4, k1_f32x4);
        }
    }
    LK_UNROLL
    for (int i = 0; i < n; i++) {
        float score[2] = {vaddvq_f32(sum_f32x4[0][i]), vaddvq_f32(sum_f32x4[1][i])};
        for (int rest = j; rest < dim; rest++) {
            score[0] += b->q[i][rest] * load1(size, row[0], rest);
            score[1] += b->q[i][rest] * load1(size, row[1], rest);
        }
        b->weight[i][p0] = score[0];
        b->weight[i][p1] = score[1];
    }
}

/* Scores of query i become weights; m, l and the factor of what was accumulated follow. */
LK_INLINE void softmax(batch *b, int i) {
    float *weight = b->weight[i], *m = b->m[i], *l = b->l[i];
    const int n = b->n_seen[i], padded = (b->most_seen + 3) / 4 * 4;
    for (int p = n; p < padded; p++)
        weight[p] = -INFINITY;
    float32x4_t max_f32x4 = vdupq_n_f32(*m);
    for (int p = 0; p < padded; p += 4)
        max_f32x4 = vmaxq_f32(max_f32x4, vld1q_f32(weight + p));
    const float max = vmaxvq_f32(max_f32x4);
    float32x4_t sum_f32x4 = vdupq_n_f32(0.0f);
    for (int p = 0; p < padded; p += 4) {
        const float32x4_t e_f32x4 = neon_exp(vsubq_f32(vld1q_f32(weight + p), vdupq_n_f32(max)));
        vst1q_f32(weight + p, e_f32x4);
        sum_f32x4 = vaddq_f32(sum_f32x4, e_f32x4);
    }
    b->factor[i] = neon_exp_one(*m - max);
    *m = max;
    *l = *l * b->factor[i] + vaddvq_f32(sum_f32x4);
}

/* acc = acc * factor + sum of weight * value, for 4 * width values from j on. */
LK_INLINE void weigh(const int size, batch *b, const int n, const char *v, int dim, int j,
                     const int width) {
    float32x4_t acc_f32x4[QUERIES][4];
    LK_UNROLL
    for (int i = 0; i < n; i++)
        LK_UNROLL
    for (int u = 0; u < width; u++)
        acc_f32x4[i][u] = vmulq_n_f32(vld1q_f32(b->acc[i] + j + 4 * u), b->factor[i]);
    for (int p = 0; p < b->most_seen; p++) {
        const char *row = v + (ptrdiff_t)p * dim * size;
        LK_UNROLL
        for (int u = 0; u < width; u++) {
            const float32x4_t v_f32x4 = load4(size, row, j + 4 * u);
            LK_UNROLL
            for (int i = 0; i < n; i++)
                acc_f32x4[i][u] = vfmaq_n_f32(acc_f32x4[i][u], v_f32x4, b->weight[i][p]);
        }
    }
    LK_UNROLL
    for (int i = 0; i < n; i++)
        LK_UNROLL
    for (int u = 0; u < width; u++)
        vst1q_f32(b->acc[i] + j + 4 * u, acc_f32x4[i][u]);
}

LK_INLINE void attend(const int size, batch *b, const int n, const lk_attn_tile *t) {
    const char *k = t->k, *v = t->v;
    const int dim = t->head_dim_v;
    for (int p = 0; p < b->most_seen; p += 2)
        score_pair(size, b, n, k, p, p + 1 < b->most_seen ? p + 1 : p, t->head_dim_k);
    for (int i = 0; i < n; i++)
        softmax(b, i);
    int j = 0;
    for (; j + 16 <= dim; j += 16)
        weigh(size, b, n, v, dim, j, 4);
    for (; j + 4 <= dim; j += 4)
        weigh(size, b, n, v, dim, j, 1);
    for (; j < dim; j++)
        for (int i = 0; i < n; i++) {
            float acc = b->acc[i][j] * b->factor[i];
            for (int p = 0; p < b->most_seen; p++)
                acc += b->weight[i][p] * load1(size, v, p * dim + j);
            b->acc[i][j] = acc;
        }
}

/* Queries that see nothing of the tile stay as they are: they join no batch. */
LK_INLINE void attn(const int size, const lk_attn_tile *t) {
    batch b;
    int n = 0;
    b.most_seen = 0;
    for (int i = 0; i < t->n_q; i++) {
        if (t->n_seen[i] > 0) {
            b.q[n] = t->q + i * t->q_stride;
            b.acc[n] = t->acc + (ptrdiff_t)i * t->head_dim_v;
            b.m[n] = &t->m[i];
            b.l[n] = &t->l[i];
            b.n_seen[n] = t->n_seen[i];
            b.most_seen = t->n_seen[i] > b.most_seen ? t->n_seen[i] : b.most_seen;
            n++;
        }
        if (n == QUERIES) {
            attend(size, &b, QUERIES, t);
            n = b.most_seen = 0;
        }
    }
    if (n == 1)
        attend(size, &b, 1, t);
    else if (n == 2)
        attend(size, &b, 2, t);
    else if (n == 3)
        attend(size, &b, 3, t);
}

void attn_f32_neon(const lk_attn_tile *tile) {
    attn(4, tile);
}
void attn_f16_neon(const lk_attn_tile *tile) {
    attn(2, tile);
}
#endif
