/*
 * rmsnorm:        y_i = w_i x_i / sqrt(sum x^2 / n + eps), the sum in double (Zhang, Sennrich 2019)
 * rope_adjacent:  pairs (x_2i, x_2i+1);  rope_half: pairs (x_i, x_i+n_rot/2); each pair turned by
 *                 its angle: (a cos - b sin, a sin + b cos) (RoFormer, Su et al. 2021)
 * swiglu:         y = g / (1 + exp(-g)) * up (Shazeer 2020); 0 where exp(-g) overflows: below 3e-37
 * layernorm:      y_i = w_i (x_i - mean) / sqrt(var + eps) + b_i, both in double (Ba et al. 2016)
 * geglu:          y = gelu(g) * up, gelu(x) = x (1 + tanh u) / 2 = x / (1 + exp(-2 u)) with
 *                 u = sqrt(2 / pi) (x + 0.044715 x^3) (Hendrycks, Gimpel 2016; Shazeer 2020)
 * gelu_erf:       y = x Phi(x) = x (1 + erf(x / sqrt(2))) / 2 (Hendrycks, Gimpel 2016)
 * softcap:        x = cap tanh(x / cap) (Gemma 2, 2024)
 * max, sum_exp:   for a softmax; exp(-inf - max) = 0, so excluded values may be -inf
 */
#include <math.h>

#include "kernels.h"

void rmsnorm_scalar(float *y, const float *x, const float *w, int n, float eps) {
    double squares = 0;
    for (int i = 0; i < n; i++)
        squares += (double)x[i] * x[i];
    const float scale = (float)(1 / sqrt(squares / n + (double)eps));
    for (int i = 0; i < n; i++)
        y[i] = w ? x[i] * scale * w[i] : x[i] * scale;
}

void layernorm_scalar(float *y, const float *x, const float *w, const float *b, int n, float eps) {
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    const double mean = sum / n;
    for (int i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    const double scale = 1 / sqrt(squares / n + (double)eps);
    for (int i = 0; i < n; i++)
        y[i] = (float)((x[i] - mean) * scale) * w[i] + (b ? b[i] : 0);
}

LK_INLINE void rotate(float *a, float *b, float cosine, float sine) {
    const float a0 = *a, b0 = *b;
    *a = a0 * cosine - b0 * sine;
    *b = a0 * sine + b0 * cosine;
}

void rope_adjacent_scalar(float *x, const float *cs, int n_rot) {
    for (int i = 0; i < n_rot / 2; i++)
        rotate(&x[2 * i], &x[2 * i + 1], cs[2 * i], cs[2 * i + 1]);
}

void rope_half_scalar(float *x, const float *cs, int n_rot) {
    for (int i = 0; i < n_rot / 2; i++)
        rotate(&x[i], &x[i + n_rot / 2], cs[2 * i], cs[2 * i + 1]);
}

void swiglu_scalar(float *y, const float *gate, const float *up, int n) {
    for (int i = 0; i < n; i++)
        y[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

void geglu_scalar(float *y, const float *gate, const float *up, int n) {
    const double a = 1.5957691216057308; /* 2 sqrt(2 / pi) */
    for (int i = 0; i < n; i++) {
        const double g = gate[i], gelu = g / (1 + exp(-a * g * (1 + 0.044715 * g * g)));
        y[i] = (float)gelu * (up ? up[i] : 1);
    }
}

void gelu_erf_scalar(float *y, const float *x, int n) {
    for (int i = 0; i < n; i++)
        y[i] = (float)(x[i] * 0.5 * erfc(-0.70710678118654752 * x[i]));
}

void softcap_scalar(float *x, int n, float cap) {
    for (int i = 0; i < n; i++)
        x[i] = cap * tanhf(x[i] / cap);
}

float max_scalar(const float *x, int n) {
    float max = x[0];
    for (int i = 1; i < n; i++)
        if (x[i] > max || x[i] != x[i])
            max = x[i]; /* a NaN stays: nothing compares greater */
    return max;
}

double sum_exp_scalar(const float *x, int n, float max) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - max);
    return sum;
}
