/* f32_to_f16, f16_to_f32: half.h says how. */
#include "half.h"
#include "kernels.h"

void f32_to_f16_scalar(uint16_t *y, const float *x, int n) {
    for (int i = 0; i < n; i++)
        y[i] = lk_f32_to_f16(x[i]);
}

void f16_to_f32_scalar(float *y, const uint16_t *x, int n) {
    for (int i = 0; i < n; i++)
        y[i] = lk_f16_to_f32(x[i]);
}
