/*
 * attn_f32, attn_f16: formula in attn_scalar.c. Queries that see something go 4, 2 or 1 at a time
 * and share each load of K and V. Scores: 16 products of q and K rows (4 x 4, 2 x 8 or 1 x 16) are
 * summed lane by lane and reduced together by one tree of transposing additions. Then a softmax
 * over 64 lanes, those unseen being -inf, and acc = acc f + w_p V_p in the order of positions.
 * A query's arithmetic is the same whatever its neighbours and n_pos. Tails: masked loads; a row
 * beyond the last seen one is replaced by that one, its scores are then excluded.
 */
#include <math.h>

#include "exp_avx512.h"
#include "kernels.h"
#include "load_avx512.h"

#if LK_X86

LK_BEGIN_AVX512

/* Up to 4 queries that run together. */
typedef struct {
    float score[4][LK_ATTN_TILE]; /* scores, then weights */
    float factor[4];
    const float *q[4];
    float *acc[4];
    int index[4];
    int longest; /* the largest n_seen */
} __attribute__((aligned(64))) query_block;

/* Lane i of the result is the sum of the lanes of v[i]; every sum is taken in the same order. */
LK_INLINE __m512 reduce_16(__m512 *v) {
    LK_UNROLL
    for (int i = 0; i < 8; i++)
        v[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                             _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    LK_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m512d a = _mm512_castps_pd(v[2 * i]), b = _mm512_castps_pd(v[2 * i + 1]);
        v[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    LK_UNROLL
    for (int step = 2; step > 0; step--) {
        LK_UNROLL
        for (int i = 0; i < step; i++)
            v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0x88),
                                 _mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0xdd));
    }
    return v[0];
}

/* sum[q * 16 / n_q + p] += 16 products from element i on. */
LK_INLINE void score_chunk(__m512 *sum, const float *const *q, const char *const *row, int i,
                           __mmask16 lanes, int n_q, lk_load_f32x16_fn load) {
    const int n_rows = 16 / n_q;
    __m512 query[4];
    LK_UNROLL
    for (int j = 0; j < n_q; j++)
        query[j] = lk_load_f32x16(q[j], i, lanes);
    LK_UNROLL
    for (int p = 0; p < n_rows; p++) {
        const __m512 key = load(row[p], i, lanes);
        LK_UNROLL
        for (int j = 0; j < n_q; j++)
            sum[j * n_rows + p] = _mm512_fmadd_ps(query[j], key, sum[j * n_rows + p]);
    }
}

LK_INLINE void scores(query_block *b, const lk_attn_tile *t, int bytes, int n_q,
                      lk_load_f32x16_fn load) {
    const int n_rows = 16 / n_q, dim = t->head_dim_k, last = b->longest - 1;
    const __mmask16 all = 0xffff, tail = lk_lanes_16(dim % 16);
    for (int p0 = 0; p0 <= last; p0 += n_rows) {
        const char *row[16];
        __m512 sum[16];
        LK_UNROLL
        for (int p = 0; p < n_rows; p++) {
            const int position = p0 + p < last ? p0 + p : last;
            row[p] = (const char *)t->k + (ptrdiff_t)position * dim * bytes;
        }
        LK_UNROLL
        for (int i = 0; i < 16; i++)
            sum[i] = _mm512_setzero_ps();
        int i = 0;
        for (; i + 16 <= dim; i += 16)
            score_chunk(sum, b->q, row, i, all, n_q, load);
        if (tail)
            score_chunk(sum, b->q, row, i, tail, n_q, load);
        const __m512 reduced = reduce_16(sum);
        if (n_q == 1) {
            _mm512_store_ps(&b->score[0][p0], reduced);
        } else if (n_q == 2) {
            _mm256_store_ps(&b->score[0][p0], _mm512_castps512_ps256(reduced));
            _mm256_store_ps(&b->score[1][p0], _mm512_extractf32x8_ps(reduced, 1));
        } else {
            _mm_store_ps(&b->score[0][p0], _mm512_castps512_ps128(reduced));
            _mm_store_ps(&b->score[1][p0], _mm512_extractf32x4_ps(reduced, 1));
            _mm_store_ps(&b->score[2][p0], _mm512_extractf32x4_ps(reduced, 2));
            _mm_store_ps(&b->score[3][p0], _mm512_extractf32x4_ps(reduced, 3));
        }
    }
}

