/* 16 weights, activations or cache values as floats; lanes beyond the mask are zero and not read.
 */
#ifndef LK_LOAD_AVX512_H
#define LK_LOAD_AVX512_H

#include <stddef.h>

#include "target.h"

#if LK_X86
#include <immintrin.h>

LK_BEGIN_AVX512

/* Elements i .. i + 15 of the row at p. */
typedef __m512 (*lk_load_f32x16_fn)(const void *p, int i, __mmask16 lanes);

LK_INLINE __m512 lk_load_f32x16(const void *p, int i, __mmask16 lanes) {
    return _mm512_maskz_loadu_ps(lanes, (const char *)p + 4 * (ptrdiff_t)i);
}

LK_INLINE __m512 lk_load_f16x16(const void *p, int i, __mmask16 lanes) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, (const char *)p + 2 * (ptrdiff_t)i));
}

LK_INLINE __m512 lk_load_bf16x16(const void *p, int i, __mmask16 lanes) {
    const __m256i half = _mm256_maskz_loadu_epi16(lanes, (const char *)p + 2 * (ptrdiff_t)i);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* The mask of what is left, 16 at most. */
LK_INLINE __mmask16 lk_lanes_16(int left) {
    return (__mmask16)(left >= 16 ? 0xffff : (1u << left) - 1);
}

LK_END
#endif
#endif
