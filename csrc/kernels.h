/*
 * Kernel signatures, the layouts they share, and the table. The scalar version of a slot is its
 * specification. Integer sums are exact at every level; a float result is within rounding of the
 * scalar one. A kernel reads exactly the bytes of its operands, never past the last block, assumes
 * no alignment, and has no state.
 */
#ifndef LK_KERNELS_H
#define LK_KERNELS_H

#include "lk.h"
#include "target.h"

/*
 * Quantised activations: a row of k values (k a multiple of 32) as records of 256, the last one
 * filled up with zeros. x ~= d[i / 32] * q, |q| <= 127, d = max|x| / 127 over the 32, q rounded
 * half to even. One format serves every quantised weight type, so that matrices of different types
 * can share an input.
 */
typedef struct {
    int8_t q[256];
    float d[8];
    float s32[8];  /* d * sum of the 32 q: for zero points and block minima */
    float s16[16]; /* d * sum of each 16 q */
} lk_act_block;
_Static_assert(sizeof(lk_act_block) == 384, "a record is six cache lines");

/* The order of q. */
enum lk_act_order {
    LK_ACT_IN_ORDER = 0,
    /* By fours of 32: their first halves, then their second halves. For weights that keep elements
     * j and j + 16 of a block in the nibbles of one byte: 64 bytes of them meet 64 of these. */
    LK_ACT_BY_HALVES = 1
};
LK_INLINE size_t lk_act_bytes(int k) {
    return ((size_t)k + 255) / 256 * sizeof(lk_act_block);
}
/* Where element i < 256 of a record lies. */
LK_INLINE int lk_act_place(int order, int i) {
    return order == LK_ACT_IN_ORDER ? i
                                    : i / 128 * 128 + i % 32 / 16 * 64 + i / 32 % 4 * 16 + i % 16;
}

/* act_q8: quantise one row. 32 zeros have d = 0; x is finite. */
typedef void (*lk_act_fn)(lk_act_block *act, const float *x, int k, int order);

/*
 * dot_TYPE: rows of weights times few columns of activations (decode):
 *     y[s][c * y_stride + r] = <row r of stream s, column c of x>
 * The rows come as two streams of equal length, far apart in one matrix or from two matrices: the
 * memory prefetcher follows both, and each load of activations serves two rows. x holds records as
 * above for quantised types, in order by halves for those of 32 but Q8_0; k floats for F32,
 * F16 and BF16. k is a multiple of the type's block. The value for (r, c) must not depend on
 * streams, rows or cols: batching never changes a result.
 */
typedef struct {
    const void *w[2]; /* row 0 of each stream; w[1] NULL: there is one stream only */
    float *y[2];
    const void *x;
    size_t w_stride, x_stride; /* bytes */
    ptrdiff_t y_stride;        /* floats */
    int k, rows, cols;
} lk_dot;
typedef void (*lk_dot_fn)(const lk_dot *dot);

/* row_TYPE: y[i] = weight i as float32, i < k. */
typedef void (*lk_row_fn)(float *y, const void *w, int k);

/*
 * Prompt (matrix x matrix): 16 weight rows are unpacked into a tile that lives in cache, and tiles
 * meet panels of 12 columns. All quantised types meet in one tile format, G = 16 or 32 elements:
 *     weight(r, i) = scale[i / G][r] * q[i / 4][r][i % 4] - min[i / G][r]
 */
#define LK_TILE_ROWS 16
#define LK_PANEL_COLS 12

typedef struct {
    int8_t *q;      /* [k / 4][16][4], the zero point taken off */
    int32_t *start; /* [k / G][16]: -128 * the sum of a group's q, for activations that have 128
                       added: a sum of their products starts there */
    float *scale;   /* [k / G][16] */
    float *min;     /* [k / G][16]; NULL for types without */
    int32_t q_max;  /* no |q| is larger */
} lk_tile;

/* unpack_TYPE: w is row 0's first block; of 16 rows, those from `rows` (1..16) on are row 0 again.
 * Q4_1 and Q5_1 store -m. q_max is the caller's. */
typedef void (*lk_unpack_fn)(const lk_tile *tile, const void *w, size_t w_stride, int k, int rows);

