/*
 * dot_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4 (layouts: blocks.h), four blocks a step:
 *     y = sum d_w d_a sum(q a)  +  sum (m_w or -zero d_w) s32
 * The nibbles of two blocks fill a vector; low ones are first halves, high ones second halves,
 * which is how the activations lie. VPMADDUBSW adds two products in int16; adding the halves and
 * folding once leaves 8 products of at most 31 * 127: 31496 < 32768. One VPMADDWD, conversion and
 * FMA serve four blocks. Q8_0 and IQ4_NL move the sign to the activation, 2 * 128 * 127 = 32512,
 * and widen to int32 first. Tail: missing blocks are zero and not read.
 */
#include "b32.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

#include "b32_avx2.h"
#include "dot_walk.h"

#define QUAD 4 /* blocks a step */

/* Q8_0: block by block. Others: first halves of blocks 0 1, 2 3, then second halves. */
typedef struct {
    __m256i q_i8x32[QUAD];
    __m128 d_f32x4, m_f32x4;
} quad;

typedef struct {
    __m256 sum_f32x8;
    __m128 offset_f32x4; /* sum of d s32 (zero point) or m s32 */
} total;

/* Codes of 8 bits are taken with their sign. */
LK_INLINE int is_signed(b32_type type) {
    return type == B32_q8_0 || type == B32_iq4_nl;
}

/* The halves at byte `at` of n <= 4 blocks (MXFP4: its exponents); finite beyond. */
LK_INLINE __m128 load_scales(b32_type type, const uint8_t *w, int at, int n) {
    uint64_t h = 0;
    if (type == B32_mxfp4) {
        uint32_t e = 0;
#pragma GCC unroll 4
        for (int i = 0; i < n; i++)
            e |= (uint32_t)w[i * b32_bytes(type) + at] << 8 * i;
        return b32_half_e8m0_f32x4(_mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)e)));
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        h |= (uint64_t)lk_load_u16(w + i * b32_bytes(type) + at) << (16 * i);
    return _mm_cvtph_ps(_mm_cvtsi64_si128((long long)h));
}

/* Bytes of 16 where bit j of the fifth bits of two blocks, first half or second, is set. */
LK_INLINE __m256i fifth_bits(uint16_t block0, uint16_t block1) {
    const __m256i eighth_u8x32 = _mm256_setr_epi64x(0, 0x0101010101010101, 0, 0x0101010101010101);
    const __m256i bit_u8x32 = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i both_u16x16 =
        _mm256_set_m128i(_mm_set1_epi16((short)block1), _mm_set1_epi16((short)block0));
    const __m256i byte_u8x32 = _mm256_shuffle_epi8(both_u16x16, eighth_u8x32);
    const __m256i is_set_u8x32 =
        _mm256_cmpeq_epi8(_mm256_and_si256(byte_u8x32, bit_u8x32), bit_u8x32);
    return _mm256_and_si256(is_set_u8x32, _mm256_set1_epi8(16));
}

/* Blocks i and i + 1 of those at w, of which there are n. */
LK_INLINE void load_pair(b32_type type, quad *v, const uint8_t *w, int i, int n) {
    const size_t bytes = b32_bytes(type);
    const __m256i low4 = _mm256_set1_epi8(15);
    __m128i pairs_u8x16[2];
    uint32_t fifth[2] = {0, 0};
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
        const uint8_t *block = w + (i + j) * bytes;
        pairs_u8x16[j] = i + j < n ? _mm_loadu_si128((const __m128i *)(block + b32_quants_at(type)))
                                   : _mm_setzero_si128();
        if (b32_has_fifth_bit(type) && i + j < n)
            fifth[j] = lk_load_u32(block + b32_fifth_at(type));
    }
    const __m256i both_u8x32 = _mm256_set_m128i(pairs_u8x16[1], pairs_u8x16[0]);
    __m256i lo_u8x32 = _mm256_and_si256(both_u8x32, low4);
    __m256i hi_u8x32 = _mm256_and_si256(_mm256_srli_epi16(both_u8x32, 4), low4);
    if (b32_has_fifth_bit(type)) {
        lo_u8x32 = _mm256_or_si256(lo_u8x32, fifth_bits((uint16_t)fifth[0], (uint16_t)fifth[1]));
        hi_u8x32 = _mm256_or_si256(
            hi_u8x32, fifth_bits((uint16_t)(fifth[0] >> 16), (uint16_t)(fifth[1] >> 16)));
    }
    if (b32_table(type)) {
        const __m256i table = b32_table_i8x32(type, is_signed(type) ? 0 : b32_zero(type));
        lo_u8x32 = _mm256_shuffle_epi8(table, lo_u8x32);
        hi_u8x32 = _mm256_shuffle_epi8(table, hi_u8x32);
    }
    v->q_i8x32[i / 2] = lo_u8x32;
    v->q_i8x32[2 + i / 2] = hi_u8x32;
}

