/* f32_to_f16, f16_to_f32: 16 values per VCVTPS2PH or VCVTPH2PS; the tail is masked. */
#include "kernels.h"
#include "load_avx512.h"

#if LK_X86

LK_BEGIN_AVX512

void f32_to_f16_avx512(uint16_t *y, const float *x, int n) {
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        const __m512 value = lk_load_f32x16(x, i, lanes);
        _mm256_mask_storeu_epi16(y + i, lanes, _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
    }
}

void f16_to_f32_avx512(float *y, const uint16_t *x, int n) {
    for (int i = 0; i < n; i += 16) {
        const __mmask16 lanes = lk_lanes_16(n - i);
        _mm512_mask_storeu_ps(y + i, lanes, lk_load_f16x16(x, i, lanes));
    }
}

LK_END
#endif
