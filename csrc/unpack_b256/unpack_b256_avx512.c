/*
 * K-quant rows to the tile of kernels.h (unpack_b256_scalar.c); k_tile_avx512.h has how. Values are
 * those of the scalar version bit for bit; exactly rows * k / 256 super-blocks are read.
 */
#include "../k_quants.h"
#include "../kernels.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#include "../k_tile_avx512.h"

#define UNPACK(type, group)                                                                        \
    void unpack_##type##_avx512(const lk_tile *tile, const void *w, size_t w_stride, int k,        \
                                int n_rows) {                                                      \
        const size_t bytes = sizeof(block_##type);                                                 \
        lk_weight_rows rows = lk_rows_of(w, w_stride, n_rows, k / LK_QK256 * bytes);               \
        for (int i = 0; i < k; i += LK_QK256) {                                                    \
            lk_tile t = lk_tile_from(tile, i, group);                                              \
            k_unpack_##type(&t, &rows, (size_t)i / LK_QK256 * bytes, lk_store_group, &t);          \
        }                                                                                          \
    }

UNPACK(q2_K, 16)
UNPACK(q3_K, 16)
UNPACK(q4_K, 32)
UNPACK(q5_K, 32)
UNPACK(q6_K, 16)
UNPACK(iq4_xs, 32)

LK_END
#endif
