/*
 * dot_q4_0 q4_1 q5_0 q5_1 q8_0 (layouts: blocks.h), four blocks a step:
 *     y = sum d_w d_a sum(q a)  +  sum (m_w or -zero d_w) s32
 * VPMADDUBSW adds two products in int16; unpacking and adding twice leaves dword i of each 128-bit
 * lane to block i, so one VPMADDWD, conversion and FMA serve four blocks. The int16 hold 8 products
 * of at most 31 * 127: 31496 < 32768. Q8_0 moves the sign to the activation, 2 * 128 * 127 = 32512,
 * and widens to int32 first. Tail: missing blocks are zero and not read.
 */
#include "b32.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

#include "b32_avx2.h"

/* Loops over arrays of vectors are unrolled by pragma: rolled, gcc -O2 keeps them in memory. */
#define QUAD 4     /* blocks a step */
#define MAX_COLS 4 /* columns that share an unpacked block */

typedef struct {
    __m256 sum_f32x8;
    __m128 offset_f32x4; /* sum of d s32 (zero point) or m s32 */
} total;

/* The halves at byte `at` of n <= 4 blocks; zeros beyond. */
LK_INLINE __m128 load_scales(b32_type type, const uint8_t *w, int at, int n) {
    uint16_t h[QUAD] = {0};
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        h[i] = lk_load_u16(w + i * b32_bytes(type) + at);
    return _mm_cvtph_ps(
        _mm_setr_epi16((short)h[0], (short)h[1], (short)h[2], (short)h[3], 0, 0, 0, 0));
}

LK_INLINE __m128 load_floats(const float *p, int n) {
    if (n == QUAD)
        return _mm_loadu_ps(p);
    return _mm_maskload_ps(p, _mm_cmpgt_epi32(_mm_set1_epi32(n), _mm_setr_epi32(0, 1, 2, 3)));
}

/* Sums of two products. */
LK_INLINE __m256i products_i16x16(b32_type type, __m256i q_i8x32, const int8_t *a) {
    const __m256i a_i8x32 = _mm256_loadu_si256((const __m256i *)a);
    if (type == B32_q8_0)
        return _mm256_maddubs_epi16(_mm256_abs_epi8(q_i8x32), _mm256_sign_epi8(a_i8x32, q_i8x32));
    return _mm256_maddubs_epi16(q_i8x32, a_i8x32);
}

/* Two vectors to one: lower and upper parts of each 128-bit lane interleaved and added. */
#define FOLD(width, bits, x, y)                                                                    \
    _mm256_add_epi##width(_mm256_unpacklo_epi##bits(x, y), _mm256_unpackhi_epi##bits(x, y))

/* The products of blocks 0..3 summed: twice blocks 0, 1, 2, 3. */
LK_INLINE __m256 sum_blocks(b32_type type, const __m256i p_i16x16[QUAD]) {
    const __m256i one_i16x16 = _mm256_set1_epi16(1);
    if (type != B32_q8_0) {
        const __m256i lo_i16x16 = FOLD(16, 32, p_i16x16[0], p_i16x16[1]);
        const __m256i hi_i16x16 = FOLD(16, 32, p_i16x16[2], p_i16x16[3]);
        return _mm256_cvtepi32_ps(
            _mm256_madd_epi16(FOLD(16, 64, lo_i16x16, hi_i16x16), one_i16x16));
    }
    __m256i p_i32x8[QUAD];
#pragma GCC unroll 4
    for (int i = 0; i < QUAD; i++)
        p_i32x8[i] = _mm256_madd_epi16(p_i16x16[i], one_i16x16);
    const __m256i lo_i32x8 = FOLD(32, 32, p_i32x8[0], p_i32x8[1]);
    const __m256i hi_i32x8 = FOLD(32, 32, p_i32x8[2], p_i32x8[3]);
    return _mm256_cvtepi32_ps(FOLD(32, 64, lo_i32x8, hi_i32x8));
}

