/*
 * dot_q2_K q3_K q4_K q5_K q6_K for NEON, included by a file per level that has defined
 *     LEVEL(name)                  name_<level>
 *     int32x4_t dot16(acc, w, a)   acc + 16 products of int8, summed in fours in any order
 *
 *     y = sum over super-blocks of  d sum(d_a sc sum((q - zero) a)) - dmin sum(m s)
 *
 * Four groups a step: their sums meet in the lanes of one vector and are multiplied by sc there,
 * exactly: |sc sum| <= 63 * 32 * 31 * 127 (Q5_K), and for a pair of groups of 16, which share d_a,
 * 2 * 128 * 16 * 32 * 127 (Q6_K), both below 2^24. k is whole super-blocks: no tail.
 */
#define K_COLS 4

typedef struct {
    int8x16_t q[16];
    int32x4_t scale[4]; /* two vectors when groups are 32 long */
    float32x4_t min[4];
    float d, dmin;
} k_block;

LK_INLINE void k_load(k_type type, k_block *b, const uint8_t *w) {
    uint8x16_t q[16];
    k_codes(type, q, w);
    LK_UNROLL
    for (int i = 0; i < 16; i++)
        b->q[i] = vreinterpretq_s8_u8(
            k_zero(type) ? vsubq_u8(q[i], vdupq_n_u8((uint8_t)k_zero(type))) : q[i]);
    const k_scales s = k_scales_of(type, w);
    b->d = s.d;
    k_widen(b->scale, s.scale);
    if (!k_has_min(type))
        return;
    int32x4_t min_s32x4[4];
    b->dmin = s.dmin;
    k_widen(min_s32x4, s.min);
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        b->min[i] = vcvtq_f32_s32(min_s32x4[i]);
}

/* sc times the sum of the products of each of four groups, h being the four's number. */
LK_INLINE int32x4_t k_four_groups(k_type type, const k_block *b, const int8_t *a, const int h) {
    const int vectors = k_group(type) / 16; /* of a group */
    int32x4_t sums[4];
    LK_UNROLL
    for (int g = 0; g < 4; g++) {
        const int first = (4 * h + g) * vectors;
        sums[g] = dot16(vdupq_n_s32(0), b->q[first], vld1q_s8(a + 16 * first));
        if (vectors == 2)
            sums[g] = dot16(sums[g], b->q[first + 1], vld1q_s8(a + 16 * first + 16));
    }
    return vmulq_s32(neon_sums(sums), b->scale[h]);
}

/* acc + the super-block's share; `e` is its first element. */
LK_INLINE float32x4_t k_multiply(k_type type, float32x4_t acc_f32x4, const k_block *b,
                                 const void *x, int k, int e) {
    const int8_t *a = lk_act_q(x) + e;
    const float *d_a = lk_act_d(x, k) + e / 32;
    const int groups = LK_QK256 / k_group(type);
    float32x4_t sum_f32x4 = vdupq_n_f32(0.0f);
    LK_UNROLL
    for (int h = 0; h < 2; h++) { /* 128 elements, four scales of x */
        const int32x4_t scaled = k_group(type) == 32
                                     ? k_four_groups(type, b, a, h)
                                     : vpaddq_s32(k_four_groups(type, b, a, 2 * h),
                                                  k_four_groups(type, b, a, 2 * h + 1));
        sum_f32x4 = vfmaq_f32(sum_f32x4, vcvtq_f32_s32(scaled), vld1q_f32(d_a + 4 * h));
    }
    acc_f32x4 = vfmaq_n_f32(acc_f32x4, sum_f32x4, b->d);
    if (!k_has_min(type))
        return acc_f32x4;
    const float *s = groups == 8 ? lk_act_s32(x, k) + e / 32 : lk_act_s16(x, k) + e / 16;
    float32x4_t min_f32x4 = vmulq_f32(b->min[0], vld1q_f32(s));
    LK_UNROLL
    for (int i = 1; i < groups / 4; i++)
        min_f32x4 = vfmaq_f32(min_f32x4, b->min[i], vld1q_f32(s + 4 * i));
    return vfmsq_n_f32(acc_f32x4, min_f32x4, b->dmin);
}

LK_INLINE void k_dot_rows(k_type type, float *y, ptrdiff_t y_stride, const uint8_t *w,
                          size_t w_stride, const char *x, size_t x_stride, int k, int rows,
                          const int cols) {
    for (int r = 0; r < rows; r++) {
        float32x4_t acc_f32x4[K_COLS];
        for (int c = 0; c < cols; c++)
            acc_f32x4[c] = vdupq_n_f32(0.0f);
        const uint8_t *block = w + r * w_stride;
        for (int e = 0; e < k; e += LK_QK256, block += k_bytes(type)) {
            k_block b;
            k_load(type, &b, block);
            for (int c = 0; c < cols; c++)
                acc_f32x4[c] = k_multiply(type, acc_f32x4[c], &b, x + c * x_stride, k, e);
        }
        for (int c = 0; c < cols; c++)
            y[c * y_stride + r] = vaddvq_f32(acc_f32x4[c]);
    }
}

LK_INLINE void k_dot(k_type type, float *y, ptrdiff_t y_stride, const uint8_t *w, size_t w_stride,
                     const char *x, size_t x_stride, int k, int rows, int cols) {
    for (; cols > 1; cols -= K_COLS) {
        const int n = cols < K_COLS ? cols : K_COLS;
        k_dot_rows(type, y, y_stride, w, w_stride, x, x_stride, k, rows, n);
        y += n * y_stride;
        x += n * x_stride;
    }
    if (cols == 1)
        k_dot_rows(type, y, y_stride, w, w_stride, x, x_stride, k, rows, 1);
}

#define DOT(type)                                                                                  \
    void LEVEL(dot_##type)(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,           \
                           const void *x, size_t x_stride, int k, int rows, int cols) {            \
        k_dot(K_##type, y, y_stride, w, w_stride, x, x_stride, k, rows, cols);                     \
    }
K_TYPES(DOT)