LK_INLINE float across(__m512 v, __m512 (*op)(__m512, __m512)) {
    v = op(v, _mm512_shuffle_f32x4(v, v, 0x4e));
    v = op(v, _mm512_shuffle_f32x4(v, v, 0xb1));
    v = op(v, _mm512_permute_ps(v, 0x4e));
    return _mm512_cvtss_f32(op(v, _mm512_permute_ps(v, 0xb1)));
}
LK_INLINE __m512 add(__m512 a, __m512 b) {
    return _mm512_add_ps(a, b);
}
LK_INLINE __m512 max(__m512 a, __m512 b) {
    return _mm512_max_ps(a, b);
}

/* Scores of query j become weights; m and l are updated. */
LK_INLINE void softmax(query_block *b, const lk_attn_tile *t, int j) {
    const int query = b->index[j];
    const uint64_t seen = ~UINT64_C(0) >> (LK_ATTN_TILE - t->n_seen[query]);
    float *m = &t->m[query], *l = &t->l[query];
    __m512 s[4];
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        s[i] = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), (__mmask16)(seen >> 16 * i),
                                    &b->score[j][16 * i]);
    const __m512 old = _mm512_set1_ps(*m);
    const __m512 top = max(max(max(s[0], s[1]), max(s[2], s[3])), old);
    const __m512 highest = _mm512_set1_ps(across(top, max));
    LK_UNROLL
    for (int i = 0; i < 4; i++) {
        s[i] = lk_exp_f32x16(_mm512_sub_ps(s[i], highest));
        _mm512_store_ps(&b->score[j][16 * i], s[i]);
    }
    b->factor[j] = _mm512_cvtss_f32(lk_exp_f32x16(_mm512_sub_ps(old, highest)));
    *l = *l * b->factor[j] + across(add(add(s[0], s[1]), add(s[2], s[3])), add);
    *m = _mm512_cvtss_f32(highest);
}

/* acc of n_q queries, n_chunks x 16 elements from d on; fewer than 16 only in a single chunk. */
LK_INLINE void weigh(query_block *b, const lk_attn_tile *t, int d, __mmask16 lanes, int n_chunks,
                     int bytes, int n_q, lk_load_f32x16_fn load) {
    const char *row = t->v;
    __m512 acc[4][4];
    LK_UNROLL
    for (int j = 0; j < n_q; j++) {
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            acc[j][i] = _mm512_mul_ps(lk_load_f32x16(b->acc[j], d + 16 * i, lanes),
                                      _mm512_set1_ps(b->factor[j]));
    }
    for (int p = 0; p < b->longest; p++, row += (ptrdiff_t)t->head_dim_v * bytes) {
        __m512 value[4];
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            value[i] = load(row, d + 16 * i, lanes);
        LK_UNROLL
        for (int j = 0; j < n_q; j++) {
            const __m512 weight = _mm512_set1_ps(b->score[j][p]);
            LK_UNROLL
            for (int i = 0; i < n_chunks; i++)
                acc[j][i] = _mm512_fmadd_ps(weight, value[i], acc[j][i]);
        }
    }
    LK_UNROLL
    for (int j = 0; j < n_q; j++) {
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            _mm512_mask_storeu_ps(b->acc[j] + d + 16 * i, lanes, acc[j][i]);
    }
}

LK_INLINE void run_block(query_block *b, const lk_attn_tile *t, int bytes, int n_q,
                         lk_load_f32x16_fn load) {
    const __mmask16 all = 0xffff;
    const int dim = t->head_dim_v;
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
    for (; d + 64 <= dim; d += 64)
        weigh(b, t, d, all, 4, bytes, n_q, load);
    for (; d < dim; d += 16)
        weigh(b, t, d, lk_lanes_16(dim - d), 1, bytes, n_q, load);
}

LK_INLINE void attn(const lk_attn_tile *t, int bytes, lk_load_f32x16_fn load) {
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

void attn_f32_avx512(const lk_attn_tile *tile) {
    attn(tile, 4, lk_load_f32x16);
}
void attn_f16_avx512(const lk_attn_tile *tile) {
    attn(tile, 2, lk_load_f16x16);
}

LK_END
#endif
