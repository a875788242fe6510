/*
 * probe_read: 64 bytes a load, 256 of a stream in a step, XORed into four registers; the end of the
 * range is a masked load.
 * probe_int8: VPDPBUSD, 64 products an instruction, 2 a cycle with a latency of 4 or 5: 16 sums
 * keep it busy. The 32 operands lie in both halves of a register.
 */
#include "probe.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

#define STEP 256
#define SUMS 16

typedef __m512i bits_u64x8;

/* bits ^= the n <= 256 bytes at p. */
LK_INLINE void fold(bits_u64x8 bits[4], const uint8_t *p, size_t n) {
    LK_UNROLL
    for (int i = 0; i < 4; i++) {
        const size_t at = 64 * (size_t)i, left = n > at ? n - at : 0;
        const __mmask64 bytes = left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
        bits[i] = _mm512_xor_si512(bits[i], _mm512_maskz_loadu_epi8(bytes, p + at));
    }
}

uint64_t probe_read_avx512(const void *p, size_t n, int n_streams) {
    const uint8_t *near = p;
    const size_t half = n_streams == 2 ? n / 2 / STEP * STEP : 0;
    const uint8_t *far = near + half;
    bits_u64x8 bits[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                          _mm512_setzero_si512()};
    size_t i = 0;
    for (; i < half; i += STEP) {
        fold(bits, near + i, STEP);
        fold(bits, far + i, STEP);
    }
    for (i = 2 * half; i + STEP <= n; i += STEP)
        fold(bits, near + i, STEP);
    fold(bits, near + i, n - i);
    bits[0] =
        _mm512_xor_si512(_mm512_xor_si512(bits[0], bits[1]), _mm512_xor_si512(bits[2], bits[3]));
    uint64_t words[8], value = 0;
    _mm512_storeu_si512(words, bits[0]);
    for (int j = 0; j < 8; j++)
        value ^= words[j];
    return value;
}

int64_t probe_int8_avx512(const uint8_t *a, const int8_t *w, int64_t rounds, uint32_t *sum) {
    const __m512i a_u8x64 = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)a));
    const __m512i w_i8x64 = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)w));
    __m512i sum_i32x16[SUMS];
    LK_UNROLL
    for (int i = 0; i < SUMS; i++) {
        sum_i32x16[i] = _mm512_setzero_si512();
        PROBE_OPAQUE(sum_i32x16[i]);
    }
    for (int64_t r = 0; r < rounds; r++) {
        LK_UNROLL
        for (int i = 0; i < SUMS; i++)
            sum_i32x16[i] = _mm512_dpbusd_epi32(sum_i32x16[i], a_u8x64, w_i8x64);
    }
    LK_UNROLL
    for (int i = 1; i < SUMS; i++)
        sum_i32x16[0] = _mm512_add_epi32(sum_i32x16[0], sum_i32x16[i]);
    uint32_t lanes[16];
    _mm512_storeu_si512(lanes, sum_i32x16[0]);
    *sum = probe_total(lanes, 16);
    return 64 * SUMS;
}

LK_END
#endif
