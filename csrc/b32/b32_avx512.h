/* Blocks of 32 taken several at a time with AVX-512. Include it inside the target region. */
#ifndef LK_B32_AVX512_H
#define LK_B32_AVX512_H

#include "b32.h"

/*
 * A run of n blocks, 64 < n * bytes <= 128, is two loads: its first and its last 64 bytes. Indices
 * of VPERMT2B there, from offsets in the run.
 */
LK_INLINE __m512i b32_in_two_loads(b32_type type, int n, __m512i offset_u8x64) {
    const int to_second = 64 - ((int)b32_bytes(type) * n - 64);
    const __mmask64 beyond = _mm512_cmpgt_epu8_mask(offset_u8x64, _mm512_set1_epi8(63));
    return _mm512_mask_add_epi8(offset_u8x64, beyond, offset_u8x64,
                                _mm512_set1_epi8((char)to_second));
}

/* The first n bytes at p, at most 64; zeros beyond. */
LK_INLINE __m512i b32_load(const void *p, int n) {
    return n >= 64 ? _mm512_loadu_si512(p)
           : n > 0 ? _mm512_maskz_loadu_epi8(_bzhi_u64(~0ULL, (unsigned)n), p)
                   : _mm512_setzero_si512();
}

/* The table of a type in each lane, `more` added. */
LK_INLINE __m512i b32_table_i8x64(b32_type type, int more) {
    const __m128i table_i8x16 = _mm_loadu_si128((const __m128i *)b32_table(type));
    return _mm512_broadcast_i32x4(_mm_add_epi8(table_i8x16, _mm_set1_epi8((char)more)));
}

/* lk_half_e8m0_to_f32: 2^-128 and 2^-127 are not normal. */
LK_INLINE __m512 b32_half_e8m0_f32x16(__m512i e_u32x16) {
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e_u32x16, one), 23);
    const __m512i least = _mm512_slli_epi32(
        _mm512_min_epi32(_mm512_add_epi32(e_u32x16, one), _mm512_set1_epi32(2)), 21);
    return _mm512_castsi512_ps(_mm512_max_epi32(normal, least));
}

/* Lane b: bytes at + byte_u8x16[i] of block b, of four. */
LK_INLINE __m512i b32_lanes(b32_type type, int at, __m128i byte_u8x16) {
    const __m512i block_u32x16 = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i block_at_u8x64 =
        _mm512_mullo_epi32(block_u32x16, _mm512_set1_epi32((int)b32_bytes(type) * 0x01010101));
    const __m512i in_block_u8x64 =
        _mm512_broadcast_i32x4(_mm_add_epi8(byte_u8x16, _mm_set1_epi8((char)at)));
    return b32_in_two_loads(type, 4, _mm512_add_epi8(block_at_u8x64, in_block_u8x64));
}

#endif
