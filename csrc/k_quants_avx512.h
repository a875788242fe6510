/*
 * Unpacking K-quant super-blocks with AVX-512 (blocks.h), shared by dot_b256 and unpack_b256.
 * Included inside a target region, after immintrin.h. lk_quants_TYPE: 256 unsigned quants in row
 * order; lk_scales_...: the scale bytes in row order. A 32-byte run holds several bit planes: it is
 * broadcast to both halves of a vector and each half is shifted by its own count, which leaves 64
 * elements in order. Loads stay inside the super-block.
 */
#ifndef LK_K_QUANTS_AVX512_H
#define LK_K_QUANTS_AVX512_H

/* 32 bytes in both halves. */
LK_INLINE __m512i lk_load_twice(const uint8_t *p) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
}

/* Shift counts for the low and the high half. */
LK_INLINE __m512i lk_by(int low, int high) {
    return _mm512_setr_epi64(low, low, low, low, high, high, high, high);
}

LK_INLINE __m512i lk_and_bytes(__m512i x, char mask) {
    return _mm512_and_si512(x, _mm512_set1_epi8(mask));
}

/* a | (b & mask) */
LK_INLINE __m512i lk_or_masked(__m512i a, __m512i b, char mask) {
    return _mm512_ternarylogic_epi64(a, b, _mm512_set1_epi8(mask), 0xf8);
}

/* Bit 2 j of each byte in the low half and 2 j + 1 in the high half, moved to bit `to`; other bits
 * are noise. A rotation may carry between bytes, but not into that bit. */
LK_INLINE __m512i lk_plane_to_bit(__m512i planes, int j, int to) {
    return _mm512_rorv_epi64(planes, lk_by((2 * j + 64 - to) % 64, (2 * j + 65 - to) % 64));
}

LK_INLINE void lk_quants_q2_K(__m512i q[4], const void *super_block) {
    const block_q2_K *w = (const block_q2_K *)super_block;
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m512i bits = lk_load_twice(w->qs + 32 * h);
        q[2 * h] = lk_and_bytes(_mm512_srlv_epi64(bits, lk_by(0, 2)), 3);
        q[2 * h + 1] = lk_and_bytes(_mm512_srlv_epi64(bits, lk_by(4, 6)), 3);
    }
}

LK_INLINE void lk_quants_q3_K(__m512i q[4], const void *super_block) {
    const block_q3_K *w = (const block_q3_K *)super_block;
    __m512i high = lk_load_twice(w->hmask);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i bits = lk_load_twice(w->qs + 32 * (j / 2));
        __m512i low = lk_and_bytes(_mm512_srlv_epi64(bits, lk_by(j % 2 * 4, j % 2 * 4 + 2)), 3);
        q[j] = lk_or_masked(low, lk_plane_to_bit(high, j, 2), 1 << 2);
    }
}

LK_INLINE __m512i lk_nibbles64(const uint8_t *p) {
    return lk_and_bytes(_mm512_srlv_epi64(lk_load_twice(p), lk_by(0, 4)), 15);
}

LK_INLINE void lk_quants_q4_K(__m512i q[4], const void *super_block) {
    const block_q4_K *w = (const block_q4_K *)super_block;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        q[j] = lk_nibbles64(w->qs + 32 * j);
}

LK_INLINE void lk_quants_q5_K(__m512i q[4], const void *super_block) {
    const block_q5_K *w = (const block_q5_K *)super_block;
    __m512i high = lk_load_twice(w->qh);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        q[j] = lk_or_masked(lk_nibbles64(w->qs + 32 * j), lk_plane_to_bit(high, j, 4), 1 << 4);
}

LK_INLINE void lk_quants_q6_K(__m512i q[4], const void *super_block) {
    const block_q6_K *w = (const block_q6_K *)super_block;
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m512i low = _mm512_loadu_si512(w->ql + 64 * h), high = lk_load_twice(w->qh + 32 * h);
        __m512i top = _mm512_sllv_epi64(high, lk_by(4, 2));
        q[2 * h] = lk_or_masked(lk_and_bytes(low, 15), top, 0x30);
        top = _mm512_srlv_epi64(high, lk_by(0, 2));
        q[2 * h + 1] = lk_or_masked(lk_and_bytes(_mm512_srli_epi64(low, 4), 15), top, 0x30);
    }
}

