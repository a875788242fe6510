/*
 * dot_q4_0 q4_1 q5_0 q5_1 q8_0 (layouts: blocks.h), four blocks a step:
 *     y = sum d_w d_a sum(q a)  +  sum (m_w or -zero d_w) s32
 * Two 64-byte loads hold blocks 0-1 and 2-3. VPERMB puts the 16 quant bytes of a block into two
 * lanes, VPSRLVD moves the high nibbles of the second one down: elements in order, as activations
 * lie. VPERMB + VPTESTMB add a fifth bit. VPDPBUSD sums 4 products of <= 255 * 127 into int32, no
 * overflow. Q8_0 moves the sign to the activation (|q| <= 128 is unsigned), so it needs no zero
 * point. Scales are converted four at a time and spread by VPERMPS.
 * Tail: byte-masked loads, which read nothing past the last block; its missing blocks are zero.
 */
#include "b32.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

/* Loops over arrays of vectors are unrolled by pragma: rolled, gcc -O2 keeps them in memory. */
#define QUAD 4     /* blocks a step */
#define MAX_COLS 4 /* columns that share an unpacked step */

/* Where the fields of four blocks lie within the two loads: constant for a type. */
typedef struct {
    __m512i quants_u8x64[2];
    __m512i fifth_u8x64[2];
    __m512i scales_u16x32; /* d of blocks 0..3, then m */
} layout;

typedef struct {
    __m512i q_i8x64[2]; /* unsigned codes; signed values for Q8_0 */
    __m128 d_f32x4;
    __m128 m_f32x4;
} quad;

LK_INLINE layout make_layout(b32_type type) {
    const int bytes = (int)b32_bytes(type);
    const int second = 64 - 2 * bytes; /* blocks 2-3 end the second load */
    const __mmask64 upper_block = 0xffffffff00000000;
    const __m512i lane_u8x64 =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m512i eighth_u8x64 =
        _mm512_set4_epi64(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    layout at;
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const __m512i block_u8x64 = _mm512_mask_add_epi8(
            _mm512_set1_epi8((char)(i * second)), upper_block, _mm512_set1_epi8((char)(i * second)),
            _mm512_set1_epi8((char)bytes));
        at.quants_u8x64[i] = _mm512_add_epi8(_mm512_add_epi8(block_u8x64, lane_u8x64),
                                             _mm512_set1_epi8((char)b32_quants_at(type)));
        at.fifth_u8x64[i] = _mm512_add_epi8(_mm512_add_epi8(block_u8x64, eighth_u8x64),
                                            _mm512_set1_epi8((char)b32_fifth_at(type)));
    }
    const short d1 = (short)(bytes / 2), d2 = (short)(32 + second / 2), d3 = (short)(d2 + d1);
    at.scales_u16x32 = _mm512_castsi128_si512(
        _mm_setr_epi16(0, d1, d2, d3, 1, (short)(d1 + 1), (short)(d2 + 1), (short)(d3 + 1)));
    return at;
}

/* The first n bytes at p, at most 64; zeros beyond. */
LK_INLINE __m512i load_bytes(const void *p, int n) {
    return n >= 64 ? _mm512_loadu_si512(p)
           : n > 0 ? _mm512_maskz_loadu_epi8(_bzhi_u64(~0ULL, (unsigned)n), p)
                   : _mm512_setzero_si512();
}

LK_INLINE quad load_q8_0(const uint8_t *w, int n) {
    const block_q8_0 *block = (const block_q8_0 *)w;
    __m256i q_i8x32[QUAD];
    uint64_t d = 0;
#pragma GCC unroll 4
    for (int i = 0; i < QUAD; i++) {
        q_i8x32[i] =
            i < n ? _mm256_loadu_si256((const __m256i *)block[i].qs) : _mm256_setzero_si256();
        d |= (uint64_t)(i < n ? block[i].d : 0) << (16 * i);
    }
    quad v;
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        v.q_i8x64[i] =
            _mm512_inserti64x4(_mm512_castsi256_si512(q_i8x32[2 * i]), q_i8x32[2 * i + 1], 1);
    v.d_f32x4 = _mm_cvtph_ps(_mm_cvtsi64_si128((long long)d));
    v.m_f32x4 = _mm_setzero_ps();
    return v;
}

