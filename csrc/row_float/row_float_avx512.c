/* row_f32, row_f16, row_bf16: y[i] = weight i, exactly; 16 a step, the tail is masked. */
#include "kernels.h"
#include "load_avx512.h"

#if LK_X86

LK_BEGIN_AVX512

LK_INLINE void row(float *y, const void *w, int k, lk_load_f32x16_fn load) {
    for (int i = 0; i < k; i += 16) {
        const __mmask16 lanes = lk_lanes_16(k - i);
        _mm512_mask_storeu_ps(y + i, lanes, load(w, i, lanes));
    }
}

void row_f32_avx512(float *y, const void *w, int k) {
    row(y, w, k, lk_load_f32x16);
}
void row_f16_avx512(float *y, const void *w, int k) {
    row(y, w, k, lk_load_f16x16);
}
void row_bf16_avx512(float *y, const void *w, int k) {
    row(y, w, k, lk_load_bf16x16);
}

LK_END
#endif