LK_INLINE quad load_quad(b32_type type, const uint8_t *w, int n) {
    quad v;
    v.d_f32x4 = load_scales(type, w, 0, n);
    v.m_f32x4 = b32_has_min(type) ? load_scales(type, w, 2, n) : v.d_f32x4;
    if (type == B32_q8_0) {
#pragma GCC unroll 4
        for (int i = 0; i < QUAD; i++)
            v.q_i8x32[i] =
                i < n ? b32_quants_i8x32(type, w + i * b32_bytes(type)) : _mm256_setzero_si256();
    } else {
        load_pair(type, &v, w, 0, n);
        load_pair(type, &v, w, 2, n);
    }
    return v;
}

/* Two vectors to one: lower and upper parts of each 128-bit lane interleaved and added. */
#define FOLD(width, bits, x, y)                                                                    \
    _mm256_add_epi##width(_mm256_unpacklo_epi##bits(x, y), _mm256_unpackhi_epi##bits(x, y))

LK_INLINE __m256i load_a(const int8_t *a, int i) {
    return _mm256_loadu_si256((const __m256i *)(a + 32 * i));
}

/* Sums of four products of signed codes. */
LK_INLINE __m256i multiply_signed(__m256i q_i8x32, __m256i a_i8x32) {
    return _mm256_madd_epi16(
        _mm256_maddubs_epi16(_mm256_abs_epi8(q_i8x32), _mm256_sign_epi8(a_i8x32, q_i8x32)),
        _mm256_set1_epi16(1));
}

/* Sums of the products of a block, in two lanes for Q8_0, in four otherwise, of which the order is
 * 0 2 | 1 3: the folding of lanes that hold one block each. */
LK_INLINE __m256i sums(b32_type type, const quad *v, const int8_t *a) {
    const __m256i one_i16x16 = _mm256_set1_epi16(1);
    if (type != B32_q8_0 && is_signed(type)) {
        const __m256i p01_i32x8 = _mm256_add_epi32(multiply_signed(v->q_i8x32[0], load_a(a, 0)),
                                                   multiply_signed(v->q_i8x32[2], load_a(a, 2)));
        const __m256i p23_i32x8 = _mm256_add_epi32(multiply_signed(v->q_i8x32[1], load_a(a, 1)),
                                                   multiply_signed(v->q_i8x32[3], load_a(a, 3)));
        return FOLD(32, 64, p01_i32x8, p23_i32x8);
    }
    if (type != B32_q8_0) {
        const __m256i p01_i16x16 =
            _mm256_add_epi16(_mm256_maddubs_epi16(v->q_i8x32[0], load_a(a, 0)),
                             _mm256_maddubs_epi16(v->q_i8x32[2], load_a(a, 2)));
        const __m256i p23_i16x16 =
            _mm256_add_epi16(_mm256_maddubs_epi16(v->q_i8x32[1], load_a(a, 1)),
                             _mm256_maddubs_epi16(v->q_i8x32[3], load_a(a, 3)));
        return _mm256_madd_epi16(FOLD(16, 64, p01_i16x16, p23_i16x16), one_i16x16);
    }
    __m256i p_i32x8[QUAD];
#pragma GCC unroll 4
    for (int i = 0; i < QUAD; i++)
        p_i32x8[i] = multiply_signed(v->q_i8x32[i], load_a(a, i));
    return FOLD(32, 64, FOLD(32, 32, p_i32x8[0], p_i32x8[1]), FOLD(32, 32, p_i32x8[2], p_i32x8[3]));
}

