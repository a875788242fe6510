/*
 * gemm_gG[_min]: formula in gemm_scalar.c, tile and panel in kernels.h, loops in gemm_avx2.h.
 * VPMADDUBSW multiplies activations of up to 255 with weights and adds pairs in int16, where
 * further pairs are added as long as they fit: 2 * 255 * |q| * pairs <= 32767 allows 8 for |q| <=
 * 8, 4 for 16, 2 for 32 (32640 each). VPMADDWD by ones widens to int32, which starts at the tile's
 * -128 * sum of q. Q8_0, |q| <= 128, moves the sign of q to the activation without its 128:
 * 2 * 128 * 127 = 32512, one pair at a time.
 */
#include "kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX2

#include "gemm_avx2.h"

typedef __m256i sum_i16x16;

LK_INLINE sum_i32x8 widened(sum_i16x16 part) {
    return _mm256_madd_epi16(part, _mm256_set1_epi16(1));
}

/* `pairs` dwords go together in int16. */
LK_INLINE void multiply_codes(sum_i32x8 sum[VECTORS][COLS], const int8_t *q, const uint8_t *a,
                              int n, int pairs) {
    LK_UNROLL
    for (int i = 0; i < n; i += pairs) {
        sum_i16x16 part[VECTORS][COLS];
        LK_UNROLL
        for (int j = 0; j < pairs; j++) {
            i8x32 w[VECTORS];
            LK_UNROLL
            for (int v = 0; v < VECTORS; v++)
                w[v] = load_q(q, i + j, v);
            LK_UNROLL
            for (int c = 0; c < COLS; c++) {
                const u8x32 x = four_of(a + 32 * c + 4 * (i + j));
                LK_UNROLL
                for (int v = 0; v < VECTORS; v++) {
                    const sum_i16x16 two = _mm256_maddubs_epi16(x, w[v]);
                    part[v][c] = j == 0 ? two : _mm256_add_epi16(part[v][c], two);
                    LK_ADDED_HERE(part[v][c]);
                }
            }
        }
        LK_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            LK_UNROLL
            for (int c = 0; c < COLS; c++)
                sum[v][c] = _mm256_add_epi32(sum[v][c], widened(part[v][c]));
        }
    }
}

LK_INLINE void multiply_bytes(sum_i32x8 sum[VECTORS][COLS], const int8_t *q, const uint8_t *a,
                              int n) {
    LK_UNROLL
    for (int i = 0; i < n; i++) {
        i8x32 w[VECTORS];
        u8x32 magnitude[VECTORS];
        LK_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            w[v] = load_q(q, i, v);
            magnitude[v] = _mm256_abs_epi8(w[v]);
        }
        LK_UNROLL
        for (int c = 0; c < COLS; c++) {
            const i8x32 x =
                _mm256_xor_si256(four_of(a + 32 * c + 4 * i), _mm256_set1_epi8((char)0x80));
            LK_UNROLL
            for (int v = 0; v < VECTORS; v++) {
                sum[v][c] = _mm256_add_epi32(
                    sum[v][c],
                    widened(_mm256_maddubs_epi16(magnitude[v], _mm256_sign_epi8(x, w[v]))));
                LK_ADDED_HERE(sum[v][c]);
            }
        }
    }
}

LK_INLINE void multiply(sum_i32x8 sum[VECTORS][COLS], const int8_t *q, const uint8_t *a, int n,
                        int pairs) {
    if (pairs)
        multiply_codes(sum, q, a, n, pairs < n ? pairs : n);
    else
        multiply_bytes(sum, q, a, n);
}

#define GEMM(name, groups, has_min)                                                                \
    void name##_avx2(float *y, ptrdiff_t y_stride, const lk_tile *tiles,                           \
                     const lk_panel_block *panel, int k, int rows, int cols, int accumulate) {     \
        const int q_max = tiles->q_max;                                                            \
        if (q_max <= 8)                                                                            \
            gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min, 8);        \
        else if (q_max <= 16)                                                                      \
            gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min, 4);        \
        else if (q_max <= 32)                                                                      \
            gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min, 2);        \
        else                                                                                       \
            gemm(y, y_stride, tiles, panel, k, rows, cols, accumulate, groups, has_min, 0);        \
    }
GEMM(gemm_g32, 1, 0)
GEMM(gemm_g32_min, 1, 1)
GEMM(gemm_g16, 2, 0)
GEMM(gemm_g16_min, 2, 1)

LK_END
#endif
