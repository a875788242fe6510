/*
 * Attention of one layer over its KV cache: causal, or to all tokens of a sequence.
 *
 * Phase 1: normalise and rotate q and k (RoPE), scale q, append k and v to the cache.
 * Phase 2: tasks of (block of tokens, KV head): the heads that share a KV head, for a few tokens of
 *          one sequence, go through its keys and values together, tile by tile (flash attention).
 * Phase 3: only if phase 2 split long contexts over threads: merge the parts.
 *
 * Positions are processed in chunks of POSITIONS_PER_CHUNK, each from a fresh state, merged in
 * order. So the sums are the same whether one thread went through all chunks or several shared
 * them, and whether a token came alone or in a prompt. With a window, chunks and tiles lie where
 * they do without; those that nobody sees are passed over.
 */
#include <math.h>
#include <string.h>

#include "blocks.h"
#include "half.h"
#include "norm.h"
#include "pool.h"
#include "scratch.h"

#define POSITIONS_PER_CHUNK 1024 /* a multiple of LK_ATTN_TILE */
#define QUERIES_PER_BLOCK 32
#define WORK_PER_THREAD (1 << 16) /* multiply-adds; less is done sooner alone */

/* Flash-attention state of n_q queries: maximum, sum, weighted sum of values. */
typedef struct {
    float *m;   /* (n_q) */
    float *l;   /* (n_q) */
    float *acc; /* (n_q, head_dim_v) */
} flash;

/* Consecutive tokens of one sequence at consecutive positions; end: of what the last one sees. */
typedef struct {
    int first, n;
    int64_t end;
} token_block;

typedef struct {
    int n_threads;
    int group;                                      /* query heads per KV head */
    int max_q;                                      /* queries of a block */
    size_t state;                                   /* bytes of a flash state of max_q queries */
    size_t blocks, ends, parts;                     /* offsets of shared parts */
    size_t q, n_seen, n_skipped, total, chunk, own; /* offsets in a thread's part, and its size */
    size_t threads, all; /* where the threads' parts begin, and the end of everything */
} layout;

typedef struct {
    const lk_attention *op;
    float *q, *k, *out;
    const float *v, *angles;
    char *k_cache, *v_cache, *scratch;
    size_t k_bytes, v_bytes; /* of the cache of one sequence and head */
    const int32_t *pos, *seq;
    token_block *blocks;
    layout at;
    int n_tokens, n_blocks, n_chunks; /* n_chunks > 1: phase 2 splits positions over tasks */
    lk_split tokens, tasks, merges;
} run_state;

static int max_chunks(const lk_attention *op) {
    return (int)((op->n_ctx + POSITIONS_PER_CHUNK - 1) / POSITIONS_PER_CHUNK);
}

static layout lay_out(const lk_attention *op, int n_tokens, int n_threads) {
    int group = op->n_head / op->n_kv_head;
    layout l = {.n_threads = n_threads, .group = group};
    l.max_q = group > QUERIES_PER_BLOCK ? group : QUERIES_PER_BLOCK / group * group;
    size_t floats = (size_t)l.max_q * (2 + op->head_dim_v);
    l.state = (floats * sizeof(float) + 63) / 64 * 64;
    size_t at = 0;
    l.blocks = lk_reserve(&at, n_tokens * sizeof(token_block));
    l.ends = lk_reserve(&at, op->causal ? 0 : op->n_seq * sizeof(int64_t));
    /* Split only while there are fewer than 4 tasks a thread, so this bounds the parts. */
    size_t n_parts = max_chunks(op) > 1 ? (size_t)4 * n_threads * max_chunks(op) : 0;
    l.parts = lk_reserve(&at, n_parts * l.state);
    l.threads = at;
    at = 0;
    l.q = lk_reserve(&at, (size_t)l.max_q * op->head_dim_k * sizeof(float));
    l.n_seen = lk_reserve(&at, l.max_q * sizeof(int32_t));
    l.n_skipped = lk_reserve(&at, l.max_q * sizeof(int32_t));
    l.total = lk_reserve(&at, l.state);
    l.chunk = lk_reserve(&at, l.state);
    l.own = at;
    l.all = l.threads + n_threads * l.own;
    return l;
}

