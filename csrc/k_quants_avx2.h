/*
 * Unpacking K-quant super-blocks with AVX2 (blocks.h), shared by dot_b256 and unpack_b256. Included
 * inside a target region, after immintrin.h. lk_quants_TYPE: 256 unsigned quants in row order
 * (IQ4_XS: signed); lk_scales_...: scale bytes in row order. There are no byte shifts: 16-bit ones,
 * then a mask that drops what came from the neighbour. Loads stay inside the super-block.
 */
#ifndef LK_K_QUANTS_AVX2_H
#define LK_K_QUANTS_AVX2_H

LK_INLINE __m256i lk_load32(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

/* (x >> shift) & mask in each byte; a negative shift goes left. */
LK_INLINE __m256i lk_field(__m256i x, int shift, char mask) {
    __m256i moved = shift < 0 ? _mm256_slli_epi16(x, -shift) : _mm256_srli_epi16(x, shift);
    return _mm256_and_si256(moved, _mm256_set1_epi8(mask));
}

LK_INLINE void lk_quants_q2_K(__m256i q[8], const void *super_block) {
    const block_q2_K *w = (const block_q2_K *)super_block;
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        q[j] = lk_field(lk_load32(w->qs + 32 * (j / 4)), 2 * (j % 4), 3);
}

LK_INLINE void lk_quants_q3_K(__m256i q[8], const void *super_block) {
    const block_q3_K *w = (const block_q3_K *)super_block;
    __m256i high = lk_load32(w->hmask);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m256i low = lk_field(lk_load32(w->qs + 32 * (j / 4)), 2 * (j % 4), 3);
        q[j] = _mm256_or_si256(low, lk_field(high, j - 2, 1 << 2));
    }
}

LK_INLINE void lk_quants_q4_K(__m256i q[8], const void *super_block) {
    const block_q4_K *w = (const block_q4_K *)super_block;
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        q[j] = lk_field(lk_load32(w->qs + 32 * (j / 2)), 4 * (j % 2), 15);
}

LK_INLINE void lk_quants_q5_K(__m256i q[8], const void *super_block) {
    const block_q5_K *w = (const block_q5_K *)super_block;
    __m256i high = lk_load32(w->qh);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m256i low = lk_field(lk_load32(w->qs + 32 * (j / 2)), 4 * (j % 2), 15);
        q[j] = _mm256_or_si256(low, lk_field(high, j - 4, 1 << 4));
    }
}

LK_INLINE void lk_quants_q6_K(__m256i q[8], const void *super_block) {
    const block_q6_K *w = (const block_q6_K *)super_block;
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) { /* quarter j % 4 of half j / 4 */
        __m256i low = lk_load32(w->ql + 64 * (j / 4) + 32 * (j % 2));
        __m256i high = lk_load32(w->qh + 32 * (j / 4));
        q[j] = _mm256_or_si256(lk_field(low, 4 * (j % 4 / 2), 15),
                               lk_field(high, 2 * (j % 4) - 4, 0x30));
    }
}

/* Signed. */
LK_INLINE void lk_quants_iq4_xs(__m256i q[8], const void *super_block) {
    const block_iq4_xs *w = (const block_iq4_xs *)super_block;
    const __m256i table =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)lk_iq4_values));
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        const __m128i pairs = _mm_loadu_si128((const __m128i *)(w->qs + 16 * j));
        const __m256i halves = _mm256_set_m128i(_mm_srli_epi16(pairs, 4), pairs);
        q[j] = _mm256_shuffle_epi8(table, _mm256_and_si256(halves, _mm256_set1_epi8(15)));
    }
}

/* IQ4_XS: the eight scales, signed, in bytes 0..7. */
LK_INLINE __m128i lk_scales_signed_iq4_xs(const block_iq4_xs *w) {
    return _mm_sub_epi8(_mm_cvtsi64_si128((long long)lk_k_scales_iq4(w)), _mm_set1_epi8(32));
}

/* Q4_K and Q5_K: the eight scales in bytes 0..7, the eight minima in bytes 8..15. */
LK_INLINE __m128i lk_scales_min(const uint8_t scales[12]) {
    uint64_t sc, m;
    lk_k_scales_min(&sc, &m, scales);
    return _mm_set_epi64x((long long)m, (long long)sc);
}

/* Q3_K: the sixteen scales, signed. */
LK_INLINE __m128i lk_scales_signed_q3_K(const block_q3_K *w) {
    uint64_t sc[2];
    lk_k_scales_q3(sc, w->scales);
    __m128i biased = _mm_set_epi64x((long long)sc[1], (long long)sc[0]);
    return _mm_sub_epi8(biased, _mm_set1_epi8(32));
}

/* Q6_K: the sixteen scales, signed. */
LK_INLINE __m128i lk_scales_signed_q6_K(const block_q6_K *w) {
    return _mm_loadu_si128((const __m128i *)w->scales);
}

/* All lanes. */
LK_INLINE __m256 lk_half_to_f32x8(uint16_t half) {
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

/* d * bytes 0..7 */
LK_INLINE __m256 lk_times_u8(__m128i x_u8x16, __m256 d) {
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(x_u8x16)), d);
}

/* y[0] = d * bytes 0..7, y[1] = d * bytes 8..15. */
LK_INLINE void lk_scale_u8(__m256 y[2], __m128i x_u8x16, __m256 d) {
    y[0] = lk_times_u8(x_u8x16, d);
    y[1] = lk_times_u8(_mm_unpackhi_epi64(x_u8x16, x_u8x16), d);
}

LK_INLINE void lk_scale_i8(__m256 y[2], __m128i x_i8x16, __m256 d) {
    __m128i high = _mm_unpackhi_epi64(x_i8x16, x_i8x16);
    y[0] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x_i8x16)), d);
    y[1] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)), d);
}

#endif
