/* f32_to_f16, f16_to_f32: 8 values per VCVTPS2PH or VCVTPH2PS; the tail goes one by one. */
#include "kernels.h"
#include "load_avx2.h"

#if LK_X86

LK_BEGIN_AVX2

void f32_to_f16_avx2(uint16_t *y, const float *x, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 value = _mm256_loadu_ps(x + i);
        _mm_storeu_si128((__m128i *)(y + i), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
    }
    for (; i < n; i++)
        y[i] = lk_f32_to_f16(x[i]);
}

void f16_to_f32_avx2(float *y, const uint16_t *x, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, lk_load_f16x8(x, i, 8));
    for (; i < n; i++)
        y[i] = lk_f16_to_f32(x[i]);
}

LK_END
#endif
