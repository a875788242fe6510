/*
 * attn_f32, attn_f16, attn_q8_0: formula in attn_scalar.c, cache in kernels.h. Queries that see
 * something go 8, 4, 2 or 1 at a time and share each load of K and V. A vector holds one dimension
 * of 16 keys, so scores are sums of broadcast q times keys, in the order of dimensions. Then a
 * softmax over 64 lanes, those unseen being -inf, and acc = acc f + w_p V_p in the order of
 * positions. A query's arithmetic is the same whatever its neighbours and n_pos. Tails: masked
 * loads of V. K and V alternate in runs too short for the hardware to prefetch, so the first
 * queries of a tile fetch V while they read K, and what follows K while they read V; prefetches
 * never fault.
 */
#include <math.h>

#include "attn.h"
#include "exp_avx512.h"
#include "load_avx512.h"

#if LK_X86

LK_BEGIN_AVX512

#define MAX_Q 8 /* queries that run together */

typedef struct {
    float score[MAX_Q][LK_ATTN_TILE]; /* scores, then weights */
    float factor[MAX_Q];
    const float *q[MAX_Q];
    float *acc[MAX_Q];
    int index[MAX_Q];
    int first, longest; /* the smallest n_skipped, the largest n_seen */
} __attribute__((aligned(64))) query_block;

/* Part i of n of some bytes, towards the caches. */
LK_INLINE void prefetch_part(const char *bytes, size_t n_bytes, int i, int n) {
    const size_t lines = n_bytes / 64;
    for (size_t at = lines * (size_t)i / (size_t)n; at < lines * (size_t)(i + 1) / (size_t)n; at++)
        _mm_prefetch(bytes + 64 * at, _MM_HINT_T0);
}

LK_INLINE __m512 i8_to_f32(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/* Dimension j of the 16 keys of a block. */
LK_INLINE __m512 load_keys(int type, const char *block, int j, __m512 scale) {
    const __mmask16 all = 0xffff;
    if (type == LK_F32)
        return lk_load_f32x16(block, LK_KEY_BLOCK * j, all);
    if (type == LK_F16)
        return lk_load_f16x16(block, LK_KEY_BLOCK * j, all);
    const lk_key_group *g = (const lk_key_group *)block + j / 32;
    return _mm512_mul_ps(i8_to_f32(g->q[j % 32]), scale);
}

/* The scores of n_q queries with n_blocks blocks of keys from block `first` on. */
LK_INLINE void score_blocks(int type, query_block *b, const lk_attn_tile *t, int first, int n_q,
                            int n_blocks) {
    const int dim = t->head_dim_k, group = type == LK_Q8_0 ? 32 : dim;
    const size_t bytes = lk_key_block_bytes(type, dim);
    const char *block = (const char *)t->k + first * bytes;
    __m512 sum[MAX_Q][4], scale[4];
    LK_UNROLL
    for (int i = 0; i < n_q; i++) {
        LK_UNROLL
        for (int n = 0; n < n_blocks; n++)
            sum[i][n] = _mm512_setzero_ps();
    }
    for (int j0 = 0; j0 < dim; j0 += group) {
        LK_UNROLL
        for (int n = 0; n < n_blocks; n++) {
            const lk_key_group *g = (const lk_key_group *)(block + n * bytes) + j0 / 32;
            scale[n] = type == LK_Q8_0 ? lk_load_f16x16(g->d, 0, 0xffff) : _mm512_setzero_ps();
        }
        for (int j = j0; j < j0 + group; j++) {
            __m512 key[4];
            LK_UNROLL
            for (int n = 0; n < n_blocks; n++)
                key[n] = load_keys(type, block + n * bytes, j, scale[n]);
            LK_UNROLL
            for (int i = 0; i < n_q; i++) {
                const __m512 query = _mm512_set1_ps(b->q[i][j]);
                LK_UNROLL
                for (int n = 0; n < n_blocks; n++)
                    sum[i][n] = _mm512_fmadd_ps(query, key[n], sum[i][n]);
            }
        }
    }
    LK_UNROLL
    for (int i = 0; i < n_q; i++) {
        LK_UNROLL
        for (int n = 0; n < n_blocks; n++)
            _mm512_store_ps(&b->score[i][LK_KEY_BLOCK * (first + n)], sum[i][n]);
    }
}

/* All scores, `step` blocks at a time; those blocks that remain one by one. */
LK_INLINE void scores(int type, query_block *b, const lk_attn_tile *t, int n_q, int step,
                      int ahead) {
    const int n_blocks = (b->longest + LK_KEY_BLOCK - 1) / LK_KEY_BLOCK;
    const size_t v_bytes = (size_t)t->n_pos * lk_value_row_bytes(type, t->head_dim_v);
    int n = b->first / LK_KEY_BLOCK;
    for (; n + step <= n_blocks; n += step) {
        if (ahead)
            prefetch_part(t->v, v_bytes, n / step, LK_ATTN_TILE / LK_KEY_BLOCK / step);
        score_blocks(type, b, t, n, n_q, step);
    }
    for (; n < n_blocks; n++)
        score_blocks(type, b, t, n, n_q, 1);
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
    const uint64_t seen =
        ~UINT64_C(0) >> (LK_ATTN_TILE - t->n_seen[query]) & ~UINT64_C(0) << t->n_skipped[query];
    float *m = &t->m[query], *l = &t->l[query];
    __m512 s[4];
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        s[i] = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), (__mmask16)(seen >> 16 * i),
                                    &b->score[j][16 * i]);
    if (t->softcap != 0) {
        LK_UNROLL
        for (int i = 0; i < 4; i++)
            s[i] = _mm512_mask_mov_ps(s[i], (__mmask16)(seen >> 16 * i),
                                      lk_softcap_f32x16(s[i], t->softcap));
    }
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

