/* skinny_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4: skinny_avx512.h and b32_tile_avx512.h have how. */
#include "b32.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "../skinny_avx512.h"
#include "b32_tile_avx512.h"

LK_INLINE void skinny_b32(b32_type type, float *y, ptrdiff_t y_stride, const uint8_t *w,
                          size_t w_stride, const lk_panel_block *panel, int k, int n_rows, int cols,
                          int accumulate) {
    const int n_blocks = k / LK_QK32, run = b32_run(type);
    const size_t bytes = b32_bytes(type);
    const b32_fields at = b32_make_fields(type);
    lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, n_blocks * bytes);
    float scale[4 * LK_TILE_ROWS], min[4 * LK_TILE_ROWS];
    const lk_tile t = {.scale = scale, .min = b32_has_min(type) ? min : NULL};
    lk_products p = lk_no_products(panel, &t);
    int b = 0;
    for (; b + run <= n_blocks; b += run, p.panel += run)
        b32_unpack_run(type, &at, &t, &rows, b * bytes, run, lk_multiply_group, &p);
    b32_unpack_rest(type, &at, &t, &rows, b * bytes, n_blocks - b, lk_multiply_group, &p);
    lk_store_products(y, y_stride, &p, n_rows, cols, accumulate);
}

#define SKINNY(type)                                                                               \
    void skinny_##type##_avx512(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,      \
                                const lk_panel_block *panel, int k, int rows, int cols,            \
                                int accumulate) {                                                  \
        skinny_b32(B32_##type, y, y_stride, w, w_stride, panel, k, rows, cols, accumulate);        \
    }
B32_TYPES(SKINNY)

LK_END
#endif
