/*
 * attn_f32, attn_f16, attn_q8_0: formula in attn_scalar.c, cache in kernels.h. Queries that see
 * something go 4, 2 or 1 at a time and share each load of K and V. A vector holds one dimension of
 * 8 keys, so scores are sums of broadcast q times keys, in the order of dimensions. Then a softmax
 * over 64 lanes, those unseen being -inf, and acc = acc f + w_p V_p in the order of positions.
 * A query's arithmetic is the same whatever its neighbours and n_pos. Tails: partial loads of V.
 */
#include <math.h>

#include "attn.h"
#include "exp_avx2.h"
#include "load_avx2.h"

#if LK_X86

LK_BEGIN_AVX2

#define HALVES 2 /* vectors of a block of keys */

/* Up to 4 queries that run together. */
typedef struct {
    float score[4][LK_ATTN_TILE]; /* scores, then weights */
    float factor[4];
    const float *q[4];
    float *acc[4];
    int index[4];
    int first, longest; /* the smallest n_skipped, the largest n_seen */
} query_block;

LK_INLINE __m256 i8_to_f32(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

/* Dimension j of 8 keys of a block. */
LK_INLINE __m256 load_keys(int type, const char *block, int j, int half, __m256 scale) {
    const int at = LK_KEY_BLOCK * j + 8 * half;
    if (type == LK_F32)
        return lk_load_f32x8(block, at, 8);
    if (type == LK_F16)
        return lk_load_f16x8(block, at, 8);
    const lk_key_group *g = (const lk_key_group *)block + j / 32;
    return _mm256_mul_ps(i8_to_f32(&g->q[j % 32][8 * half]), scale);
}

/* The scores of n_q queries with block `n` of the keys. */
LK_INLINE void score_block(int type, query_block *b, const lk_attn_tile *t, int n, int n_q) {
    const int dim = t->head_dim_k, group = type == LK_Q8_0 ? 32 : dim;
    const char *block = (const char *)t->k + n * lk_key_block_bytes(type, dim);
    __m256 sum[4][HALVES], scale[HALVES];
    LK_UNROLL
    for (int i = 0; i < n_q; i++)
        sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    for (int j0 = 0; j0 < dim; j0 += group) {
        LK_UNROLL
        for (int h = 0; h < HALVES; h++)
            scale[h] = type == LK_Q8_0
                           ? lk_load_f16x8(((const lk_key_group *)block + j0 / 32)->d, 8 * h, 8)
                           : _mm256_setzero_ps();
        for (int j = j0; j < j0 + group; j++) {
            __m256 key[HALVES];
            LK_UNROLL
            for (int h = 0; h < HALVES; h++)
                key[h] = load_keys(type, block, j, h, scale[h]);
            LK_UNROLL
            for (int i = 0; i < n_q; i++) {
                const __m256 query = _mm256_set1_ps(b->q[i][j]);
                LK_UNROLL
                for (int h = 0; h < HALVES; h++)
                    sum[i][h] = _mm256_fmadd_ps(query, key[h], sum[i][h]);
            }
        }
    }
    LK_UNROLL
    for (int i = 0; i < n_q; i++) {
        LK_UNROLL
        for (int h = 0; h < HALVES; h++)
            _mm256_storeu_ps(&b->score[i][LK_KEY_BLOCK * n + 8 * h], sum[i][h]);
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
    const int query = b->index[j], n = t->n_seen[query], skipped = t->n_skipped[query];
    float *m = &t->m[query], *l = &t->l[query], *score = b->score[j];
    const __m256 old = _mm256_set1_ps(*m);
    __m256 highest = old, sum = _mm256_setzero_ps();
    for (int i = 0; i < LK_ATTN_TILE; i += 8) {
        const __m256 seen =
            _mm256_castsi256_ps(_mm256_andnot_si256(lk_lanes_8(skipped - i), lk_lanes_8(n - i)));
        __m256 s = _mm256_loadu_ps(score + i);
        if (t->softcap != 0)
            s = lk_softcap_f32x8(s, t->softcap);
        s = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), s, seen);
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

/* Elements d .. d + n - 1 of a row of values, n at most 8. */
LK_INLINE __m256 load_values(int type, const char *row, int d, int n) {
    if (type == LK_F32)
        return lk_load_f32x8(row, d, n);
    if (type == LK_F16)
        return lk_load_f16x8(row, d, n);
    const block_q8_0 *block = (const block_q8_0 *)row + d / 32; /* rows are multiples of 32 */
    const __m256 scale = _mm256_cvtph_ps(_mm_set1_epi16((short)block->d));
    return _mm256_mul_ps(i8_to_f32(block->qs + d % 32), scale);
}

/* acc of n_q queries, n_chunks x 8 elements from d on; n < 8 only in a single chunk. */
LK_INLINE void weigh(int type, query_block *b, const lk_attn_tile *t, int d, int n, int n_chunks,
                     int n_q) {
    const size_t bytes = lk_value_row_bytes(type, t->head_dim_v);
    const char *row = (const char *)t->v + b->first * bytes;
    __m256 acc[4][4];
    LK_UNROLL
    for (int j = 0; j < n_q; j++) {
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            acc[j][i] =
                _mm256_mul_ps(lk_load_f32x8(b->acc[j], d + 8 * i, n), _mm256_set1_ps(b->factor[j]));
    }
    for (int p = b->first; p < b->longest; p++, row += bytes) {
        __m256 value[4];
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            value[i] = load_values(type, row, d + 8 * i, n);
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

LK_INLINE void run_block(int type, query_block *b, const lk_attn_tile *t, int n_q) {
    const int dim = t->head_dim_v, n_chunks = n_q == 4 ? 2 : 4;
    b->first = LK_ATTN_TILE;
    b->longest = 0;
    LK_UNROLL
    for (int j = 0; j < n_q; j++) {
        const int query = b->index[j];
        b->q[j] = t->q + query * t->q_stride;
        b->acc[j] = t->acc + (ptrdiff_t)query * dim;
        if (t->n_seen[query] > b->longest)
            b->longest = t->n_seen[query];
        if (t->n_skipped[query] < b->first)
            b->first = t->n_skipped[query];
    }
    for (int n = b->first / LK_KEY_BLOCK; n * LK_KEY_BLOCK < b->longest; n++)
        score_block(type, b, t, n, n_q);
    for (int j = 0; j < n_q; j++)
        softmax(b, t, j);
    int d = 0;
    for (; d + 8 * n_chunks <= dim; d += 8 * n_chunks)
        weigh(type, b, t, d, 8, n_chunks, n_q);
    for (; d + 8 <= dim; d += 8)
        weigh(type, b, t, d, 8, 1, n_q);
    if (d < dim)
        weigh(type, b, t, d, dim - d, 1, n_q);
}

LK_INLINE void attn(int type, const lk_attn_tile *t) {
    query_block b;
    int n = 0;
    for (int i = 0; i < t->n_q; i++) {
        if (t->n_seen[i] > t->n_skipped[i])
            b.index[n++] = i;
        if (n == 4) {
            run_block(type, &b, t, 4);
            n = 0;
        }
    }
    if (n >= 2)
        run_block(type, &b, t, 2);
    if (n % 2) {
        b.index[0] = b.index[n - 1];
        run_block(type, &b, t, 1);
    }
}

void attn_f32_avx2(const lk_attn_tile *tile) {
    attn(LK_F32, tile);
}
void attn_f16_avx2(const lk_attn_tile *tile) {
    attn(LK_F16, tile);
}
void attn_q8_0_avx2(const lk_attn_tile *tile) {
    attn(LK_Q8_0, tile);
}

LK_END
#endif
