/*
 * dot_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4 (layouts: blocks.h), eight blocks, a record of
 * activations, a step: y = sum d_w d_a sum(q a)  +  sum (m_w or -zero d_w) s32 Two 64-byte loads
 * hold four blocks. VPERMT2B puts the 16 bytes of nibbles of each into a lane of its own: low
 * nibbles are first halves, high ones second halves, which is how the activations lie, so two
 * VPDPBUSD leave the sum of a block in its lane and one conversion and FMA serve all four. VPERMT2B
 * + VPTESTMB add a fifth bit, VPSHUFB looks up tables. Q8_0 has 64 bytes a pair of blocks, made
 * unsigned by 0x80, so two conversions. Scales are converted eight at a time and spread by VPERMPS.
 * VPDPBUSD adds 4 products of <= 255 * 127 to int32: no overflow. Tail: byte-masked loads, which
 * read nothing past the last block; its missing blocks are zero.
 */
#include "b32.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "b32_avx512.h"
#include "dot_walk.h"

#define QUAD 4 /* blocks a step */

/* Where the fields of four blocks lie within the two loads: constant for a type. */
typedef struct {
    __m512i quants_u8x64;
    __m512i fifth_u8x64[2];
    __m512i scales_u16x32; /* d of blocks 0..3, then m; MXFP4: bytes, that of d and one of zero */
} layout;

typedef struct {
    __m512i q_u8x64[2][2]; /* of blocks 0..3 and 4..7: first and second halves; Q8_0: in order */
    __m256 d_f32x8;
    __m256 m_f32x8;
} octet;

typedef struct {
    __m512 sum_f32x16;
    __m256 offset_f32x8; /* sum of d s32 (zero point) or m s32 */
} total;