/* Adds the products with the four groups at q, d and s32; what a row lacks there is zero. */
LK_INLINE void add_quad(b32_type type, total *t, const quad *v, const int8_t *q, const float *d,
                        const float *s32) {
    const __m128 scale_f32x4 = _mm_mul_ps(v->d_f32x4, _mm_loadu_ps(d));
    /* where the sums of blocks lie */
    const __m256 scale_f32x8 =
        type == B32_q8_0 ? _mm256_set_m128(scale_f32x4, scale_f32x4)
                         : _mm256_permutevar8x32_ps(_mm256_castps128_ps256(scale_f32x4),
                                                    _mm256_setr_epi32(0, 0, 2, 2, 1, 1, 3, 3));
    t->sum_f32x8 = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums(type, v, q)), scale_f32x8, t->sum_f32x8);
    if (!is_signed(type))
        t->offset_f32x4 = _mm_fmadd_ps(v->m_f32x4, _mm_loadu_ps(s32), t->offset_f32x4);
}

LK_INLINE float add_lanes(__m128 x_f32x4) {
    const __m128 pair_f32x4 = _mm_add_ps(x_f32x4, _mm_movehl_ps(x_f32x4, x_f32x4));
    return _mm_cvtss_f32(_mm_add_ss(pair_f32x4, _mm_movehdup_ps(pair_f32x4)));
}

LK_INLINE float finish(b32_type type, const total *t) {
    const float sum = add_lanes(
        _mm_add_ps(_mm256_castps256_ps128(t->sum_f32x8), _mm256_extractf128_ps(t->sum_f32x8, 1)));
    if (is_signed(type))
        return sum;
    const float offset = add_lanes(t->offset_f32x4);
    return sum + (b32_has_min(type) ? offset : -(float)b32_zero(type) * offset);
}

/* Adds n <= 4 blocks from block b on. */
LK_INLINE void step(b32_type type, total t[2][4], const uint8_t *const w[2], const char *x,
                    size_t x_stride, int b, int n, int rows, int cols) {
    x += (size_t)(b / 8) * sizeof(lk_act_block);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        const quad v = load_quad(type, w[r] + (size_t)b * b32_bytes(type), n);
#pragma GCC unroll 4
        for (int c = 0; c < cols; c++) {
            const lk_act_block *a = (const lk_act_block *)(x + (size_t)c * x_stride);
            const int group = b % 8;
            add_quad(type, &t[r][c], &v, a->q + LK_QK32 * group, a->d + group, a->s32 + group);
        }
    }
}

LK_INLINE void tile(b32_type type, const lk_dot *d, const uint8_t *const w[2], float *const y[2],
                    const char *x, int rows, int cols) {
    const int n_blocks = d->k / LK_QK32, whole = n_blocks / QUAD * QUAD;
    total t[2][4];
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < cols; c++)
            t[r][c] = (total){_mm256_setzero_ps(), _mm_setzero_ps()};
    for (int b = 0; b < whole; b += QUAD)
        step(type, t, w, x, d->x_stride, b, QUAD, rows, cols);
    if (n_blocks - whole == 1)
        step(type, t, w, x, d->x_stride, whole, 1, rows, cols);
    else if (n_blocks - whole == 2)
        step(type, t, w, x, d->x_stride, whole, 2, rows, cols);
    else if (n_blocks - whole == 3)
        step(type, t, w, x, d->x_stride, whole, 3, rows, cols);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < cols; c++)
            y[r][c * d->y_stride] = finish(type, &t[r][c]);
}

#define DOT(type)                                                                                  \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        tile(B32_##type, d, w, y, x, rows, cols);                                                  \
    }                                                                                              \
    void dot_##type##_avx2(const lk_dot *dot) {                                                    \
        lk_dot_walk(tile_##type, NULL, dot, 4, 0);                                                 \
    }
B32_TYPES(DOT)

LK_END
#endif