LK_INLINE quad load_quad(b32_type type, const layout *at, const uint8_t *w, int n) {
    if (type == B32_q8_0)
        return load_q8_0(w, n);
    const int bytes = (int)b32_bytes(type), second = QUAD * bytes - 64;
    const __m512i raw_u8x64[2] = {load_bytes(w, n * bytes),
                                  load_bytes(w + second, n * bytes - second)};
    const __m512i nibble_shift_u32x16 =
        _mm512_set_epi32(4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0);
    quad v;
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const __m512i pairs_u8x64 = _mm512_permutexvar_epi8(at->quants_u8x64[i], raw_u8x64[i]);
        v.q_i8x64[i] = _mm512_and_si512(_mm512_srlv_epi32(pairs_u8x64, nibble_shift_u32x16),
                                        _mm512_set1_epi8(15));
        if (!b32_has_fifth_bit(type))
            continue;
        const __m512i fifth_u8x64 = _mm512_permutexvar_epi8(at->fifth_u8x64[i], raw_u8x64[i]);
        const __mmask64 is_set =
            _mm512_test_epi8_mask(fifth_u8x64, _mm512_set1_epi64((long long)0x8040201008040201));
        v.q_i8x64[i] =
            _mm512_mask_add_epi8(v.q_i8x64[i], is_set, v.q_i8x64[i], _mm512_set1_epi8(16));
    }
    const __m128i scales_f16x8 = _mm512_castsi512_si128(
        _mm512_permutex2var_epi16(raw_u8x64[0], at->scales_u16x32, raw_u8x64[1]));
    v.d_f32x4 = _mm_cvtph_ps(scales_f16x8);
    v.m_f32x4 = _mm_cvtph_ps(_mm_unpackhi_epi64(scales_f16x8, scales_f16x8));
    return v;
}

/* Sums of 4 products q a in each int32 lane. */
LK_INLINE __m512i products(b32_type type, __m512i q_i8x64, __m512i a_i8x64) {
    const __m512i zero = _mm512_setzero_si512();
    if (type != B32_q8_0)
        return _mm512_dpbusd_epi32(zero, q_i8x64, a_i8x64);
    const __m512i signed_i8x64 =
        _mm512_mask_sub_epi8(a_i8x64, _mm512_movepi8_mask(q_i8x64), zero, a_i8x64);
    return _mm512_dpbusd_epi32(zero, _mm512_abs_epi8(q_i8x64), signed_i8x64);
}

typedef struct {
    __m512 sum_f32x16[2];
    __m128 offset_f32x4; /* sum of d s32 (zero point) or m s32 */
} total;

/* Adds n <= 4 blocks, from block b on, of one activation row. */
LK_INLINE void add_quad(b32_type type, total *t, const quad *v, const void *x, int k, int b,
                        int n) {
    const __mmask8 in_row = (__mmask8)((1 << n) - 1);
    const __m128 d_a_f32x4 = n == QUAD ? _mm_loadu_ps(lk_act_d(x, k) + b)
                                       : _mm_maskz_loadu_ps(in_row, lk_act_d(x, k) + b);
    const __m512 d_f32x4 = _mm512_castps128_ps512(_mm_mul_ps(v->d_f32x4, d_a_f32x4));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const __m512i a_i8x64 =
            load_bytes(lk_act_q(x) + LK_QK32 * b + 64 * i, LK_QK32 * n - 64 * i);
        const __m512 dot_f32x16 = _mm512_cvtepi32_ps(products(type, v->q_i8x64[i], a_i8x64));
        const __m512i block_of_lane_u32x16 =
            _mm512_mask_blend_epi32(0xff00, _mm512_set1_epi32(2 * i), _mm512_set1_epi32(2 * i + 1));
        t->sum_f32x16[i] = _mm512_fmadd_ps(
            dot_f32x16, _mm512_permutexvar_ps(block_of_lane_u32x16, d_f32x4), t->sum_f32x16[i]);
    }
    if (type == B32_q8_0)
        return;
    const __m128 s32_f32x4 = n == QUAD ? _mm_loadu_ps(lk_act_s32(x, k) + b)
                                       : _mm_maskz_loadu_ps(in_row, lk_act_s32(x, k) + b);
    t->offset_f32x4 =
        _mm_fmadd_ps(b32_has_min(type) ? v->m_f32x4 : v->d_f32x4, s32_f32x4, t->offset_f32x4);
}

