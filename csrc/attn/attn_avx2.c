/*
 * attn_f32, attn_f16: formula in attn_scalar.c. Queries that see something go 4, 2 or 1 at a time
 * and share each load of K and V. Scores: 8 products of q and K rows (4 x 2, 2 x 4 or 1 x 8) are
 * summed lane by lane and reduced together by one tree of transposing additions. Then a softmax
 * over 64 lanes, those unseen being -inf, and acc = acc f + w_p V_p in the order of positions.
 * A query's arithmetic is the same whatever its neighbours and n_pos. Tails: partial loads; a row
 * beyond the last seen one is replaced by that one, its scores are then excluded.
 */
#include <math.h>

#include "exp_avx2.h"
#include "kernels.h"
#include "load_avx2.h"

#if LK_X86

LK_BEGIN_AVX2

/* Up to 4 queries that run together. */
typedef struct {
    float score[4][LK_ATTN_TILE]; /* scores, then weights */
    float factor[4];
    const float *q[4];
    float *acc[4];
    int index[4];
    int longest; /* the largest n_seen */
} query_block;

/* Lane i of the result is the sum of the lanes of v[i]; every sum is taken in the same order. */
LK_INLINE __m256 reduce_8(__m256 *v) {
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_add_ps(_mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                             _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    LK_UNROLL
    for (int i = 0; i < 2; i++) {
        const __m256d a = _mm256_castps_pd(v[2 * i]), b = _mm256_castps_pd(v[2 * i + 1]);
        v[i] = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                             _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
    }
    return _mm256_add_ps(_mm256_permute2f128_ps(v[0], v[1], 0x20),
                         _mm256_permute2f128_ps(v[0], v[1], 0x31));
}

/* sum[q * 8 / n_q + p] += n products from element i on. */
LK_INLINE void score_chunk(__m256 *sum, const float *const *q, const char *const *row, int i, int n,
                           int n_q, lk_load_f32x8_fn load) {
    const int n_rows = 8 / n_q;
    __m256 query[4];
    LK_UNROLL
    for (int j = 0; j < n_q; j++)
        query[j] = lk_load_f32x8(q[j], i, n);
    LK_UNROLL
    for (int p = 0; p < n_rows; p++) {
        const __m256 key = load(row[p], i, n);
        LK_UNROLL
        for (int j = 0; j < n_q; j++)
            sum[j * n_rows + p] = _mm256_fmadd_ps(query[j], key, sum[j * n_rows + p]);
    }
}

LK_INLINE void scores(query_block *b, const lk_attn_tile *t, int bytes, int n_q,
                      lk_load_f32x8_fn load) {
    const int n_rows = 8 / n_q, dim = t->head_dim_k, last = b->longest - 1;
    for (int p0 = 0; p0 <= last; p0 += n_rows) {
        const char *row[8];
        float reduced[8];
        __m256 sum[8];
        LK_UNROLL
        for (int p = 0; p < n_rows; p++) {
            const int position = p0 + p < last ? p0 + p : last;
            row[p] = (const char *)t->k + (ptrdiff_t)position * dim * bytes;
        }
        LK_UNROLL
        for (int i = 0; i < 8; i++)
            sum[i] = _mm256_setzero_ps();
        int i = 0;
        for (; i + 8 <= dim; i += 8)
            score_chunk(sum, b->q, row, i, 8, n_q, load);
        if (i < dim)
            score_chunk(sum, b->q, row, i, dim - i, n_q, load);
        _mm256_storeu_ps(reduced, reduce_8(sum));
        LK_UNROLL
        for (int j = 0; j < n_q; j++)
            memcpy(&b->score[j][p0], &reduced[j * n_rows], sizeof(float) * (size_t)n_rows);
    }
}

LK_INLINE float across(__m256 v, __m256 (*op)(__m256, __m256)) {
    v = op(v, _mm256_permute2f128_ps(v, v, 1));
    v = op(v, _mm256_permute_ps(v, 0x4e));
    return _mm256_cvtss_f32(op(v, _mm256_permute_ps(v, 0xb1)));
}
LK_INLINE __m256 add(__m256 a, __m256 b) {
    return _mm256_add_ps(a, b);
}
LK_INLINE __m256 max(__m256 a, __m256 b) {
    return _mm256_max_ps(a, b);
}

/* Scores of query j become weights; m and l are updated. */
LK_INLINE void softmax(query_block *b, const lk_attn_tile *t, int j) {
    const int query = b->index[j], n = t->n_seen[query];
    float *m = &t->m[query], *l = &t->l[query], *score = b->score[j];
    const __m256 old = _mm256_set1_ps(*m);
    __m256 highest = old, sum = _mm256_setzero_ps();
    for (int i = 0; i < LK_ATTN_TILE; i += 8) {
        const __m256 seen = _mm256_castsi256_ps(lk_lanes_8(n - i));
        const __m256 s =
            _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), _mm256_loadu_ps(score + i), seen);
        highest = max(highest, s);
        _mm256_storeu_ps(score + i, s);
    }
    highest = _mm256_set1_ps(across(highest, max));
    for (int i = 0; i < LK_ATTN_TILE; i += 8) {
        const __m256 w = lk_exp_f32x8(_mm256_sub_ps(_mm256_loadu_ps(score + i), highest));
        sum = add(sum, w);
        _mm256_storeu_ps(score + i, w);
    }
    b->factor[j] = _mm256_cvtss_f32(lk_exp_f32x8(_mm256_sub_ps(old, highest)));
    *l = *l * b->factor[j] + across(sum, add);
    *m = _mm256_cvtss_f32(highest);
}