LK_INLINE layout make_layout(b32_type type) {
    const int bytes = (int)b32_bytes(type);
    layout at;
    at.quants_u8x64 =
        b32_lanes(type, b32_quants_at(type),
                  _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    for (int half = 0; half < 2; half++) /* two bytes of fifth bits, each eight times */
        at.fifth_u8x64[half] =
            b32_lanes(type, b32_fifth_at(type) + 2 * half, _mm_set_epi64x(0x0101010101010101, 0));
    if (type == B32_mxfp4) {
        at.scales_u16x32 = _mm512_castsi128_si512(_mm_setr_epi16(0, 17, 34, 51, 0, 17, 34, 51));
        return at;
    }
    const short words = (short)(bytes / 2), to_second = (short)(64 - 4 * words);
    const short d3 = (short)(3 * words + (3 * words < 32 ? 0 : to_second));
    const short m3 = (short)(3 * words + 1 + (3 * words + 1 < 32 ? 0 : to_second));
    at.scales_u16x32 = _mm512_castsi128_si512(_mm_setr_epi16(
        0, words, (short)(2 * words), d3, 1, (short)(words + 1), (short)(2 * words + 1), m3));
    return at;
}

/* n <= 4 blocks; their d, as half floats, in the result. */
LK_INLINE __m128i load_q8_0(__m512i q_u8x64[2], const uint8_t *w, int n) {
    const block_q8_0 *block = (const block_q8_0 *)w;
    __m256i q_i8x32[QUAD];
    uint64_t d = 0;
#pragma GCC unroll 4
    for (int i = 0; i < QUAD; i++) {
        q_i8x32[i] =
            i < n ? _mm256_loadu_si256((const __m256i *)block[i].qs) : _mm256_setzero_si256();
        d |= (uint64_t)(i < n ? block[i].d : 0) << (16 * i);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        q_u8x64[i] = _mm512_xor_si512(
            _mm512_inserti64x4(_mm512_castsi256_si512(q_i8x32[2 * i]), q_i8x32[2 * i + 1], 1),
            _mm512_set1_epi8(-128));
    return _mm_cvtsi64_si128((long long)d);
}

/* n <= 4 blocks; their d and then their m, as half floats (MXFP4: exponents), in the result. */
LK_INLINE __m128i load_quad(b32_type type, const layout *at, __m512i q_u8x64[2], const uint8_t *w,
                            int n) {
    if (type == B32_q8_0)
        return load_q8_0(q_u8x64, w, n);
    const int bytes = (int)b32_bytes(type), second = QUAD * bytes - 64;
    __m512i low_u8x64 = b32_load(w, n * bytes);
    __m512i high_u8x64 = b32_load(w + second, n * bytes - second);
    LK_LOADED_ONCE(low_u8x64);
    LK_LOADED_ONCE(high_u8x64);
    const __m512i pairs_u8x64 = _mm512_permutex2var_epi8(low_u8x64, at->quants_u8x64, high_u8x64);
    q_u8x64[0] = _mm512_and_si512(pairs_u8x64, _mm512_set1_epi8(15));
    q_u8x64[1] = _mm512_and_si512(_mm512_srli_epi16(pairs_u8x64, 4), _mm512_set1_epi8(15));
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        if (!b32_has_fifth_bit(type))
            continue;
        const __m512i fifth_u8x64 =
            _mm512_permutex2var_epi8(low_u8x64, at->fifth_u8x64[half], high_u8x64);
        const __mmask64 is_set =
            _mm512_test_epi8_mask(fifth_u8x64, _mm512_set1_epi64((long long)0x8040201008040201));
        q_u8x64[half] =
            _mm512_mask_add_epi8(q_u8x64[half], is_set, q_u8x64[half], _mm512_set1_epi8(16));
    }
    if (b32_table(type)) {
        const __m512i table_u8x64 = b32_table_i8x64(type, b32_zero(type));
        q_u8x64[0] = _mm512_shuffle_epi8(table_u8x64, q_u8x64[0]);
        q_u8x64[1] = _mm512_shuffle_epi8(table_u8x64, q_u8x64[1]);
    }
    if (type == B32_mxfp4)
        return _mm512_castsi512_si128(
            _mm512_maskz_permutexvar_epi8(0x5555, at->scales_u16x32, low_u8x64));
    return _mm512_castsi512_si128(
        _mm512_permutex2var_epi16(low_u8x64, at->scales_u16x32, high_u8x64));
}

/* n <= 8 blocks. */
LK_INLINE octet load_octet(b32_type type, const layout *at, const uint8_t *w, int n) {
    octet v;
    const __m128i low_f16x8 = load_quad(type, at, v.q_u8x64[0], w, n < QUAD ? n : QUAD);
    const __m128i high_f16x8 =
        load_quad(type, at, v.q_u8x64[1], w + QUAD * b32_bytes(type), n < QUAD ? 0 : n - QUAD);
    const __m128i d_f16x8 = _mm_unpacklo_epi64(low_f16x8, high_f16x8);
    v.d_f32x8 = type == B32_mxfp4 ? _mm512_castps512_ps256(b32_half_e8m0_f32x16(
                                        _mm512_castsi256_si512(_mm256_cvtepu16_epi32(d_f16x8))))
                                  : _mm256_cvtph_ps(d_f16x8);
    v.m_f32x8 =
        b32_has_min(type) ? _mm256_cvtph_ps(_mm_unpackhi_epi64(low_f16x8, high_f16x8)) : v.d_f32x8;
    return v;
}

/* Adds the products with a record; what a row lacks there is zero on both sides. */
LK_INLINE void add_octet(b32_type type, total *t, const octet *v, const lk_act_block *a) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512 d_f32x16 =
        _mm512_castps256_ps512(_mm256_mul_ps(v->d_f32x8, _mm256_loadu_ps(a->d)));
    const __m512i four = _mm512_set1_epi32(4);
    const __m512i lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i pair = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
#pragma GCC unroll 2
    for (int quad = 0; quad < 2; quad++) {
        const int8_t *q = a->q + 128 * quad;
        __m512i sum_i32x16 = _mm512_dpbusd_epi32(zero, v->q_u8x64[quad][0], _mm512_loadu_si512(q));
        if (type == B32_q8_0) { /* a block takes two lanes: twice two blocks */
            const __m512i first = _mm512_add_epi32(pair, _mm512_set1_epi32(4 * quad));
            const __m512i second = _mm512_add_epi32(pair, _mm512_set1_epi32(4 * quad + 2));
            t->sum_f32x16 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum_i32x16),
                                            _mm512_permutexvar_ps(first, d_f32x16), t->sum_f32x16);
            sum_i32x16 = _mm512_dpbusd_epi32(zero, v->q_u8x64[quad][1], _mm512_loadu_si512(q + 64));
            t->sum_f32x16 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum_i32x16),
                                            _mm512_permutexvar_ps(second, d_f32x16), t->sum_f32x16);
        } else {
            const __m512i four_lanes = quad ? _mm512_add_epi32(lanes, four) : lanes;
            sum_i32x16 =
                _mm512_dpbusd_epi32(sum_i32x16, v->q_u8x64[quad][1], _mm512_loadu_si512(q + 64));
            t->sum_f32x16 =
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum_i32x16),
                                _mm512_permutexvar_ps(four_lanes, d_f32x16), t->sum_f32x16);
        }
    }
    t->offset_f32x8 = _mm256_fmadd_ps(v->m_f32x8, _mm256_loadu_ps(a->s32), t->offset_f32x8);
}

