/*
 * attn_f32, attn_f16, attn_q8_0: a tile of softmax(q K^T) V with a running maximum ("online
 * softmax", Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022). For query i over the
 * positions that it sees:
 *     s_p = <q, K_p>, or softcap tanh(<q, K_p> / softcap);  m' = max(m, max s);  f = exp(m - m');
 * w_p = exp(s_p - m') l' = l f + sum w_p;  acc' = acc f + sum w_p V_p A query that sees nothing is
 * left untouched. f is 0 on the first tile (m = -inf). Inputs are finite.
 */
#include <math.h>

#include "attn.h"

LK_INLINE float score_of(int type, const lk_attn_tile *t, const float *q, int p) {
    double score = 0;
    for (int j = 0; j < t->head_dim_k; j++)
        score += (double)q[j] * attn_key(type, t->k, t->head_dim_k, p, j);
    if (t->softcap != 0)
        score = (double)t->softcap * tanh(score / (double)t->softcap);
    return (float)score;
}

LK_INLINE void attn(int type, const lk_attn_tile *t) {
    for (int i = 0; i < t->n_q; i++) {
        const int first = t->n_skipped[i], n = t->n_seen[i];
        if (first >= n)
            continue;
        const float *q = t->q + i * t->q_stride;
        float *acc = t->acc + (ptrdiff_t)i * t->head_dim_v;
        float weight[LK_ATTN_TILE], m = t->m[i];
        for (int p = first; p < n; p++) {
            weight[p] = score_of(type, t, q, p);
            m = fmaxf(m, weight[p]);
        }
        const float factor = expf(t->m[i] - m);
        double sum = 0;
        for (int p = first; p < n; p++)
            sum += weight[p] = expf(weight[p] - m);
        for (int j = 0; j < t->head_dim_v; j++) {
            double value = (double)acc[j] * factor;
            for (int p = first; p < n; p++)
                value += (double)weight[p] * attn_value(type, t->v, t->head_dim_v, p, j);
            acc[j] = (float)value;
        }
        t->m[i] = m;
        t->l[i] = (float)(t->l[i] * (double)factor + sum);
    }
}

void attn_f32_scalar(const lk_attn_tile *tile) {
    attn(LK_F32, tile);
}
void attn_f16_scalar(const lk_attn_tile *tile) {
    attn(LK_F16, tile);
}
void attn_q8_0_scalar(const lk_attn_tile *tile) {
    attn(LK_Q8_0, tile);
}
