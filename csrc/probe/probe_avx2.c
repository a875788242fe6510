/*
 * probe_read: 32 bytes a load, 128 of a stream in a step, XORed into four registers; the end of the
 * range is copied.
 * probe_int8: 8 times VPMADDUBSW, its pairs added in int16 (8 * 2 * 127 * 8 < 2^15), then VPMADDWD
 * by ones and VPADDD: as products with weights of 4 bits do it. Wider weights take VPMADDWD more
 * often and come less near. Four such sums go on at once.
 */
#include "probe.h"

#if LK_X86
#include <immintrin.h>
#include <string.h>

LK_BEGIN_AVX2

#define STEP 128
#define SUMS 4
#define PAIRS 8

typedef __m256i bits_u64x4;

LK_INLINE void fold(bits_u64x4 bits[4], const uint8_t *p) {
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        bits[i] = _mm256_xor_si256(bits[i], _mm256_loadu_si256((const __m256i *)p + i));
}

uint64_t probe_read_avx2(const void *p, size_t n, int n_streams) {
    const uint8_t *near = p;
    const size_t half = n_streams == 2 ? n / 2 / STEP * STEP : 0;
    const uint8_t *far = near + half;
    bits_u64x4 bits[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                          _mm256_setzero_si256()};
    size_t i = 0;
    for (; i < half; i += STEP) {
        fold(bits, near + i);
        fold(bits, far + i);
    }
    for (i = 2 * half; i + STEP <= n; i += STEP)
        fold(bits, near + i);
    uint8_t rest[STEP] = {0};
    memcpy(rest, near + i, n - i);
    fold(bits, rest);
    bits[0] =
        _mm256_xor_si256(_mm256_xor_si256(bits[0], bits[1]), _mm256_xor_si256(bits[2], bits[3]));
    uint64_t words[4];
    _mm256_storeu_si256((__m256i *)words, bits[0]);
    return words[0] ^ words[1] ^ words[2] ^ words[3];
}

int64_t probe_int8_avx2(const uint8_t *a, const int8_t *w, int64_t rounds, uint32_t *sum) {
    const __m256i a_u8x32 = _mm256_loadu_si256((const __m256i *)a);
    const __m256i ones_i16x16 = _mm256_set1_epi16(1);
    __m256i w_i8x32 = _mm256_loadu_si256((const __m256i *)w);
    __m256i sum_i32x8[SUMS];
    LK_UNROLL
    for (int i = 0; i < SUMS; i++)
        sum_i32x8[i] = _mm256_setzero_si256();
    for (int64_t r = 0; r < rounds; r++) {
        __m256i part_i16x16[SUMS];
        LK_UNROLL
        for (int pair = 0; pair < PAIRS; pair++) {
            LK_UNROLL
            for (int i = 0; i < SUMS; i++) {
                PROBE_OPAQUE(w_i8x32);
                const __m256i two_i16x16 = _mm256_maddubs_epi16(a_u8x32, w_i8x32);
                part_i16x16[i] =
                    pair == 0 ? two_i16x16 : _mm256_add_epi16(part_i16x16[i], two_i16x16);
                PROBE_OPAQUE(part_i16x16[i]); /* or additions are put off, and products spilled */
            }
        }
        LK_UNROLL
        for (int i = 0; i < SUMS; i++)
            sum_i32x8[i] =
                _mm256_add_epi32(sum_i32x8[i], _mm256_madd_epi16(part_i16x16[i], ones_i16x16));
    }
    LK_UNROLL
    for (int i = 1; i < SUMS; i++)
        sum_i32x8[0] = _mm256_add_epi32(sum_i32x8[0], sum_i32x8[i]);
    uint32_t lanes[8];
    _mm256_storeu_si256((__m256i *)lanes, sum_i32x8[0]);
    *sum = probe_total(lanes, 8);
    return 32 * PAIRS * SUMS;
}

LK_END
#endif
