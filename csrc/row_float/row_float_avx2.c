/* row_f32, row_f16, row_bf16: y[i] = weight i, exactly; 8 a step, the tail is a partial step. */
#include "kernels.h"
#include "load_avx2.h"

#if LK_X86

LK_BEGIN_AVX2

LK_INLINE void row(float *y, const void *w, int k, lk_load_f32x8_fn load) {
    int i = 0;
    for (; i + 8 <= k; i += 8)
        _mm256_storeu_ps(y + i, load(w, i, 8));
    if (i < k)
        lk_store_f32x8(y + i, k - i, load(w, i, k - i));
}

void row_f32_avx2(float *y, const void *w, int k) {
    row(y, w, k, lk_load_f32x8);
}
void row_f16_avx2(float *y, const void *w, int k) {
    row(y, w, k, lk_load_f16x8);
}
void row_bf16_avx2(float *y, const void *w, int k) {
    row(y, w, k, lk_load_bf16x8);
}

LK_END
#endif
