/* One block's quants as bytes in element order, for AVX2: include it inside the target region. */
#ifndef LK_B32_AVX2_H
#define LK_B32_AVX2_H

#include "b32.h"

/* The table of a type in both lanes, `more` added. */
LK_INLINE __m256i b32_table_i8x32(b32_type type, int more) {
    const __m128i table_i8x16 = _mm_loadu_si128((const __m128i *)b32_table(type));
    return _mm256_broadcastsi128_si256(_mm_add_epi8(table_i8x16, _mm_set1_epi8((char)more)));
}

/* lk_half_e8m0_to_f32: 2^-128 and 2^-127 are not normal. */
LK_INLINE __m128 b32_half_e8m0_f32x4(__m128i e_u32x4) {
    const __m128i one = _mm_set1_epi32(1);
    const __m128i normal = _mm_slli_epi32(_mm_sub_epi32(e_u32x4, one), 23);
    const __m128i least =
        _mm_slli_epi32(_mm_min_epi32(_mm_add_epi32(e_u32x4, one), _mm_set1_epi32(2)), 21);
    return _mm_castsi128_ps(_mm_max_epi32(normal, least));
}

/* The signed values for Q8_0 and tables, the unsigned codes of b32.h for all others. */
LK_INLINE __m256i b32_quants_i8x32(b32_type type, const uint8_t *w) {
    const uint8_t *qs = w + b32_quants_at(type);
    if (type == B32_q8_0)
        return _mm256_loadu_si256((const __m256i *)qs);
    const __m128i pairs_u8x16 = _mm_loadu_si128((const __m128i *)qs);
    const __m256i nibbles_u8x32 = _mm256_and_si256(
        _mm256_set_m128i(_mm_srli_epi16(pairs_u8x16, 4), pairs_u8x16), _mm256_set1_epi8(15));
    if (b32_table(type))
        return _mm256_shuffle_epi8(b32_table_i8x32(type, 0), nibbles_u8x32);
    if (!b32_has_fifth_bit(type))
        return nibbles_u8x32;
    const __m256i eighth_u8x32 =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_u8x32 = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i fifth_u8x32 = _mm256_shuffle_epi8(
        _mm256_set1_epi32((int)lk_load_u32(w + b32_fifth_at(type))), eighth_u8x32);
    const __m256i is_set_u8x32 =
        _mm256_cmpeq_epi8(_mm256_and_si256(fifth_u8x32, bit_u8x32), bit_u8x32);
    return _mm256_or_si256(nibbles_u8x32, _mm256_and_si256(is_set_u8x32, _mm256_set1_epi8(16)));
}

#endif
