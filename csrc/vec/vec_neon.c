/*
 * rmsnorm: y_i = w_i x_i / sqrt(mean(x^2) + eps), the sum of squares in double
 * rope_adjacent, rope_half: (a, b) -> (a cos - b sin, a sin + b cos), LD2 to part pairs
 * swiglu: y = g / (1 + exp(-g)) * up;  max: FMAX, which keeps NaN;  sum_exp: in double
 * layernorm: y_i = w_i (x_i - mean) / sqrt(var + eps) + b_i in double; geglu: x / (1 + exp(-2 u))
 * up; gelu_erf by the tail of normal_tail.h, whose t^2 has its rounding error beside it. Four
 * values a step; tails value by value with the same operations.
 */
#include <math.h>

#include "../kernels.h"

#if LK_ARM
#include "../neon.h"
#include "../normal_tail.h"

void rmsnorm_neon(float *y, const float *x, const float *w, int n, float eps) {
    float64x2_t lo_f64x2 = vdupq_n_f64(0.0), hi_f64x2 = vdupq_n_f64(0.0);
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t v_f32x4 = vld1q_f32(x + i);
        const float64x2_t lo = vcvt_f64_f32(vget_low_f32(v_f32x4)), hi = vcvt_high_f64_f32(v_f32x4);
        lo_f64x2 = vfmaq_f64(lo_f64x2, lo, lo);
        hi_f64x2 = vfmaq_f64(hi_f64x2, hi, hi);
    }
    double squares = vaddvq_f64(vaddq_f64(lo_f64x2, hi_f64x2));
    for (; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    const float scale = (float)(1.0 / sqrt(squares / n + (double)eps));
    for (i = 0; i + 4 <= n; i += 4) {
        const float32x4_t v_f32x4 = vmulq_n_f32(vld1q_f32(x + i), scale);
        vst1q_f32(y + i, w ? vmulq_f32(v_f32x4, vld1q_f32(w + i)) : v_f32x4);
    }
    for (; i < n; i++)
        y[i] = w ? x[i] * scale * w[i] : x[i] * scale;
}

void layernorm_neon(float *y, const float *x, const float *w, const float *b, int n, float eps) {
    float64x2_t lo_f64x2 = vdupq_n_f64(0.0), hi_f64x2 = vdupq_n_f64(0.0);
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t v_f32x4 = vld1q_f32(x + i);
        lo_f64x2 = vaddq_f64(lo_f64x2, vcvt_f64_f32(vget_low_f32(v_f32x4)));
        hi_f64x2 = vaddq_f64(hi_f64x2, vcvt_high_f64_f32(v_f32x4));
    }
    double sum = vaddvq_f64(vaddq_f64(lo_f64x2, hi_f64x2));
    for (; i < n; i++)
        sum += (double)x[i];
    const double mean = sum / n;
    const float64x2_t mean_f64x2 = vdupq_n_f64(mean);
    lo_f64x2 = hi_f64x2 = vdupq_n_f64(0.0);
    for (i = 0; i + 4 <= n; i += 4) {
        const float32x4_t v_f32x4 = vld1q_f32(x + i);
        const float64x2_t lo = vsubq_f64(vcvt_f64_f32(vget_low_f32(v_f32x4)), mean_f64x2);
        const float64x2_t hi = vsubq_f64(vcvt_high_f64_f32(v_f32x4), mean_f64x2);
        lo_f64x2 = vfmaq_f64(lo_f64x2, lo, lo);
        hi_f64x2 = vfmaq_f64(hi_f64x2, hi, hi);
    }
    double squares = vaddvq_f64(vaddq_f64(lo_f64x2, hi_f64x2));
    for (; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    const double scale = 1.0 / sqrt(squares / n + (double)eps);
    for (i = 0; i + 4 <= n; i += 4) {
        const float32x4_t v_f32x4 = vld1q_f32(x + i);
        const float64x2_t lo = vsubq_f64(vcvt_f64_f32(vget_low_f32(v_f32x4)), mean_f64x2);
        const float64x2_t hi = vsubq_f64(vcvt_high_f64_f32(v_f32x4), mean_f64x2);
        const float32x4_t normal =
            vcvt_high_f32_f64(vcvt_f32_f64(vmulq_n_f64(lo, scale)), vmulq_n_f64(hi, scale));
        const float32x4_t y_f32x4 = vmulq_f32(normal, vld1q_f32(w + i));
        vst1q_f32(y + i, b ? vaddq_f32(y_f32x4, vld1q_f32(b + i)) : y_f32x4);
    }
    for (; i < n; i++)
        y[i] = (float)(((double)x[i] - mean) * scale) * w[i] + (b ? b[i] : 0.0f);
}

typedef struct {
    float32x4_t a, b;
} pairs;

LK_INLINE pairs rotate(float32x4_t a, float32x4_t b, const float *cs) {
    const float32x4x2_t turn = vld2q_f32(cs);
    const float32x4_t cosine = turn.val[0], sine = turn.val[1];
    return (pairs){vfmsq_f32(vmulq_f32(a, cosine), b, sine),
                   vfmaq_f32(vmulq_f32(b, cosine), a, sine)};
}

LK_INLINE void rotate_one(float *a, float *b, const float *cs) {
    const float a0 = *a, b0 = *b;
    *a = a0 * cs[0] - b0 * cs[1];
    *b = a0 * cs[1] + b0 * cs[0];
}

