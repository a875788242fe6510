/* The starts of a tile's sums, with AVX-512. Include it inside the target region. */
#ifndef LK_TILE_AVX512_H
#define LK_TILE_AVX512_H

#include "tile.h"

/* start = -128 * the sum of each group's q: VPDPBUSD with 128 in every byte, negated. */
LK_INLINE void lk_tile_starts(const lk_tile *tile, int k, const int group) {
    const __m512i u128_u8x64 = _mm512_set1_epi8((char)128);
    const int8_t *q = tile->q;
    int32_t *start = tile->start;
    for (int i = 0; i < k; i += group, start += LK_TILE_ROWS) {
        __m512i sum_i32x16 = _mm512_setzero_si512();
        for (int j = 0; j < group; j += 4, q += 4 * LK_TILE_ROWS)
            sum_i32x16 = _mm512_dpbusd_epi32(sum_i32x16, u128_u8x64, _mm512_loadu_si512(q));
        _mm512_storeu_si512(start, _mm512_sub_epi32(_mm512_setzero_si512(), sum_i32x16));
    }
}

#endif
