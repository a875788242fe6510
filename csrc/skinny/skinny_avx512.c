/*
 * skinny_TYPE: codes go from the file's blocks through registers into products, and never through
 * memory; b32_tile_avx512.h and k_tile_avx512.h have how they get there. That is most of the work,
 * on the shuffling half of the core, and the products are few: so they run side by side. Eight
 * columns are eight sums of VPDPBUSD and a ninth, of the codes times 128, that they are too large
 * by: to start with it would chain one behind the other.
 */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "../b32/b32_tile_avx512.h"
#include "k_tile_avx512.h"

typedef int32_t __attribute__((may_alias, aligned(1))) four_u8;

/* Where products go, and the panel steps of the elements that are being unpacked. */
typedef struct {
    __m512 acc_f32x16[LK_SKINNY_COLS];
    const lk_panel_block *panel;
    const float *scale, *min;
} products;

/* acc += group g: n lines of codes, 8 or 4, times the columns. */
LK_INLINE void multiply_group(void *to, int g, const __m512i *q_i8x64, const int n) {
    products *p = (products *)to;
    const int groups = 8 / n;
    const lk_panel_block *panel = &p->panel[g / groups];
    const __m512i u128_u8x64 = _mm512_set1_epi8((char)128);
    __m512i sum_i32x16[LK_SKINNY_COLS], too_much_i32x16 = _mm512_setzero_si512();
    LK_UNROLL
    for (int c = 0; c < LK_SKINNY_COLS; c++)
        sum_i32x16[c] = _mm512_setzero_si512();
    LK_UNROLL
    for (int i = 0; i < n; i++) {
        too_much_i32x16 = _mm512_dpbusd_epi32(too_much_i32x16, u128_u8x64, q_i8x64[i]);
        LK_UNROLL
        for (int c = 0; c < LK_SKINNY_COLS; c++) {
            const uint8_t *a = &panel->q[c][4 * (g % groups * n + i)];
            sum_i32x16[c] = _mm512_dpbusd_epi32(sum_i32x16[c],
                                                _mm512_set1_epi32(*(const four_u8 *)a), q_i8x64[i]);
        }
    }
    const __m512 scale_f32x16 = _mm512_loadu_ps(p->scale + LK_TILE_ROWS * g);
    LK_UNROLL
    for (int c = 0; c < LK_SKINNY_COLS; c++) {
        const __m512 sum_f32x16 =
            _mm512_cvtepi32_ps(_mm512_sub_epi32(sum_i32x16[c], too_much_i32x16));
        p->acc_f32x16[c] = _mm512_fmadd_ps(_mm512_mul_ps(sum_f32x16, scale_f32x16),
                                           _mm512_set1_ps(panel->d[c]), p->acc_f32x16[c]);
    }
    if (!p->min)
        return;
    const __m512 min_f32x16 = _mm512_loadu_ps(p->min + LK_TILE_ROWS * g);
    const float *s = groups == 1 ? panel->s32 : panel->s16[g % 2];
    LK_UNROLL
    for (int c = 0; c < LK_SKINNY_COLS; c++)
        p->acc_f32x16[c] = _mm512_fnmadd_ps(min_f32x16, _mm512_set1_ps(s[c]), p->acc_f32x16[c]);
}

LK_INLINE products no_products(const lk_panel_block *panel, const lk_tile *t) {
    products p = {.panel = panel, .scale = t->scale, .min = t->min};
    LK_UNROLL
    for (int c = 0; c < LK_SKINNY_COLS; c++)
        p.acc_f32x16[c] = _mm512_setzero_ps();
    return p;
}

LK_INLINE void store_products(float *y, ptrdiff_t y_stride, const products *p, int rows, int cols,
                              int accumulate) {
    const __mmask16 lanes = (__mmask16)((1u << rows) - 1);
    LK_UNROLL
    for (int c = 0; c < LK_SKINNY_COLS; c++) {
        if (c == cols) /* storing nothing takes hundreds of cycles beyond a page */
            return;
        float *out = y + c * y_stride;
        const __mmask16 before = accumulate ? lanes : 0;
        _mm512_mask_storeu_ps(out, lanes,
                              _mm512_add_ps(p->acc_f32x16[c], _mm512_maskz_loadu_ps(before, out)));
    }
}

LK_INLINE void skinny_b32(b32_type type, float *y, ptrdiff_t y_stride, const uint8_t *w,
                          size_t w_stride, const lk_panel_block *panel, int k, int n_rows, int cols,
                          int accumulate) {
    const int n_blocks = k / LK_QK32, run = b32_run(type);
    const size_t bytes = b32_bytes(type);
    const b32_fields at = b32_make_fields(type);
    lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, n_blocks * bytes);
    float scale[4 * LK_TILE_ROWS], min[4 * LK_TILE_ROWS];
    const lk_tile t = {.scale = scale, .min = b32_has_min(type) ? min : NULL};
    products p = no_products(panel, &t);
    int b = 0;
    for (; b + run <= n_blocks; b += run, p.panel += run)
        b32_unpack_run(type, &at, &t, &rows, b * bytes, run, multiply_group, &p);
    b32_unpack_rest(type, &at, &t, &rows, b * bytes, n_blocks - b, multiply_group, &p);
    store_products(y, y_stride, &p, n_rows, cols, accumulate);
}

#define SKINNY_B32(type)                                                                           \
    void skinny_##type##_avx512(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,      \
                                const lk_panel_block *panel, int k, int rows, int cols,            \
                                int accumulate) {                                                  \
        skinny_b32(B32_##type, y, y_stride, w, w_stride, panel, k, rows, cols, accumulate);        \
    }
B32_TYPES(SKINNY_B32)

#define SKINNY_K(type, has_min)                                                                    \
    void skinny_##type##_avx512(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,      \
                                const lk_panel_block *panel, int k, int n_rows, int cols,          \
                                int accumulate) {                                                  \
        const size_t n = (size_t)k / LK_QK256, bytes = sizeof(block_##type);                       \
        lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, n * bytes);                          \
        float scale[16 * LK_TILE_ROWS], min[16 * LK_TILE_ROWS];                                    \
        const lk_tile t = {.scale = scale, .min = (has_min) ? min : NULL};                         \
        products p = no_products(panel, &t);                                                       \
        for (size_t b = 0; b < n; b++, p.panel += LK_QK256 / 32)                                   \
            k_unpack_##type(&t, &rows, b * bytes, multiply_group, &p);                             \
        store_products(y, y_stride, &p, n_rows, cols, accumulate);                                 \
    }
SKINNY_K(q2_K, 1)
SKINNY_K(q3_K, 0)
SKINNY_K(q4_K, 1)
SKINNY_K(q5_K, 1)
SKINNY_K(q6_K, 0)

LK_END
#endif