/* One 32-element step of a panel of up to 12 activation columns. */
typedef struct {
    uint8_t q[LK_PANEL_COLS][32]; /* as in lk_act_block, but 128 more */
    float d[LK_PANEL_COLS];
    float s32[LK_PANEL_COLS];    /* d * sum of q without the 128 */
    float s16[2][LK_PANEL_COLS]; /* the same over the first and the last 16 */
} lk_panel_block;
_Static_assert(sizeof(lk_panel_block) == 576, "a panel step is nine cache lines");

/* panel_q8: quantise k values, as act_q8 does, into one column of a panel. */
typedef void (*lk_panel_fn)(lk_panel_block *panel, int column, const float *x, int k);

/*
 * gemm_gG[_min]: y[c * y_stride + r] (+)= sum over the tiles' k, c < cols <= 12, r < rows <= 32;
 * rows from 16 on are those of a second tile. accumulate = 0 stores, 1 adds. gemm_g32: G = 32
 * without minima, and so on.
 */
typedef void (*lk_gemm_fn)(float *y, ptrdiff_t y_stride, const lk_tile *tiles,
                           const lk_panel_block *panel, int k, int rows, int cols, int accumulate);

/*
 * skinny_TYPE: unpack_TYPE and gemm in one for a panel of up to 8 columns, too few to make a tile
 * worth writing: y[c * y_stride + r] (+)= <row r of w, column c>, r < rows <= 16. Levels without a
 * version of their own have no use for it.
 */
#define LK_SKINNY_COLS 8
typedef void (*lk_skinny_fn)(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,
                             const lk_panel_block *panel, int k, int rows, int cols,
                             int accumulate);

/*
 * The KV cache of one head. Values lie by position, rows of head_dim_v elements; of 8 bits:
 * head_dim_v / 32 blocks of block_q8_0. Keys lie in blocks of 16 positions, transposed:
 * [head_dim_k][16]; of 8 bits: head_dim_k / 32 groups of lk_key_group. So a vector holds one
 * dimension of 16 positions, and scores need no sum across lanes.
 */
#define LK_KEY_BLOCK 16
typedef struct {
    int8_t q[32][LK_KEY_BLOCK];
    uint16_t d[LK_KEY_BLOCK]; /* half floats: key = d q */
} lk_key_group;
_Static_assert(sizeof(lk_key_group) == 544, "as many bits as block_q8_0");

/* type: LK_F32, LK_F16 or LK_Q8_0, whose rows are multiples of 32. */
LK_INLINE size_t lk_key_block_bytes(int type, int dim) {
    const size_t n = (size_t)dim * LK_KEY_BLOCK;
    return type == LK_F32 ? 4 * n : type == LK_F16 ? 2 * n : n / 32 * 34;
}
LK_INLINE size_t lk_value_row_bytes(int type, int dim) {
    return type == LK_F32   ? 4 * (size_t)dim
           : type == LK_F16 ? 2 * (size_t)dim
                            : (size_t)dim / 32 * 34;
}

/*
 * attn_TYPE: one tile of up to 64 positions for n_q queries of one KV head (grouped heads, and in a
 * prompt several tokens of them), flash style: the running maximum m, sum l and weighted sum
 * acc are updated in place. Start: m = -inf, l = 0, acc = 0; the caller divides acc by l.
 * Query i sees positions n_skipped[i] .. n_seen[i] - 1 of the tile (both 0..n_pos): none, if the
 * first number is not the smaller. Its scores s become softcap * tanh(s / softcap), unless that
 * is 0.
 */
#define LK_ATTN_TILE 64
typedef struct {
    const float *q;        /* (n_q, head_dim_k), already scaled; row stride q_stride floats */
    const void *k;         /* the key blocks of n_pos positions, all 16 of the last one readable */
    const void *v;         /* n_pos rows of values */
    const int32_t *n_seen; /* (n_q) */
    const int32_t *n_skipped; /* (n_q) */
    float *m;                 /* (n_q) */
    float *l;                 /* (n_q) */
    float *acc;               /* (n_q, head_dim_v) contiguous */
    ptrdiff_t q_stride;
    int32_t n_q;
    int32_t n_pos;
    int32_t head_dim_k;
    int32_t head_dim_v;
    float softcap;
} lk_attn_tile;
typedef void (*lk_attn_fn)(const lk_attn_tile *tile);