/* acc of n_q queries, n_chunks x 8 elements from d on; n < 8 only in a single chunk. */
LK_INLINE void weigh(query_block *b, const lk_attn_tile *t, int d, int n, int n_chunks, int bytes,
                     int n_q, lk_load_f32x8_fn load) {
    const char *row = t->v;
    __m256 acc[4][4];
    LK_UNROLL
    for (int j = 0; j < n_q; j++) {
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            acc[j][i] =
                _mm256_mul_ps(lk_load_f32x8(b->acc[j], d + 8 * i, n), _mm256_set1_ps(b->factor[j]));
    }
    for (int p = 0; p < b->longest; p++, row += (ptrdiff_t)t->head_dim_v * bytes) {
        __m256 value[4];
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            value[i] = load(row, d + 8 * i, n);
        LK_UNROLL
        for (int j = 0; j < n_q; j++) {
            const __m256 weight = _mm256_set1_ps(b->score[j][p]);
            LK_UNROLL
            for (int i = 0; i < n_chunks; i++)
                acc[j][i] = _mm256_fmadd_ps(weight, value[i], acc[j][i]);
        }
    }
    LK_UNROLL
    for (int j = 0; j < n_q; j++) {
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            lk_store_f32x8(b->acc[j] + d + 8 * i, n, acc[j][i]);
    }
}

LK_INLINE void run_block(query_block *b, const lk_attn_tile *t, int bytes, int n_q,
                         lk_load_f32x8_fn load) {
    const int dim = t->head_dim_v, n_chunks = n_q == 4 ? 2 : 4;
    b->longest = 0;
    LK_UNROLL
    for (int j = 0; j < n_q; j++) {
        const int query = b->index[j];
        b->q[j] = t->q + query * t->q_stride;
        b->acc[j] = t->acc + (ptrdiff_t)query * dim;
        if (t->n_seen[query] > b->longest)
            b->longest = t->n_seen[query];
    }
    scores(b, t, bytes, n_q, load);
    for (int j = 0; j < n_q; j++)
        softmax(b, t, j);
    int d = 0;
    for (; d + 8 * n_chunks <= dim; d += 8 * n_chunks)
        weigh(b, t, d, 8, n_chunks, bytes, n_q, load);
    for (; d + 8 <= dim; d += 8)
        weigh(b, t, d, 8, 1, bytes, n_q, load);
    if (d < dim)
        weigh(b, t, d, dim - d, 1, bytes, n_q, load);
}

LK_INLINE void attn(const lk_attn_tile *t, int bytes, lk_load_f32x8_fn load) {
    query_block b;
    int n = 0;
    for (int i = 0; i < t->n_q; i++) {
        if (t->n_seen[i] > 0)
            b.index[n++] = i;
        if (n == 4) {
            run_block(&b, t, bytes, 4, load);
            n = 0;
        }
    }
    if (n >= 2)
        run_block(&b, t, bytes, 2, load);
    if (n % 2) {
        b.index[0] = b.index[n - 1];
        run_block(&b, t, bytes, 1, load);
    }
}

void attn_f32_avx2(const lk_attn_tile *tile) {
    attn(tile, 4, lk_load_f32x8);
}
void attn_f16_avx2(const lk_attn_tile *tile) {
    attn(tile, 2, lk_load_f16x8);
}

LK_END
#endif