/* Adds n <= 4 blocks at w, from block b on, to the totals of n_cols (a constant) columns. */
LK_INLINE void add_quad(b32_type type, total *t, const uint8_t *w, const b32_operands *m,
                        const char *x, int b, int n, int n_cols) {
    const __m128 d_f32x4 = load_scales(type, w, 0, n);
    const __m128 offset_f32x4 = b32_has_min(type) ? load_scales(type, w, 2, n) : d_f32x4;
    const __m256i zero = _mm256_setzero_si256();
    __m256i q_i8x32[QUAD], p_i16x16[QUAD];
#pragma GCC unroll 4
    for (int i = 0; i < QUAD; i++)
        q_i8x32[i] = i < n ? b32_quants_i8x32(type, w + i * b32_bytes(type)) : zero;
#pragma GCC unroll 4
    for (int j = 0; j < n_cols; j++) {
        const char *row = x + j * m->x_stride;
        const int8_t *a = lk_act_q(row) + LK_QK32 * b;
#pragma GCC unroll 4
        for (int i = 0; i < QUAD; i++)
            p_i16x16[i] = i < n ? products_i16x16(type, q_i8x32[i], a + LK_QK32 * i) : zero;
        const __m128 scale_f32x4 = _mm_mul_ps(d_f32x4, load_floats(lk_act_d(row, m->k) + b, n));
        t[j].sum_f32x8 = _mm256_fmadd_ps(sum_blocks(type, p_i16x16),
                                         _mm256_set_m128(scale_f32x4, scale_f32x4), t[j].sum_f32x8);
        if (type != B32_q8_0)
            t[j].offset_f32x4 = _mm_fmadd_ps(
                offset_f32x4, load_floats(lk_act_s32(row, m->k) + b, n), t[j].offset_f32x4);
    }
}

LK_INLINE float add_lanes(__m128 x_f32x4) {
    const __m128 pair_f32x4 = _mm_add_ps(x_f32x4, _mm_movehl_ps(x_f32x4, x_f32x4));
    return _mm_cvtss_f32(_mm_add_ss(pair_f32x4, _mm_movehdup_ps(pair_f32x4)));
}

LK_INLINE float finish(b32_type type, const total *t) {
    const float sum = add_lanes(
        _mm_add_ps(_mm256_castps256_ps128(t->sum_f32x8), _mm256_extractf128_ps(t->sum_f32x8, 1)));
    if (type == B32_q8_0)
        return sum;
    const float offset = add_lanes(t->offset_f32x4);
    return sum + (b32_has_min(type) ? offset : -(float)b32_zero(type) * offset);
}

/* Rows row + i row_step by columns col + j; n_rows <= 2 and n_cols <= MAX_COLS are constants. */
LK_INLINE void dot_tile(b32_type type, const b32_operands *m, int row, int row_step, int n_rows,
                        int col, int n_cols) {
    const char *x = m->x + col * m->x_stride;
    const int n_blocks = m->k / LK_QK32;
    total t[2][MAX_COLS];
#pragma GCC unroll 2
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_cols; j++) {
            t[i][j].sum_f32x8 = _mm256_setzero_ps();
            t[i][j].offset_f32x4 = _mm_setzero_ps();
        }
    for (int b = 0; b < n_blocks; b += QUAD) {
        const uint8_t *w = m->w + row * m->w_stride + b * b32_bytes(type);
        const int n = n_blocks - b;
#pragma GCC unroll 2
        for (int i = 0; i < n_rows; i++, w += row_step * m->w_stride)
            if (n >= QUAD)
                add_quad(type, t[i], w, m, x, b, QUAD, n_cols);
            else
                add_quad(type, t[i], w, m, x, b, n, n_cols);
    }
#pragma GCC unroll 2
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_cols; j++)
            m->y[(col + j) * m->y_stride + row + i * row_step] = finish(type, &t[i][j]);
}

/* One column: rows r and r + rows / 2 together, two long streams that share the activations. */
LK_INLINE void dot_rows(b32_type type, const b32_operands *m, int rows, int cols) {
    const int half = rows / 2;
    if (cols == 1) {
        for (int r = 0; r < half; r++)
            dot_tile(type, m, r, half, 2, 0, 1);
        if (rows % 2)
            dot_tile(type, m, rows - 1, 0, 1, 0, 1);
        return;
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c += MAX_COLS)
            switch (cols - c) {
            case 1:
                dot_tile(type, m, r, 0, 1, c, 1);
                break;
            case 2:
                dot_tile(type, m, r, 0, 1, c, 2);
                break;
            case 3:
                dot_tile(type, m, r, 0, 1, c, 3);
                break;
            default:
                dot_tile(type, m, r, 0, 1, c, 4);
            }
}

#define DOT(type)                                                                                  \
    void dot_##type##_avx2(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,           \
                           const void *x, size_t x_stride, int k, int rows, int cols) {            \
        const b32_operands m = {y, y_stride, w, w_stride, x, x_stride, k};                         \
        dot_rows(B32_##type, &m, rows, cols);                                                      \
    }
B32_TYPES(DOT)

LK_END
#endif
