/*
 * f32_to_f16, f16_to_f32: FCVTN and FCVTL, baseline AArch64, with the rounding and the NaNs of
 * half.h (to nearest even, payload kept, made quiet). Tail: value by value.
 */
#include "../kernels.h"

#if LK_ARM
#include "../neon.h"

void f32_to_f16_neon(uint16_t *y, const float *x, int n) {
    int i = 0;
    for (; i + 4 <= n; i += 4)
        vst1_u16(y + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    for (; i < n; i++)
        y[i] = lk_f32_to_f16(x[i]);
}

void f16_to_f32_neon(float *y, const uint16_t *x, int n) {
    int i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(y + i, neon_load_f16(x + i));
    for (; i < n; i++)
        y[i] = lk_f16_to_f32(x[i]);
}
#endif