void rope_adjacent_neon(float *x, const float *cs, int n_rot) {
    int i = 0;
    for (; i + 8 <= n_rot; i += 8) {
        const float32x4x2_t v = vld2q_f32(x + i);
        const pairs turned = rotate(v.val[0], v.val[1], cs + i);
        vst2q_f32(x + i, ((float32x4x2_t){{turned.a, turned.b}}));
    }
    for (; i < n_rot; i += 2)
        rotate_one(x + i, x + i + 1, cs + i);
}

void rope_half_neon(float *x, const float *cs, int n_rot) {
    const int half = n_rot / 2;
    int i = 0;
    for (; i + 4 <= half; i += 4) {
        const pairs turned = rotate(vld1q_f32(x + i), vld1q_f32(x + half + i), cs + 2 * i);
        vst1q_f32(x + i, turned.a);
        vst1q_f32(x + half + i, turned.b);
    }
    for (; i < half; i++)
        rotate_one(x + i, x + half + i, cs + 2 * i);
}

void swiglu_neon(float *y, const float *gate, const float *up, int n) {
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t g = vld1q_f32(gate + i);
        const float32x4_t silu = vdivq_f32(g, vaddq_f32(vdupq_n_f32(1.0f), neon_exp(vnegq_f32(g))));
        vst1q_f32(y + i, vmulq_f32(silu, vld1q_f32(up + i)));
    }
    for (; i < n; i++)
        y[i] = gate[i] / (1.0f + neon_exp_one(-gate[i])) * up[i];
}

LK_INLINE float32x4_t gelu(float32x4_t g) {
    const float32x4_t inner =
        vfmaq_n_f32(vdupq_n_f32(-1.59576912161f), vmulq_f32(g, g), -0.07135481283f);
    return vdivq_f32(g, vaddq_f32(vdupq_n_f32(1.0f), neon_exp(vmulq_f32(g, inner))));
}

void geglu_neon(float *y, const float *gate, const float *up, int n) {
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t v_f32x4 = gelu(vld1q_f32(gate + i));
        vst1q_f32(y + i, up ? vmulq_f32(v_f32x4, vld1q_f32(up + i)) : v_f32x4);
    }
    for (; i < n; i++) {
        const float v = vgetq_lane_f32(gelu(vdupq_n_f32(gate[i])), 0);
        y[i] = up ? v * up[i] : v;
    }
}

LK_INLINE float32x4_t gelu_erf(float32x4_t x) {
    const float32x4_t t = vminq_f32(vabsq_f32(x), vdupq_n_f32(LK_TAIL_END)); /* NaN stays */
    const float32x4_t k = vdupq_n_f32(LK_TAIL_K), square = vmulq_f32(t, t);
    const float32x4_t rest = vfmaq_f32(vnegq_f32(square), t, t);
    const float32x4_t w = vdivq_f32(vsubq_f32(t, k), vaddq_f32(t, k));
    float32x4_t r = vdupq_n_f32(lk_tail[0]);
    for (int j = 1; j < LK_TAIL_TERMS; j++)
        r = vfmaq_f32(vdupq_n_f32(lk_tail[j]), r, w);
    const float32x4_t e = neon_exp(vmulq_n_f32(square, -0.5f));
    r = vfmaq_f32(r, vmulq_n_f32(rest, -0.5f), r);
    return vfmsq_f32(vmaxq_f32(x, vdupq_n_f32(0.0f)), vmulq_f32(t, r), e);
}

void gelu_erf_neon(float *y, const float *x, int n) {
    int i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(y + i, gelu_erf(vld1q_f32(x + i)));
    for (; i < n; i++)
        y[i] = vgetq_lane_f32(gelu_erf(vdupq_n_f32(x[i])), 0);
}

void softcap_neon(float *x, int n, float cap) {
    int i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(x + i, neon_softcap(vld1q_f32(x + i), cap));
    for (; i < n; i++)
        x[i] = vgetq_lane_f32(neon_softcap(vdupq_n_f32(x[i]), cap), 0);
}

float max_neon(const float *x, int n) {
    if (n < 4) {
        float32x4_t max_f32x4 = vdupq_n_f32(x[0]);
        for (int i = 1; i < n; i++)
            max_f32x4 = vmaxq_f32(max_f32x4, vdupq_n_f32(x[i]));
        return vgetq_lane_f32(max_f32x4, 0);
    }
    float32x4_t max_f32x4 = vld1q_f32(x + n - 4); /* the tail first: looking twice is harmless */
    for (int i = 0; i + 4 <= n; i += 4)
        max_f32x4 = vmaxq_f32(max_f32x4, vld1q_f32(x + i));
    return vmaxvq_f32(max_f32x4);
}

double sum_exp_neon(const float *x, int n, float max) {
    float64x2_t lo_f64x2 = vdupq_n_f64(0.0), hi_f64x2 = vdupq_n_f64(0.0);
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t e_f32x4 = neon_exp(vsubq_f32(vld1q_f32(x + i), vdupq_n_f32(max)));
        lo_f64x2 = vaddq_f64(lo_f64x2, vcvt_f64_f32(vget_low_f32(e_f32x4)));
        hi_f64x2 = vaddq_f64(hi_f64x2, vcvt_high_f64_f32(e_f32x4));
    }
    double sum = vaddvq_f64(vaddq_f64(lo_f64x2, hi_f64x2));
    for (; i < n; i++)
        sum += (double)neon_exp_one(x[i] - max);
    return sum;
}
#endif
