/*
 * skinny_TYPE with AVX-512: codes go from the file's blocks through registers into products, and
 * never through memory. Getting there (b32_tile_avx512.h, k_tile_avx512.h) is most of the work, on
 * the shuffling half of the core, and the products are few: so they run side by side. Eight columns
 * are eight sums of VPDPBUSD and a ninth, of the codes times 128, that they are too large by: to
 * start with it would chain one behind the other. Include it inside the target region.
 */
#ifndef LK_SKINNY_AVX512_H
#define LK_SKINNY_AVX512_H

#include "tile_avx512.h"

typedef int32_t __attribute__((may_alias, aligned(1))) four_u8;

/* Where products go, and the panel steps of the elements that are being unpacked. */
typedef struct {
    __m512 acc_f32x16[LK_SKINNY_COLS];
    const lk_panel_block *panel;
    const float *scale, *min;
} lk_products;

/* acc += group g: n lines of codes, 8 or 4, times the columns. */
LK_INLINE void lk_multiply_group(void *to, int g, const __m512i *q_i8x64, const int n) {
    lk_products *p = (lk_products *)to;
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

LK_INLINE lk_products lk_no_products(const lk_panel_block *panel, const lk_tile *t) {
    lk_products p = {.panel = panel, .scale = t->scale, .min = t->min};
    LK_UNROLL
    for (int c = 0; c < LK_SKINNY_COLS; c++)
        p.acc_f32x16[c] = _mm512_setzero_ps();
    return p;
}

LK_INLINE void lk_store_products(float *y, ptrdiff_t y_stride, const lk_products *p, int rows,
                                 int cols, int accumulate) {
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

#endif
