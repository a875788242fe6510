/* The starts of a tile's sums, with AVX2. Include it inside the target region. */
#ifndef LK_TILE_AVX2_H
#define LK_TILE_AVX2_H

#include "tile.h"

/* start = -128 * the sum of each group's q: bytes added in pairs, then by -128 to dwords. */
LK_INLINE void lk_tile_starts(const lk_tile *tile, int k, const int group) {
    const __m256i one_u8x32 = _mm256_set1_epi8(1), minus_i16x16 = _mm256_set1_epi16(-128);
    for (int half = 0; half < 2; half++) {
        const int8_t *q = tile->q + 32 * half;
        int32_t *start = tile->start + 8 * half;
        for (int i = 0; i < k; i += group, start += LK_TILE_ROWS) {
            __m256i sum_i16x16 = _mm256_setzero_si256();
            for (int j = 0; j < group; j += 4, q += 4 * LK_TILE_ROWS)
                sum_i16x16 = _mm256_add_epi16(
                    sum_i16x16,
                    _mm256_maddubs_epi16(one_u8x32, _mm256_loadu_si256((const __m256i *)q)));
            _mm256_storeu_si256((__m256i *)start, _mm256_madd_epi16(sum_i16x16, minus_i16x16));
        }
    }
}

#endif
