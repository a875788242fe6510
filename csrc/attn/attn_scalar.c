/*
 * attn_f32, attn_f16: a tile of softmax(q K^T) V with a running maximum ("online softmax", Milakov
 * and Gimelshein 2018; FlashAttention, Dao et al. 2022). For query i over its n_seen[i] positions:
 *     s_p = <q, K_p>;  m' = max(m, max s);  f = exp(m - m');  w_p = exp(s_p - m')
 *     l' = l f + sum w_p;  acc' = acc f + sum w_p V_p
 * n_seen[i] = 0 leaves query i untouched. f is 0 on the first tile (m = -inf). Inputs are finite.
 */
#include <math.h>

#include "half.h"
#include "kernels.h"

LK_INLINE float load_f32(const void *row, int i) {
    return lk_load_f32((const char *)row + 4 * i);
}
LK_INLINE float load_f16(const void *row, int i) {
    return lk_f16_to_f32(lk_load_u16((const char *)row + 2 * i));
}

LK_INLINE void attn(const lk_attn_tile *t, int bytes, float (*load)(const void *row, int i)) {
    for (int i = 0; i < t->n_q; i++) {
        const int n = t->n_seen[i];
        if (n == 0)
            continue;
        const float *q = t->q + i * t->q_stride;
        float *acc = t->acc + (ptrdiff_t)i * t->head_dim_v;
        float weight[LK_ATTN_TILE], m = t->m[i];
        for (int p = 0; p < n; p++) {
            const char *k = (const char *)t->k + (ptrdiff_t)p * t->head_dim_k * bytes;
            double score = 0;
            for (int j = 0; j < t->head_dim_k; j++)
                score += (double)q[j] * load(k, j);
            weight[p] = (float)score;
            m = fmaxf(m, weight[p]);
        }
        const float factor = expf(t->m[i] - m);
        double sum = 0;
        for (int p = 0; p < n; p++)
            sum += weight[p] = expf(weight[p] - m);
        for (int j = 0; j < t->head_dim_v; j++) {
            double value = (double)acc[j] * factor;
            for (int p = 0; p < n; p++) {
                const char *v = (const char *)t->v + (ptrdiff_t)p * t->head_dim_v * bytes;
                value += (double)weight[p] * load(v, j);
            }
            acc[j] = (float)value;
        }
        t->m[i] = m;
        t->l[i] = (float)(t->l[i] * (double)factor + sum);
    }
}

void attn_f32_scalar(const lk_attn_tile *tile) {
    attn(tile, 4, load_f32);
}
void attn_f16_scalar(const lk_attn_tile *tile) {
    attn(tile, 2, load_f16);
}