LK_INLINE float finish(b32_type type, const total *t) {
    const float sum = _mm512_reduce_add_ps(_mm512_add_ps(t->sum_f32x16[0], t->sum_f32x16[1]));
    if (type == B32_q8_0)
        return sum;
    const __m128 pair_f32x4 =
        _mm_add_ps(t->offset_f32x4, _mm_movehl_ps(t->offset_f32x4, t->offset_f32x4));
    const float offset = _mm_cvtss_f32(_mm_add_ss(pair_f32x4, _mm_movehdup_ps(pair_f32x4)));
    return sum + (b32_has_min(type) ? offset : -(float)b32_zero(type) * offset);
}

/* Rows row + i row_step by columns col + j; n_rows <= 2 and n_cols <= MAX_COLS are constants. */
LK_INLINE void dot_tile(b32_type type, const layout *at, const b32_operands *m, int row,
                        int row_step, int n_rows, int col, int n_cols) {
    const char *x = m->x + col * m->x_stride;
    const int n_blocks = m->k / LK_QK32;
    total t[2][MAX_COLS];
#pragma GCC unroll 2
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_cols; j++) {
            t[i][j].sum_f32x16[0] = t[i][j].sum_f32x16[1] = _mm512_setzero_ps();
            t[i][j].offset_f32x4 = _mm_setzero_ps();
        }
    for (int b = 0; b < n_blocks; b += QUAD) {
        const uint8_t *w = m->w + row * m->w_stride + b * b32_bytes(type);
        const int n = n_blocks - b;
#pragma GCC unroll 2
        for (int i = 0; i < n_rows; i++, w += row_step * m->w_stride) {
            if (n >= QUAD) {
                const quad v = load_quad(type, at, w, QUAD);
#pragma GCC unroll 4
                for (int j = 0; j < n_cols; j++)
                    add_quad(type, &t[i][j], &v, x + j * m->x_stride, m->k, b, QUAD);
            } else {
                const quad v = load_quad(type, at, w, n);
#pragma GCC unroll 4
                for (int j = 0; j < n_cols; j++)
                    add_quad(type, &t[i][j], &v, x + j * m->x_stride, m->k, b, n);
            }
        }
    }
#pragma GCC unroll 2
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_cols; j++)
            m->y[(col + j) * m->y_stride + row + i * row_step] = finish(type, &t[i][j]);
}

/* One column: rows r and r + rows / 2 together, two long streams that share the activations. */
LK_INLINE void dot_rows(b32_type type, const b32_operands *m, int rows, int cols) {
    const layout at = make_layout(type);
    const int half = rows / 2;
    if (cols == 1) {
        for (int r = 0; r < half; r++)
            dot_tile(type, &at, m, r, half, 2, 0, 1);
        if (rows % 2)
            dot_tile(type, &at, m, rows - 1, 0, 1, 0, 1);
        return;
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c += MAX_COLS)
            switch (cols - c) {
            case 1:
                dot_tile(type, &at, m, r, 0, 1, c, 1);
                break;
            case 2:
                dot_tile(type, &at, m, r, 0, 1, c, 2);
                break;
            case 3:
                dot_tile(type, &at, m, r, 0, 1, c, 3);
                break;
            default:
                dot_tile(type, &at, m, r, 0, 1, c, 4);
            }
}

#define DOT(type)                                                                                  \
    void dot_##type##_avx512(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,         \
                             const void *x, size_t x_stride, int k, int rows, int cols) {          \
        const b32_operands m = {y, y_stride, w, w_stride, x, x_stride, k};                         \
        dot_rows(B32_##type, &m, rows, cols);                                                      \
    }
B32_TYPES(DOT)

LK_END
#endif
