/*
 * unpack_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4 into the tile of kernels.h: q[i / 4][row][i % 4],
 * scale = d, min = -m (Q4_1 and Q5_1). b32_tile_avx512.h has how.
 */
#include "b32.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "b32_tile_avx512.h"

LK_INLINE void unpack_rows(b32_type type, const lk_tile *tile, const uint8_t *w, size_t w_stride,
                           int k, int n_rows) {
    const int n_blocks = k / LK_QK32, run = b32_run(type);
    const size_t bytes = b32_bytes(type);
    const b32_fields at = b32_make_fields(type);
    lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, n_blocks * bytes);
    int b = 0;
    for (; b + run <= n_blocks; b += run) {
        lk_tile t = lk_tile_from(tile, LK_QK32 * b, LK_QK32);
        b32_unpack_run(type, &at, &t, &rows, b * bytes, run, lk_store_group, &t);
    }
    lk_tile t = lk_tile_from(tile, LK_QK32 * b, LK_QK32);
    b32_unpack_rest(type, &at, &t, &rows, b * bytes, n_blocks - b, lk_store_group, &t);
}

#define UNPACK(type)                                                                               \
    void unpack_##type##_avx512(const lk_tile *tile, const void *w, size_t w_stride, int k,        \
                                int rows) {                                                        \
        unpack_rows(B32_##type, tile, w, w_stride, k, rows);                                       \
    }
B32_TYPES(UNPACK)

LK_END
#endif