LK_INLINE float finish(b32_type type, const total *t) {
    const float sum = _mm512_reduce_add_ps(t->sum_f32x16);
    __m128 offset_f32x4 = _mm_add_ps(_mm256_castps256_ps128(t->offset_f32x8),
                                     _mm256_extractf128_ps(t->offset_f32x8, 1));
    offset_f32x4 = _mm_add_ps(offset_f32x4, _mm_movehl_ps(offset_f32x4, offset_f32x4));
    const float offset = _mm_cvtss_f32(_mm_add_ss(offset_f32x4, _mm_movehdup_ps(offset_f32x4)));
    return sum + (b32_has_min(type) ? offset : -(float)b32_zero(type) * offset);
}

/* Adds n <= 8 blocks at w[0] and w[1] to the totals of the columns from x on. */
LK_INLINE void step(b32_type type, const layout *at, total t[2][8], const uint8_t *const w[2],
                    size_t offset, const char *x, size_t x_stride, int n, int rows, int cols) {
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        const octet v = load_octet(type, at, w[r] + offset, n);
#pragma GCC unroll 8
        for (int c = 0; c < cols; c++)
            add_octet(type, &t[r][c], &v, (const lk_act_block *)(x + (size_t)c * x_stride));
    }
}

LK_INLINE void tile(b32_type type, const void *context, const lk_dot *d, const uint8_t *const w[2],
                    float *const y[2], const char *x, int rows, int cols) {
    const layout *at = (const layout *)context;
    const size_t octet_bytes = 8 * b32_bytes(type), x_stride = d->x_stride;
    const unsigned n_blocks = (unsigned)d->k / LK_QK32;
    const size_t whole = n_blocks / 8 * octet_bytes;
    total t[2][8];
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < cols; c++)
            t[r][c] = (total){_mm512_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0; i < whole; i += octet_bytes, x += sizeof(lk_act_block))
        step(type, at, t, w, i, x, x_stride, 8, rows, cols);
    if (n_blocks % 8)
        step(type, at, t, w, whole, x, x_stride, (int)(n_blocks % 8), rows, cols);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < cols; c++)
            y[r][c * d->y_stride] = finish(type, &t[r][c]);
}

#define DOT(type)                                                                                  \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        tile(B32_##type, context, d, w, y, x, rows, cols);                                         \
    }                                                                                              \
    void dot_##type##_avx512(const lk_dot *dot) {                                                  \
        const layout at = make_layout(B32_##type);                                                 \
        lk_dot_walk(tile_##type, &at, dot, 8, 0);                                                  \
    }
B32_TYPES(DOT)

LK_END
#endif
