/*
 * attn_f32, attn_f16, attn_q8_0: the tile update of attn_scalar.c, up to four queries of the KV
 * head at a time, so that a key or value is loaded (and widened) once for all of them. A vector
 * holds one dimension of four keys, so scores are sums of q times keys in the order of dimensions.
 * Scores and weighted sums by FMLA in float32, exp by neon_exp, weights of positions a query does
 * not see are zero. Values go by 16, then 4, then one. Inputs are finite.
 */
#include <math.h>

#include "attn.h"

#if LK_ARM
#include "../neon.h"

#define QUERIES 4
#define QUARTERS 4 /* vectors of a block of keys */

typedef struct {
    const float *q[QUERIES];
    float *acc[QUERIES];
    float weight[QUERIES][LK_ATTN_TILE]; /* scores, then exp(score - m) */
    float factor[QUERIES];               /* exp(old m - new m) */
    float *m[QUERIES], *l[QUERIES];
    int n_skipped[QUERIES], n_seen[QUERIES];
    int first, most_seen; /* the smallest n_skipped, the largest n_seen */
    float softcap;
} batch;

LK_INLINE float32x4_t i8_to_f32(const int8_t *p) {
    int8x8_t bytes = vdup_n_s8(0);
    bytes = vreinterpret_s8_u32(vset_lane_u32(lk_load_u32(p), vreinterpret_u32_s8(bytes), 0));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))));
}

/* Dimension j of keys 4 u .. 4 u + 3 of a block. */
LK_INLINE float32x4_t load_keys(const int type, const char *block, int j, int u) {
    const int at = LK_KEY_BLOCK * j + 4 * u;
    if (type == LK_F32)
        return neon_load_f32(block + 4 * (ptrdiff_t)at);
    if (type == LK_F16)
        return neon_load_f16(block + 2 * (ptrdiff_t)at);
    const lk_key_group *g = (const lk_key_group *)(const void *)block + j / 32;
    return vmulq_f32(i8_to_f32(&g->q[j % 32][4 * u]), neon_load_f16(&g->d[4 * u]));
}

/* Scores of block `at` of the keys for n queries. */
LK_INLINE void score_block(const int type, batch *b, const int n, const lk_attn_tile *t, int at) {
    const char *block = (const char *)t->k + at * lk_key_block_bytes(type, t->head_dim_k);
    float32x4_t sum_f32x4[QUERIES][QUARTERS];
    LK_UNROLL
    for (int i = 0; i < n; i++)
        LK_UNROLL
    for (int u = 0; u < QUARTERS; u++)
        sum_f32x4[i][u] = vdupq_n_f32(0.0f);
    for (int j = 0; j < t->head_dim_k; j++) {
        LK_UNROLL
        for (int u = 0; u < QUARTERS; u++) {
            const float32x4_t key_f32x4 = load_keys(type, block, j, u);
            LK_UNROLL
            for (int i = 0; i < n; i++)
                sum_f32x4[i][u] = vfmaq_n_f32(sum_f32x4[i][u], key_f32x4, b->q[i][j]);
        }
    }
    LK_UNROLL
    for (int i = 0; i < n; i++)
        LK_UNROLL
    for (int u = 0; u < QUARTERS; u++)
        vst1q_f32(&b->weight[i][LK_KEY_BLOCK * at + 4 * u], sum_f32x4[i][u]);
}

/* Scores of query i become weights; m, l and the factor of what was accumulated follow. */
LK_INLINE void softmax(batch *b, int i) {
    float *weight = b->weight[i], *m = b->m[i], *l = b->l[i];
    const int start = b->first / 4 * 4, padded = (b->most_seen + 3) / 4 * 4;
    for (int p = start; p < padded && b->softcap != 0.0f; p += 4)
        vst1q_f32(weight + p, neon_softcap(vld1q_f32(weight + p), b->softcap));
    for (int p = start; p < b->n_skipped[i]; p++)
        weight[p] = -INFINITY;
    for (int p = b->n_seen[i]; p < padded; p++)
        weight[p] = -INFINITY;
    float32x4_t max_f32x4 = vdupq_n_f32(*m);
    for (int p = start; p < padded; p += 4)
        max_f32x4 = vmaxq_f32(max_f32x4, vld1q_f32(weight + p));
    const float max = vmaxvq_f32(max_f32x4);
    float32x4_t sum_f32x4 = vdupq_n_f32(0.0f);
    for (int p = start; p < padded; p += 4) {
        const float32x4_t e_f32x4 = neon_exp(vsubq_f32(vld1q_f32(weight + p), vdupq_n_f32(max)));
        vst1q_f32(weight + p, e_f32x4);
        sum_f32x4 = vaddq_f32(sum_f32x4, e_f32x4);
    }
    b->factor[i] = neon_exp_one(*m - max);
    *m = max;
    *l = *l * b->factor[i] + vaddvq_f32(sum_f32x4);
}

