/* row_f32, row_f16, row_bf16: y[i] = weight i, exactly. */
#include "half.h"
#include "kernels.h"

void row_f32_scalar(float *y, const void *w, int k) {
    for (int i = 0; i < k; i++)
        y[i] = lk_load_f32((const char *)w + 4 * i);
}

void row_f16_scalar(float *y, const void *w, int k) {
    for (int i = 0; i < k; i++)
        y[i] = lk_f16_to_f32(lk_load_u16((const char *)w + 2 * i));
}

void row_bf16_scalar(float *y, const void *w, int k) {
    for (int i = 0; i < k; i++)
        y[i] = lk_bf16_to_f32(lk_load_u16((const char *)w + 2 * i));
}
