/*
 * dot_q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4 for NEON, included by a file per level that has defined
 *     LEVEL(name)                  name_<level>
 *     int32x4_t dot16(acc, w, a)   acc + 16 products of int8, summed in fours in any order
 *
 *     y = sum over blocks of  d_w d_a sum((q - zero) a) + m_w s32
 *
 * |sum| <= 32 * 128 * 127 < 2^20. Four blocks a step: their sums meet in the lanes of one vector,
 * so that scales are handled four at a time; up to four columns share the unpacked weights. The
 * last k / 32 % 4 blocks run the same step, reading only the blocks there are.
 */
#include "dot_walk.h"

#define B32_STEP 4
#define B32_COLS 4

/* d of n <= 4 blocks; finite beyond n. */
LK_INLINE float32x4_t b32_scales(b32_type type, const uint8_t *w, const int n) {
    if (type != B32_mxfp4)
        return neon_halves(w, b32_bytes(type), n);
    uint32_t e[B32_STEP] = {0};
    for (int i = 0; i < n; i++)
        e[i] = w[i * b32_bytes(type)];
    return b32_half_e8m0(e);
}

/* Where the halves of the i-th of four groups of activations lie. */
LK_INLINE int b32_lo_at(b32_type type, int i) {
    return lk_act_place(b32_act_order(type), LK_QK32 * i);
}
LK_INLINE int b32_hi_at(b32_type type, int i) {
    return lk_act_place(b32_act_order(type), LK_QK32 * i + 16);
}

/* n <= 4 blocks from block b on: unpacked, and for each column its share of the sum added. */
LK_INLINE void b32_step(b32_type type, float32x4_t acc_f32x4[B32_COLS], const uint8_t *w,
                        const char *x, size_t x_stride, int b, const int n, const int cols) {
    const size_t bytes = b32_bytes(type);
    int8x16_t lo_s8x16[B32_STEP], hi_s8x16[B32_STEP];
    w += b * bytes;
    x += (size_t)(b / 8) * sizeof(lk_act_block);
    LK_UNROLL
    for (int i = 0; i < n; i++) {
        const b32_codes q = b32_unpack(type, w + i * bytes);
        lo_s8x16[i] = q.lo;
        hi_s8x16[i] = q.hi;
    }
    const float32x4_t d_f32x4 = b32_scales(type, w, n);
    const float32x4_t m_f32x4 = b32_has_min(type) ? neon_halves(w + 2, bytes, n) : d_f32x4;
    LK_UNROLL
    for (int c = 0; c < cols; c++) {
        const lk_act_block *column = (const lk_act_block *)(const void *)(x + c * x_stride);
        const int group = b % 8;
        const int8_t *a = column->q + LK_QK32 * group;
        int32x4_t sums[B32_STEP];
        LK_UNROLL
        for (int i = 0; i < B32_STEP; i++)
            sums[i] = vdupq_n_s32(0);
        LK_UNROLL
        for (int i = 0; i < n; i++) {
            sums[i] = dot16(sums[i], lo_s8x16[i], vld1q_s8(a + b32_lo_at(type, i)));
            sums[i] = dot16(sums[i], hi_s8x16[i], vld1q_s8(a + b32_hi_at(type, i)));
        }
        const float32x4_t sum_f32x4 = vcvtq_f32_s32(neon_sums(sums));
        const float32x4_t scale_f32x4 = vmulq_f32(d_f32x4, vld1q_f32(column->d + group));
        acc_f32x4[c] = vfmaq_f32(acc_f32x4[c], sum_f32x4, scale_f32x4);
        if (b32_has_min(type))
            acc_f32x4[c] = vfmaq_f32(acc_f32x4[c], m_f32x4, vld1q_f32(column->s32 + group));
    }
}

LK_INLINE void b32_row(b32_type type, const lk_dot *d, const uint8_t *w, float *y, const char *x,
                       const int cols) {
    const int blocks = d->k / LK_QK32, whole = blocks - blocks % B32_STEP;
    float32x4_t acc_f32x4[B32_COLS];
    LK_UNROLL
    for (int c = 0; c < cols; c++)
        acc_f32x4[c] = vdupq_n_f32(0.0f);
    for (int b = 0; b < whole; b += B32_STEP)
        b32_step(type, acc_f32x4, w, x, d->x_stride, b, B32_STEP, cols);
    if (blocks - whole == 1)
        b32_step(type, acc_f32x4, w, x, d->x_stride, whole, 1, cols);
    else if (blocks - whole == 2)
        b32_step(type, acc_f32x4, w, x, d->x_stride, whole, 2, cols);
    else if (blocks - whole == 3)
        b32_step(type, acc_f32x4, w, x, d->x_stride, whole, 3, cols);
    LK_UNROLL
    for (int c = 0; c < cols; c++)
        y[c * d->y_stride] = vaddvq_f32(acc_f32x4[c]);
}

#define DOT(type)                                                                                  \
    LK_INLINE void tile_##type(const void *context, const lk_dot *d, const uint8_t *const w[2],    \
                               float *const y[2], const char *x, int rows, int cols) {             \
        (void)context;                                                                             \
        for (int r = 0; r < rows; r++)                                                             \
            b32_row(B32_##type, d, w[r], y[r], x, cols);                                           \
    }                                                                                              \
    void LEVEL(dot_##type)(const lk_dot *dot) {                                                    \
        lk_dot_walk(tile_##type, NULL, dot, B32_COLS, 0);                                          \
    }
B32_TYPES(DOT)