int lk_attention_check(const lk_attention *op) {
    if (op->n_head < 1 || op->n_kv_head < 1 || op->n_head % op->n_kv_head || op->head_dim_k < 1 ||
        op->head_dim_v < 1 || op->n_seq < 1 || op->n_ctx < 1 || op->n_ctx > INT32_MAX ||
        op->rope_kind < LK_ROPE_NONE || op->rope_kind > LK_ROPE_HALF || op->n_rot < 0 ||
        op->n_rot % 2 || op->n_rot > op->head_dim_k || op->window < 0 ||
        (op->window && !op->causal) || !(op->softcap >= 0) || !lk_norm_is_valid(&op->q_norm) ||
        !lk_norm_is_valid(&op->k_norm))
        return LK_ERR_ARGUMENT;
    if (op->head_dim_k > LK_MAX_HEAD_DIM || op->head_dim_v > LK_MAX_HEAD_DIM)
        return LK_ERR_UNSUPPORTED;
    if (op->cache_type == LK_Q8_0)
        return op->head_dim_k % 32 || op->head_dim_v % 32 ? LK_ERR_UNSUPPORTED : LK_OK;
    return op->cache_type == LK_F32 || op->cache_type == LK_F16 ? LK_OK : LK_ERR_UNSUPPORTED;
}

size_t lk_cache_keys(int cache_type, int head_dim, int64_t n_pos) {
    return (size_t)((n_pos + LK_KEY_BLOCK - 1) / LK_KEY_BLOCK) *
           lk_key_block_bytes(cache_type, head_dim);
}

size_t lk_cache_values(int cache_type, int head_dim, int64_t n_pos) {
    return (size_t)n_pos * lk_value_row_bytes(cache_type, head_dim);
}

size_t lk_attention_scratch(const lk_attention *op, int n_tokens, int n_threads) {
    return lay_out(op, n_tokens, n_threads).all;
}

/* ---- flash states ------------------------------------------------------------------------- */

static flash state_at(char *memory, int n_q) {
    float *m = (float *)memory;
    return (flash){m, m + n_q, m + 2 * (ptrdiff_t)n_q};
}

static void reset(flash s, int n_q, int dim) {
    for (int i = 0; i < n_q; i++)
        s.m[i] = -INFINITY;
    memset(s.l, 0, (size_t)n_q * (1 + dim) * sizeof(float)); /* l and acc lie together */
}

/* Add the state of later positions to that of earlier ones. */
static void merge(flash into, flash from, int n_q, int dim) {
    for (int i = 0; i < n_q; i++) {
        if (from.l[i] == 0)
            continue;
        float m = into.m[i] > from.m[i] ? into.m[i] : from.m[i];
        float a = into.l[i] == 0 ? 0 : expf(into.m[i] - m), b = expf(from.m[i] - m);
        float *x = into.acc + (ptrdiff_t)i * dim;
        const float *y = from.acc + (ptrdiff_t)i * dim;
        for (int d = 0; d < dim; d++)
            x[d] = a * x[d] + b * y[d];
        into.l[i] = a * into.l[i] + b * from.l[i];
        into.m[i] = m;
    }
}

/* ---- phase 1 ------------------------------------------------------------------------------ */

/* Where the cache of one sequence and head begins. */
static char *head_of(const lk_attention *op, char *cache, size_t bytes, int32_t seq, int head) {
    return cache + ((size_t)seq * op->n_kv_head + head) * bytes;
}

