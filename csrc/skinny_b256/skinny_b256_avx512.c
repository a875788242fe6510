/* skinny_q2_K .. q6_K: skinny_avx512.h and k_tile_avx512.h have how. */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "../k_tile_avx512.h"
#include "../skinny_avx512.h"

#define SKINNY(type, has_min)                                                                      \
    void skinny_##type##_avx512(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,      \
                                const lk_panel_block *panel, int k, int n_rows, int cols,          \
                                int accumulate) {                                                  \
        const size_t n = (size_t)k / LK_QK256, bytes = sizeof(block_##type);                       \
        lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, n * bytes);                          \
        float scale[16 * LK_TILE_ROWS], min[16 * LK_TILE_ROWS];                                    \
        const lk_tile t = {.scale = scale, .min = (has_min) ? min : NULL};                         \
        lk_products p = lk_no_products(panel, &t);                                                 \
        for (size_t b = 0; b < n; b++, p.panel += LK_QK256 / 32)                                   \
            k_unpack_##type(&t, &rows, b * bytes, lk_multiply_group, &p);                          \
        lk_store_products(y, y_stride, &p, n_rows, cols, accumulate);                              \
    }
SKINNY(q2_K, 1)
SKINNY(q3_K, 0)
SKINNY(q4_K, 1)
SKINNY(q5_K, 1)
SKINNY(q6_K, 0)
SKINNY(iq4_xs, 0)

LK_END
#endif