/* Elements d .. d + 15 of a row of values. */
LK_INLINE __m512 load_values(int type, const char *row, int d, __mmask16 lanes) {
    if (type == LK_F32)
        return lk_load_f32x16(row, d, lanes);
    if (type == LK_F16)
        return lk_load_f16x16(row, d, lanes);
    const block_q8_0 *block = (const block_q8_0 *)row + d / 32; /* rows are multiples of 32 */
    const __m512 scale = _mm512_cvtph_ps(_mm256_set1_epi16((short)block->d));
    return _mm512_mul_ps(i8_to_f32(block->qs + d % 32), scale);
}

/* acc of n_q queries, n_chunks x 16 elements from d on; fewer than 16 only in a single chunk. */
LK_INLINE void weigh(int type, query_block *b, const lk_attn_tile *t, int d, __mmask16 lanes,
                     int n_chunks, int n_q, int ahead) {
    const size_t bytes = lk_value_row_bytes(type, t->head_dim_v);
    const size_t k_bytes = LK_ATTN_TILE / LK_KEY_BLOCK * lk_key_block_bytes(type, t->head_dim_k);
    const char *row = (const char *)t->v + b->first * bytes, *next_k = (const char *)t->k + k_bytes;
    __m512 acc[MAX_Q][4];
    LK_UNROLL
    for (int j = 0; j < n_q; j++) {
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            acc[j][i] = _mm512_mul_ps(lk_load_f32x16(b->acc[j], d + 16 * i, lanes),
                                      _mm512_set1_ps(b->factor[j]));
    }
    for (int p = b->first; p < b->longest; p++, row += bytes) {
        if (ahead)
            prefetch_part(next_k, k_bytes, p, LK_ATTN_TILE);
        __m512 value[4];
        LK_UNROLL
        for (int i = 0; i < n_chunks; i++)
            value[i] = load_values(type, row, d + 16 * i, lanes);
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

/* n_q queries, a constant; ahead: nobody has fetched this tile yet. */
LK_INLINE void run_block(int type, query_block *b, const lk_attn_tile *t, int n_q, int ahead) {
    const __mmask16 all = 0xffff;
    const int dim = t->head_dim_v, n_chunks = n_q == MAX_Q ? 2 : 4;
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
    scores(type, b, t, n_q, n_q == MAX_Q ? 2 : 4, ahead);
    for (int j = 0; j < n_q; j++)
        softmax(b, t, j);
    int d = 0;
    for (; d + 16 * n_chunks <= dim; d += 16 * n_chunks)
        weigh(type, b, t, d, all, n_chunks, n_q, ahead && d == 0);
    for (; d < dim; d += 16)
        weigh(type, b, t, d, lk_lanes_16(dim - d), 1, n_q, 0);
}

LK_INLINE void attn(int type, const lk_attn_tile *t) {
    query_block b;
    int n = 0, ahead = 1;
    for (int i = 0; i < t->n_q; i++) {
        if (t->n_seen[i] > t->n_skipped[i])
            b.index[n++] = i;
        if (n == MAX_Q) {
            run_block(type, &b, t, MAX_Q, ahead);
            n = ahead = 0;
        }
    }
    for (int first = 0; first < n;) {
        const int left = n - first, size = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        for (int j = 0; j < size; j++)
            b.index[j] = b.index[first + j];
        if (size == 4)
            run_block(type, &b, t, 4, ahead);
        else if (size == 2)
            run_block(type, &b, t, 2, ahead);
        else
            run_block(type, &b, t, 1, ahead);
        first += size;
        ahead = 0;
    }
}

void attn_f32_avx512(const lk_attn_tile *tile) {
    attn(LK_F32, tile);
}
void attn_f16_avx512(const lk_attn_tile *tile) {
    attn(LK_F16, tile);
}
void attn_q8_0_avx512(const lk_attn_tile *tile) {
    attn(LK_Q8_0, tile);
}

LK_END
#endif