/* Position pos of a head's keys: one lane of its block. */
static void store_key(const lk_attention *op, char *keys, const float *k, int32_t pos) {
    const int dim = op->head_dim_k, lane = pos % LK_KEY_BLOCK;
    char *block = keys + pos / LK_KEY_BLOCK * lk_key_block_bytes(op->cache_type, dim);
    if (op->cache_type == LK_F32) {
        for (int j = 0; j < dim; j++)
            ((float *)block)[j * LK_KEY_BLOCK + lane] = k[j];
    } else if (op->cache_type == LK_F16) {
        uint16_t halves[LK_MAX_HEAD_DIM];
        LK_CALL(lk_f32_to_f16_fn, f32_to_f16)(halves, k, dim);
        for (int j = 0; j < dim; j++)
            ((uint16_t *)block)[j * LK_KEY_BLOCK + lane] = halves[j];
    } else {
        lk_act_block act[LK_MAX_HEAD_DIM / 256];
        LK_CALL(lk_act_fn, act_q8)(act, k, dim, LK_ACT_IN_ORDER);
        lk_key_group *group = (lk_key_group *)block;
        for (int j = 0; j < dim; j++)
            group[j / 32].q[j % 32][lane] = act[j / 256].q[j % 256];
        for (int g = 0; g < dim / 32; g++)
            group[g].d[lane] = lk_f32_to_f16(act[g / 8].d[g % 8]);
    }
}

/* Position pos of a head's values: a row. */
static void store_value(const lk_attention *op, char *values, const float *v, int32_t pos) {
    const int dim = op->head_dim_v;
    char *row = values + pos * lk_value_row_bytes(op->cache_type, dim);
    if (op->cache_type == LK_F32) {
        memcpy(row, v, dim * sizeof(float));
    } else if (op->cache_type == LK_F16) {
        LK_CALL(lk_f32_to_f16_fn, f32_to_f16)((uint16_t *)row, v, dim);
    } else {
        lk_act_block act[LK_MAX_HEAD_DIM / 256];
        LK_CALL(lk_act_fn, act_q8)(act, v, dim, LK_ACT_IN_ORDER);
        block_q8_0 *block = (block_q8_0 *)row;
        for (int g = 0; g < dim / 32; g++) {
            block[g].d = lk_f32_to_f16(act[g / 8].d[g % 8]);
            memcpy(block[g].qs, act[g / 8].q + g % 8 * 32, 32);
        }
    }
}

/* Norms of the heads of one token, each alone or all together. */
static void normalise_heads(const lk_attention *op, const lk_norm *norm, float *x, int n_head) {
    const int n = op->norm_rows ? n_head * op->head_dim_k : op->head_dim_k;
    for (float *end = x + n_head * op->head_dim_k; x < end; x += n)
        lk_normalise(norm, x, x, n);
}

static void append_token(const run_state *s, int t) {
    const lk_attention *op = s->op;
    const float *cs = s->angles + (ptrdiff_t)t * op->n_rot;
    int dim = op->head_dim_k;
    float *q = s->q + (ptrdiff_t)t * op->n_head * dim;
    float *k = s->k + (ptrdiff_t)t * op->n_kv_head * dim;
    const float *v = s->v + (ptrdiff_t)t * op->n_kv_head * op->head_dim_v;
    normalise_heads(op, &op->q_norm, q, op->n_head);
    normalise_heads(op, &op->k_norm, k, op->n_kv_head);
    if (op->rope_kind != LK_ROPE_NONE) {
        lk_rope_fn rope = op->rope_kind == LK_ROPE_ADJACENT ? LK_CALL(lk_rope_fn, rope_adjacent)
                                                            : LK_CALL(lk_rope_fn, rope_half);
        for (int h = 0; h < op->n_head; h++)
            rope(q + h * dim, cs, op->n_rot);
        for (int h = 0; h < op->n_kv_head; h++)
            rope(k + h * dim, cs, op->n_rot);
    }
    for (int i = 0; i < op->n_head * dim; i++)
        q[i] *= op->scale;
    for (int h = 0; h < op->n_kv_head; h++) {
        store_key(op, head_of(op, s->k_cache, s->k_bytes, s->seq[t], h), k + h * dim, s->pos[t]);
        store_value(op, head_of(op, s->v_cache, s->v_bytes, s->seq[t], h), v + h * op->head_dim_v,
                    s->pos[t]);
    }
}

static void append(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    int64_t begin, end;
    while (lk_split_take(&s->tokens, thread, &begin, &end))
        for (int64_t t = begin; t < end; t++)
            append_token(s, (int)t);
}

/* ---- phase 2 ------------------------------------------------------------------------------ */