/* Plus 128. Sixteen bytes are 32 elements: low nibbles, then high ones. */
LK_INLINE void lk_quants_iq4_xs(__m512i q[4], const void *super_block) {
    const block_iq4_xs *w = (const block_iq4_xs *)super_block;
    const __m512i table =
        _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)lk_iq4_values)),
                         _mm512_set1_epi8((char)LK_ZERO_IQ4_XS));
    const __m512i twice = _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3);
    const __m512i shift = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const __m512i pairs =
            _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(w->qs + 32 * j)));
        const __m512i moved = _mm512_srlv_epi64(_mm512_permutexvar_epi64(twice, pairs), shift);
        q[j] = _mm512_shuffle_epi8(table, lk_and_bytes(moved, 15));
    }
}

/* IQ4_XS: the eight scales, signed, twice. */
LK_INLINE __m128i lk_scales_signed_iq4_xs(const block_iq4_xs *w) {
    return _mm_sub_epi8(_mm_set1_epi64x((long long)lk_k_scales_iq4(w)), _mm_set1_epi8(32));
}

/* Q4_K and Q5_K: the eight scales in bytes 0..7, the eight minima in bytes 8..15. */
LK_INLINE __m128i lk_scales_min(const void *super_block) {
    const __m128i twice = _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i low_at =
        _mm_setr_epi8(0, 8, 16, 24, 32, 40, 48, 56, 0, 8, 16, 24, 36, 44, 52, 60);
    const __m128i top_at = _mm_setr_epi8(0, 0, 0, 0, 2, 10, 18, 26, 0, 0, 0, 0, 2, 10, 18, 26);
    const __m128i low_mask = _mm_set1_epi64x(0x0f0f0f0f3f3f3f3f);
    const __m128i top_mask = _mm_set1_epi64x(0x3030303000000000);
    __m128i s = _mm_loadu_si128((const __m128i *)super_block); /* d, dmin, 12 bytes of scales */
    s = _mm_shuffle_epi8(s, twice);
    __m128i low = _mm_and_si128(_mm_multishift_epi64_epi8(low_at, s), low_mask);
    return _mm_ternarylogic_epi64(low, _mm_multishift_epi64_epi8(top_at, s), top_mask, 0xf8);
}

/* Q3_K: the sixteen scales, signed. */
LK_INLINE __m128i lk_scales_signed_q3_K(const void *super_block) {
    const __m128i low_at = _mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9);
    const __m128i top_at =
        _mm_setr_epi8(10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13);
    /* The last 16 bytes: two of qs, the 12 of scales, d. */
    const uint8_t *end = (const uint8_t *)super_block + sizeof(block_q3_K);
    __m128i tail = _mm_loadu_si128((const __m128i *)(end - 16));
    __m128i low = _mm_srlv_epi64(_mm_shuffle_epi8(tail, low_at), _mm_set_epi64x(4, 0));
    __m128i top = _mm_rorv_epi32(_mm_shuffle_epi8(tail, top_at), _mm_setr_epi32(28, 30, 0, 2));
    low = _mm_and_si128(low, _mm_set1_epi8(15));
    low = _mm_ternarylogic_epi64(low, top, _mm_set1_epi8(0x30), 0xf8);
    return _mm_sub_epi8(low, _mm_set1_epi8(32));
}

/* Q6_K: the sixteen scales, signed. */
LK_INLINE __m128i lk_scales_signed_q6_K(const void *super_block) {
    const block_q6_K *w = (const block_q6_K *)super_block;
    return _mm_loadu_si128((const __m128i *)w->scales);
}

/* d in float 0, dmin in float 1, from where the two halves lie side by side. */
LK_INLINE __m128 lk_d_dmin(const void *halves) {
    return _mm_cvtph_ps(_mm_loadu_si32(halves));
}

/* All lanes. */
LK_INLINE __m512 lk_half_to_f32x16(uint16_t half) {
    return _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

LK_INLINE __m512 lk_u8_to_f32(__m128i x_u8x16) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(x_u8x16));
}

LK_INLINE __m512 lk_i8_to_f32(__m128i x_i8x16) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x_i8x16));
}

#endif