/* Elements j .. j + 3 of the values of a position. */
LK_INLINE float32x4_t load_values(const int type, const char *row, int j) {
    if (type == LK_F32)
        return neon_load_f32(row + 4 * (ptrdiff_t)j);
    if (type == LK_F16)
        return neon_load_f16(row + 2 * (ptrdiff_t)j);
    const block_q8_0 *block = (const block_q8_0 *)row + j / 32;
    return vmulq_n_f32(i8_to_f32(block->qs + j % 32), lk_f16_to_f32(block->d));
}

/* acc = acc * factor + sum of weight * value, for 4 * width values from j on. */
LK_INLINE void weigh(const int type, batch *b, const int n, const lk_attn_tile *t, int j,
                     const int width) {
    const size_t bytes = lk_value_row_bytes(type, t->head_dim_v);
    float32x4_t acc_f32x4[QUERIES][4];
    LK_UNROLL
    for (int i = 0; i < n; i++)
        LK_UNROLL
    for (int u = 0; u < width; u++)
        acc_f32x4[i][u] = vmulq_n_f32(vld1q_f32(b->acc[i] + j + 4 * u), b->factor[i]);
    for (int p = b->first; p < b->most_seen; p++) {
        const char *row = (const char *)t->v + p * bytes;
        LK_UNROLL
        for (int u = 0; u < width; u++) {
            const float32x4_t v_f32x4 = load_values(type, row, j + 4 * u);
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

LK_INLINE void attend(const int type, batch *b, const int n, const lk_attn_tile *t) {
    const int dim = t->head_dim_v;
    for (int at = b->first / LK_KEY_BLOCK; LK_KEY_BLOCK * at < b->most_seen; at++)
        score_block(type, b, n, t, at);
    for (int i = 0; i < n; i++)
        softmax(b, i);
    int j = 0;
    for (; j + 16 <= dim; j += 16)
        weigh(type, b, n, t, j, 4);
    for (; j + 4 <= dim; j += 4)
        weigh(type, b, n, t, j, 1);
    for (; j < dim; j++)
        for (int i = 0; i < n; i++) {
            float acc = b->acc[i][j] * b->factor[i];
            for (int p = b->first; p < b->most_seen; p++)
                acc += b->weight[i][p] * attn_value(type, t->v, dim, p, j);
            b->acc[i][j] = acc;
        }
}

/* Queries that see nothing of the tile stay as they are: they join no batch. */
LK_INLINE void attn(const int type, const lk_attn_tile *t) {
    batch b;
    int n = 0;
    b.first = LK_ATTN_TILE;
    b.most_seen = 0;
    b.softcap = t->softcap;
    for (int i = 0; i < t->n_q; i++) {
        if (t->n_seen[i] > t->n_skipped[i]) {
            b.q[n] = t->q + i * t->q_stride;
            b.acc[n] = t->acc + (ptrdiff_t)i * t->head_dim_v;
            b.m[n] = &t->m[i];
            b.l[n] = &t->l[i];
            b.n_skipped[n] = t->n_skipped[i];
            b.n_seen[n] = t->n_seen[i];
            b.first = t->n_skipped[i] < b.first ? t->n_skipped[i] : b.first;
            b.most_seen = t->n_seen[i] > b.most_seen ? t->n_seen[i] : b.most_seen;
            n++;
        }
        if (n == QUERIES) {
            attend(type, &b, QUERIES, t);
            n = b.most_seen = 0;
            b.first = LK_ATTN_TILE;
        }
    }
    if (n == 1)
        attend(type, &b, 1, t);
    else if (n == 2)
        attend(type, &b, 2, t);
    else if (n == 3)
        attend(type, &b, 3, t);
}

void attn_f32_neon(const lk_attn_tile *tile) {
    attn(LK_F32, tile);
}
void attn_f16_neon(const lk_attn_tile *tile) {
    attn(LK_F16, tile);
}
void attn_q8_0_neon(const lk_attn_tile *tile) {
    attn(LK_Q8_0, tile);
}
#endif