/* The first position that a token sees. */
static int64_t first_seen(const run_state *s, int token) {
    const int64_t before = (int64_t)s->pos[token] + 1 - s->op->window;
    return s->op->window && before > 0 ? before : 0;
}

/* The end of what a token of a block sees. */
static int64_t end_seen(const run_state *s, token_block b, int token) {
    return s->op->causal ? (int64_t)s->pos[token] + 1 : b.end;
}

/* The chunks that a block sees something of. */
static int first_chunk(const run_state *s, token_block b) {
    return (int)(first_seen(s, b.first) / POSITIONS_PER_CHUNK);
}
static int last_chunk(token_block b) {
    return (int)((b.end - 1) / POSITIONS_PER_CHUNK);
}

static int32_t within(int64_t position, int n_pos) {
    return position < 0 ? 0 : position < n_pos ? (int32_t)position : n_pos;
}

/* One chunk of positions for one block and KV head, into a fresh state. */
static void attend_chunk(const run_state *s, token_block block, int head, int chunk, char *own,
                         flash state) {
    const lk_attention *op = s->op;
    const char *keys = head_of(op, s->k_cache, s->k_bytes, s->seq[block.first], head);
    const char *values = head_of(op, s->v_cache, s->v_bytes, s->seq[block.first], head);
    size_t key_bytes = lk_key_block_bytes(op->cache_type, op->head_dim_k);
    size_t value_bytes = lk_value_row_bytes(op->cache_type, op->head_dim_v);
    int n_q = block.n * s->at.group;
    int32_t *n_seen = (int32_t *)(own + s->at.n_seen);
    int32_t *n_skipped = (int32_t *)(own + s->at.n_skipped);
    lk_attn_fn attn = op->cache_type == LK_F32   ? LK_CALL(lk_attn_fn, attn_f32)
                      : op->cache_type == LK_F16 ? LK_CALL(lk_attn_fn, attn_f16)
                                                 : LK_CALL(lk_attn_fn, attn_q8_0);
    int64_t end = block.end, begin = (int64_t)chunk * POSITIONS_PER_CHUNK;
    if (end > begin + POSITIONS_PER_CHUNK)
        end = begin + POSITIONS_PER_CHUNK;
    int64_t seen = first_seen(s, block.first) / LK_ATTN_TILE * LK_ATTN_TILE;
    if (begin < seen)
        begin = seen;
    reset(state, n_q, op->head_dim_v);
    for (int64_t p = begin; p < end; p += LK_ATTN_TILE) {
        int n_pos = end - p < LK_ATTN_TILE ? (int)(end - p) : LK_ATTN_TILE;
        for (int i = 0; i < n_q; i++) {
            int token = block.first + i / s->at.group;
            n_seen[i] = within(end_seen(s, block, token) - p, n_pos);
            n_skipped[i] = within(first_seen(s, token) - p, n_pos);
        }
        attn(&(lk_attn_tile){
            .q = (const float *)(own + s->at.q),
            .k = keys + p / LK_KEY_BLOCK * key_bytes,
            .v = values + p * value_bytes,
            .n_seen = n_seen,
            .n_skipped = n_skipped,
            .m = state.m,
            .l = state.l,
            .acc = state.acc,
            .q_stride = op->head_dim_k,
            .n_q = n_q,
            .n_pos = n_pos,
            .head_dim_k = op->head_dim_k,
            .head_dim_v = op->head_dim_v,
            .softcap = op->softcap,
        });
    }
}

/* The block's queries of one KV head, side by side: (n tokens * group, head_dim_k). */
static void gather_queries(const run_state *s, token_block block, int head, float *to) {
    const lk_attention *op = s->op;
    size_t n = (size_t)s->at.group * op->head_dim_k;
    for (int t = 0; t < block.n; t++)
        memcpy(to + t * n, s->q + ((ptrdiff_t)(block.first + t) * op->n_kv_head + head) * n,
               n * sizeof(float));
}

