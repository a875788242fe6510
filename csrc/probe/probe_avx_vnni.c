/*
 * probe_int8: VPDPBUSD, 32 products an instruction, 2 a cycle with a latency of 4 or 5: 12 sums
 * keep it busy. Reading is as fast with AVX2.
 */
#include "probe.h"

#if LK_AVX_VNNI
#include <immintrin.h>

LK_BEGIN_AVX_VNNI

#define SUMS 12

int64_t probe_int8_avx_vnni(const uint8_t *a, const int8_t *w, int64_t rounds, uint32_t *sum) {
    const __m256i a_u8x32 = _mm256_loadu_si256((const __m256i *)a);
    const __m256i w_i8x32 = _mm256_loadu_si256((const __m256i *)w);
    __m256i sum_i32x8[SUMS];
    LK_UNROLL
    for (int i = 0; i < SUMS; i++) {
        sum_i32x8[i] = _mm256_setzero_si256();
        PROBE_OPAQUE(sum_i32x8[i]);
    }
    for (int64_t r = 0; r < rounds; r++) {
        LK_UNROLL
        for (int i = 0; i < SUMS; i++)
            sum_i32x8[i] = _mm256_dpbusd_avx_epi32(sum_i32x8[i], a_u8x32, w_i8x32);
    }
    LK_UNROLL
    for (int i = 1; i < SUMS; i++)
        sum_i32x8[0] = _mm256_add_epi32(sum_i32x8[0], sum_i32x8[i]);
    uint32_t lanes[8];
    _mm256_storeu_si256((__m256i *)lanes, sum_i32x8[0]);
    *sum = probe_total(lanes, 8);
    return 32 * SUMS;
}

LK_END
#endif
