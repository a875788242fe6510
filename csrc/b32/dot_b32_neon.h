/*
 * dot_q4_0 q4_1 q5_0 q5_1 q8_0 for NEON, included by a file per level that has defined
 *     LEVEL(name)                  name_<level>
 *     int32x4_t dot16(acc, w, a)   acc + 16 products of int8, summed in fours in any order
 *
 *     y = sum over blocks of  d_w d_a sum((q - zero) a) + m_w s32
 *
 * |sum| <= 32 * 128 * 127 < 2^20. Four blocks a step: their sums meet in the lanes of one vector,
 * so that scales are handled four at a time; up to four columns share the unpacked weights. The
 * last k / 32 % 4 blocks run the same step with zeros in the lanes they lack.
 */
#define B32_STEP 4
#define B32_COLS 4

/* (q - zero) as signed bytes. */
LK_INLINE int8x16_t b32_signed(b32_type type, uint8x16_t q) {
    if (b32_has_min(type))
        return vreinterpretq_s8_u8(q);
    return vreinterpretq_s8_u8(vsubq_u8(q, vdupq_n_u8((uint8_t)b32_zero(type))));
}

/* n <= 4 blocks: unpacked, and for each column its share of the sum added to acc. */
LK_INLINE void b32_step(b32_type type, const uint8_t *w, const char *x, size_t x_stride, int k,
                        int b, const int n, const int cols, float32x4_t acc_f32x4[B32_COLS]) {
    const size_t bytes = b32_bytes(type);
    int8x16_t lo_s8x16[B32_STEP], hi_s8x16[B32_STEP];
    LK_UNROLL
    for (int i = 0; i < n; i++) {
        const b32_codes q = b32_unpack(type, w + i * bytes);
        lo_s8x16[i] = b32_signed(type, q.lo);
        hi_s8x16[i] = b32_signed(type, q.hi);
    }
    const float32x4_t d_f32x4 = neon_halves(w, bytes, n);
    const float32x4_t m_f32x4 = b32_has_min(type) ? neon_halves(w + 2, bytes, n) : d_f32x4;
    LK_UNROLL
    for (int c = 0; c < cols; c++) {
        const char *column = x + c * x_stride;
        const int8_t *a = lk_act_q(column) + LK_QK32 * b;
        int32x4_t sums[B32_STEP];
        LK_UNROLL
        for (int i = 0; i < B32_STEP; i++)
            sums[i] = vdupq_n_s32(0);
        LK_UNROLL
        for (int i = 0; i < n; i++) {
            sums[i] = dot16(sums[i], lo_s8x16[i], vld1q_s8(a + LK_QK32 * i));
            sums[i] = dot16(sums[i], hi_s8x16[i], vld1q_s8(a + LK_QK32 * i + 16));
        }
        const float32x4_t sum_f32x4 = vcvtq_f32_s32(neon_sums(sums));
        const float32x4_t scale_f32x4 = vmulq_f32(d_f32x4, neon_floats(lk_act_d(column, k) + b, n));
        acc_f32x4[c] = vfmaq_f32(acc_f32x4[c], sum_f32x4, scale_f32x4);
        if (b32_has_min(type))
            acc_f32x4[c] =
                vfmaq_f32(acc_f32x4[c], m_f32x4, neon_floats(lk_act_s32(column, k) + b, n));
    }
}

LK_INLINE void b32_dot_rows(b32_type type, float *y, ptrdiff_t y_stride, const uint8_t *w,
                            size_t w_stride, const char *x, size_t x_stride, int k, int rows,
                            const int cols) {
    const size_t bytes = b32_bytes(type);
    const int blocks = k / LK_QK32, whole = blocks - blocks % B32_STEP;
    for (int r = 0; r < rows; r++, w += w_stride) {
        float32x4_t acc_f32x4[B32_COLS];
        LK_UNROLL
        for (int c = 0; c < cols; c++)
            acc_f32x4[c] = vdupq_n_f32(0.0f);
        for (int b = 0; b < whole; b += B32_STEP)
            b32_step(type, w + b * bytes, x, x_stride, k, b, B32_STEP, cols, acc_f32x4);
        const uint8_t *last = w + whole * bytes;
        if (blocks - whole == 1)
            b32_step(type, last, x, x_stride, k, whole, 1, cols, acc_f32x4);
        else if (blocks - whole == 2)
            b32_step(type, last, x, x_stride, k, whole, 2, cols, acc_f32x4);
        else if (blocks - whole == 3)
            b32_step(type, last, x, x_stride, k, whole, 3, cols, acc_f32x4);
        LK_UNROLL
        for (int c = 0; c < cols; c++)
            y[c * y_stride + r] = vaddvq_f32(acc_f32x4[c]);
    }
}

LK_INLINE void b32_dot(b32_type type, float *y, ptrdiff_t y_stride, const uint8_t *w,
                       size_t w_stride, const char *x, size_t x_stride, int k, int rows, int cols) {
    for (; cols >= B32_COLS; cols -= B32_COLS) {
        b32_dot_rows(type, y, y_stride, w, w_stride, x, x_stride, k, rows, B32_COLS);
        y += B32_COLS * y_stride;
        x += B32_COLS * x_stride;
    }
    for (; cols >= 2; cols -= 2) {
        b32_dot_rows(type, y, y_stride, w, w_stride, x, x_stride, k, rows, 2);
        y += 2 * y_stride;
        x += 2 * x_stride;
    }
    if (cols)
        b32_dot_rows(type, y, y_stride, w, w_stride, x, x_stride, k, rows, 1);
}

#define DOT(type)                                                                                  \
    void LEVEL(dot_##type)(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,           \
                           const void *x, size_t x_stride, int k, int rows, int cols) {            \
        b32_dot(B32_##type, y, y_stride, w, w_stride, x, x_stride, k, rows, cols);                 \
    }
B32_TYPES(DOT)