static void write_out(const run_state *s, token_block block, int head, flash state) {
    int dim = s->op->head_dim_v, group = s->at.group;
    for (int i = 0; i < block.n * group; i++) {
        ptrdiff_t row =
            (ptrdiff_t)(block.first + i / group) * s->op->n_head + head * group + i % group;
        float scale = 1.0f / state.l[i];
        if (s->op->sinks) { /* one more term of the sum, whose value is zero */
            const float sink = s->op->sinks[head * group + i % group];
            scale = sink > state.m[i]
                        ? expf(state.m[i] - sink) / (1 + state.l[i] * expf(state.m[i] - sink))
                        : 1.0f / (state.l[i] + expf(sink - state.m[i]));
        }
        for (int d = 0; d < dim; d++)
            s->out[row * dim + d] = state.acc[(ptrdiff_t)i * dim + d] * scale;
    }
}

static char *part_of(const run_state *s, int64_t pair, int chunk) {
    return s->scratch + s->at.parts + (pair * s->n_chunks + chunk) * s->at.state;
}

static void attend(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    char *own = s->scratch + s->at.threads + thread * s->at.own;
    int dim = s->op->head_dim_v;
    int64_t task, end;
    while (lk_split_take(&s->tasks, thread, &task, &end)) {
        int64_t pair = task / s->n_chunks;
        token_block block = s->blocks[pair / s->op->n_kv_head];
        int head = (int)(pair % s->op->n_kv_head), n_q = block.n * s->at.group;
        int first = first_chunk(s, block), last = last_chunk(block);
        gather_queries(s, block, head, (float *)(own + s->at.q));
        if (s->n_chunks > 1) {
            int chunk = (int)(task % s->n_chunks);
            if (chunk >= first && chunk <= last)
                attend_chunk(s, block, head, chunk, own, state_at(part_of(s, pair, chunk), n_q));
            continue;
        }
        flash total = state_at(own + s->at.total, n_q), part = state_at(own + s->at.chunk, n_q);
        attend_chunk(s, block, head, first, own, total); /* to merge with nothing changes nothing */
        for (int chunk = first + 1; chunk <= last; chunk++) {
            attend_chunk(s, block, head, chunk, own, part);
            merge(total, part, n_q, dim);
        }
        write_out(s, block, head, total);
    }
}

/* ---- phase 3 ------------------------------------------------------------------------------ */

static void merge_parts(void *arg, int thread, int n_threads) {
    (void)n_threads;
    run_state *s = arg;
    char *own = s->scratch + s->at.threads + thread * s->at.own;
    int64_t pair, end;
    while (lk_split_take(&s->merges, thread, &pair, &end)) {
        token_block block = s->blocks[pair / s->op->n_kv_head];
        int head = (int)(pair % s->op->n_kv_head), n_q = block.n * s->at.group;
        int first = first_chunk(s, block), last = last_chunk(block);
        flash total = state_at(own + s->at.total, n_q);
        reset(total, n_q, s->op->head_dim_v);
        for (int chunk = first; chunk <= last; chunk++)
            merge(total, state_at(part_of(s, pair, chunk), n_q), n_q, s->op->head_dim_v);
        write_out(s, block, head, total);
    }
}

/* ---- the op ------------------------------------------------------------------------------- */

/* Whether all tokens are in range. */
static int are_in_range(const run_state *s) {
    for (int t = 0; t < s->n_tokens; t++)
        if (s->pos[t] < 0 || s->pos[t] >= s->op->n_ctx || s->seq[t] < 0 ||
            s->seq[t] >= s->op->n_seq)
            return 0;
    return 1;
}

/* Without causality: let the blocks end where their sequences do. */
static void extend_blocks(run_state *s) {
    int64_t *ends = (int64_t *)(s->scratch + s->at.ends);
    for (int b = 0; b < s->n_blocks; b++)
        ends[s->seq[s->blocks[b].first]] = 0;
    for (int b = 0; b < s->n_blocks; b++) {
        int64_t *end = &ends[s->seq[s->blocks[b].first]];
        *end = s->blocks[b].end > *end ? s->blocks[b].end : *end;
    }
    for (int b = 0; b < s->n_blocks; b++)
        s->blocks[b].end = ends[s->seq[s->blocks[b].first]];
}