/*
 * quantize_TYPE: k values, a multiple of the block's length and each of a size up to 65504, as
 * blocks. importance (k), not negative, weighs the squared errors of columns; NULL: 1. All versions
 * give the same bits.
 */
typedef void (*lk_quantize_fn)(void *dst, const float *x, const float *importance, int k);

/* rmsnorm: y = w x / sqrt(mean(x^2) + eps); w may be NULL (ones); y may be x. */
typedef void (*lk_rmsnorm_fn)(float *y, const float *x, const float *w, int n, float eps);
/* layernorm: y = w (x - mean(x)) / sqrt(var(x) + eps) + b; b may be NULL (zeros); y may be x. */
typedef void (*lk_layernorm_fn)(float *y, const float *x, const float *w, const float *b, int n,
                                float eps);
/* rope_*: rotate the first n_rot of a head in place; cs holds n_rot / 2 pairs (cos, sin). */
typedef void (*lk_rope_fn)(float *x, const float *cs, int n_rot);
/* swiglu: y = silu(gate) * up; y may be gate. */
typedef void (*lk_swiglu_fn)(float *y, const float *gate, const float *up, int n);
/* geglu: y = gelu(gate) * up, gelu's tanh approximation; up may be NULL (ones); y may be gate. */
typedef void (*lk_geglu_fn)(float *y, const float *gate, const float *up, int n);
/* gelu_erf: y = gelu(x) = x Phi(x), Phi the normal distribution's, to 2^-20; y may be x. */
typedef void (*lk_gelu_erf_fn)(float *y, const float *x, int n);
/* softcap: x = cap * tanh(x / cap), to 2^-20 cap; cap > 0. */
typedef void (*lk_softcap_fn)(float *x, int n, float cap);
/* f32_to_f16: round to nearest even, overflow to infinity, NaN stays NaN. f16_to_f32: exact. */
typedef void (*lk_f32_to_f16_fn)(uint16_t *y, const float *x, int n);
typedef void (*lk_f16_to_f32_fn)(float *y, const uint16_t *x, int n);
/* max: maximum of n >= 1 values; NaN if any is NaN. */
typedef float (*lk_max_fn)(const float *x, int n);
/* sum_exp: sum of exp(x - max), in double. */
typedef double (*lk_sum_exp_fn)(const float *x, int n, float max);

/*
 * probe_read: reads n bytes once, from the start to the end, or as two far streams: the first half
 * beside the second. Returns the XOR of their 64-bit little-endian words, the last one filled up
 * with zeros.
 */
typedef uint64_t (*lk_probe_read_fn)(const void *p, size_t n, int n_streams);

/*
 * probe_int8: rounds of the fastest 8-bit dot products of the level, operands and sums in registers
 * all the while. a is LK_PROBE_K activations, 0..127; w as many weights, |w| <= 8: with those, the
 * levels that add products in 16 bits widen their sums least often. A round multiplies a with w as
 * a whole, P times; *sum = rounds * P * <a, w> modulo 2^32. Returns the multiply-adds of a round,
 * P * LK_PROBE_K.
 */
#define LK_PROBE_K 32
typedef int64_t (*lk_probe_int8_fn)(const uint8_t *a, const int8_t *w, int64_t rounds,
                                    uint32_t *sum);

/* ---- the table --------------------------------------------------------------------------- */

typedef void (*lk_fn)(void);

enum lk_slot {
#define LK_SLOT(slot, type) LK_SLOT_##slot,
#include "kernels.inc"
    LK_N_SLOTS
};

/* The active version of a slot, e.g. LK_CALL(lk_rmsnorm_fn, rmsnorm)(y, x, w, n, eps). */
#define LK_CALL(type, slot) ((type)lk_kernel(LK_SLOT_##slot))
lk_fn lk_kernel(int slot);
/* The version that a level itself has, or NULL: for tests and benches. */
lk_fn lk_kernel_at(int slot, int level);

#endif
