/*
 * row_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4: y = d (q - zero) + m in float32, k a multiple of 32.
 * Rows are read one per token (embeddings), so the scalar is all there is.
 */
#include "b32.h"

LK_INLINE void decode_row(b32_type type, float *y, const uint8_t *w, int k) {
    for (int b = 0; b < k / LK_QK32; b++) {
        b32_values v;
        b32_decode(&v, type, w + b * b32_bytes(type));
        for (int j = 0; j < LK_QK32; j++)
            y[LK_QK32 * b + j] = v.d * (float)(v.q[j] - b32_zero(type)) + v.m;
    }
}

#define ROW(type)                                                                                  \
    void row_##type##_scalar(float *y, const void *w, int k) {                                     \
        decode_row(B32_##type, y, w, k);                                                           \
    }
B32_TYPES(ROW)