/* Cut the batch into blocks. */
static void find_blocks(run_state *s) {
    int tokens_per_block = s->at.max_q / s->at.group;
    s->n_blocks = 0;
    for (int t = 0; t < s->n_tokens; t++) {
        token_block *b = s->n_blocks ? &s->blocks[s->n_blocks - 1] : NULL;
        if (b && b->n < tokens_per_block && s->seq[t] == s->seq[t - 1] &&
            s->pos[t] == s->pos[t - 1] + 1)
            b->n++;
        else
            s->blocks[s->n_blocks++] = (token_block){.first = t, .n = 1};
        s->blocks[s->n_blocks - 1].end = (int64_t)s->pos[t] + 1;
    }
    if (!s->op->causal)
        extend_blocks(s);
}

/* Multiply-adds of all blocks. */
static int64_t work_of(const run_state *s) {
    int64_t n_seen = 0;
    for (int b = 0; b < s->n_blocks; b++) {
        const token_block block = s->blocks[b];
        for (int t = block.first; t < block.first + block.n; t++)
            n_seen += end_seen(s, block, t) - first_seen(s, t);
    }
    return n_seen * s->op->n_head * (s->op->head_dim_k + s->op->head_dim_v);
}

int lk_attention_run(const lk_attention *op, float *q, float *k, const float *v, float *out,
                     void *k_cache, void *v_cache, const float *angles, const int32_t *pos,
                     const int32_t *seq, int n_tokens, const lk_work *work) {
    if (n_tokens < 1 || work->n_threads < 1 || work->n_threads > LK_MAX_THREADS)
        return LK_ERR_ARGUMENT;
    run_state s; /* its splits are large and filled below: no initialiser */
    s.op = op;
    s.q = q;
    s.k = k;
    s.v = v;
    s.out = out;
    s.k_cache = k_cache;
    s.v_cache = v_cache;
    s.k_bytes = lk_cache_keys(op->cache_type, op->head_dim_k, op->n_ctx);
    s.v_bytes = lk_cache_values(op->cache_type, op->head_dim_v, op->n_ctx);
    s.angles = angles;
    s.pos = pos;
    s.seq = seq;
    s.scratch = work->scratch;
    s.n_tokens = n_tokens;
    s.at = lay_out(op, n_tokens, work->n_threads);
    if (s.at.all > work->scratch_bytes)
        return LK_ERR_MEMORY;
    s.blocks = (token_block *)(s.scratch + s.at.blocks);
    if (!are_in_range(&s))
        return LK_ERR_ARGUMENT;
    find_blocks(&s);
    int64_t useful = 1 + work_of(&s) / WORK_PER_THREAD;
    int n_threads = useful < work->n_threads ? (int)useful : work->n_threads;
    int64_t longest = 0, n_pairs = (int64_t)s.n_blocks * op->n_kv_head;
    for (int b = 0; b < s.n_blocks; b++)
        longest = s.blocks[b].end > longest ? s.blocks[b].end : longest;
    s.n_chunks = 1;
    if (n_threads > 1 && n_pairs < 4 * (int64_t)n_threads)
        s.n_chunks = (int)((longest + POSITIONS_PER_CHUNK - 1) / POSITIONS_PER_CHUNK);
    lk_split_init(&s.tokens, n_tokens, LK_KEY_BLOCK, n_threads); /* blocks are not shared */
    lk_split_init(&s.tasks, n_pairs * s.n_chunks, 1, n_threads);
    lk_split_init(&s.merges, n_pairs, 1, n_threads);
    const lk_phase phases[] = {append, attend, merge_parts};
    return lk_pool_run(phases, s.n_chunks > 1 ? 3 : 2, &s, n_threads);
}

int lk_rope_angles(float *angles, const int32_t *pos, int n_tokens, const double *inv_freq,
                   int n_half, float mscale) {
    if (n_tokens < 0 || n_half < 0)
        return LK_ERR_ARGUMENT;
    for (int t = 0; t < n_tokens; t++) {
        for (int i = 0; i < n_half; i++) {
            double angle = pos[t] * inv_freq[i];
            *angles++ = (float)(mscale * cos(angle));
            *angles++ = (float)(mscale * sin(angle));
        }
    }
    return LK_OK;
}
