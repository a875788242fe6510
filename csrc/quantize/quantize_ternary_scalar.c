/*
 * quantize_tq1_0, quantize_tq2_0: 256 weights as -d, 0 and d.
 *
 * With a scale that is given, a weight is not zero where |x| > d / 2; so for the best one the
 * weights that are not zero are the largest, however many, and d is their weighted mean. All
 * numbers of them are tried, in the order of |x|: no other scale has a smaller error. Weights that
 * are ternary already come back as they are, if d is a half float.
 */
#include <math.h>
#include <string.h>

#include "../blocks.h"
#include "../half.h"
#include "../kernels.h"

#define N 256

typedef struct {
    float size, weight;
} term;

/* Shell's sort, the largest first. */
static void sort_terms(term t[N]) {
    static const int gaps[] = {132, 57, 23, 10, 4, 1};
    for (int g = 0; g < (int)(sizeof gaps / sizeof *gaps); g++)
        for (int i = gaps[g]; i < N; i++) {
            const term moving = t[i];
            int at = i;
            for (; at >= gaps[g] && t[at - gaps[g]].size < moving.size; at -= gaps[g])
                t[at] = t[at - gaps[g]];
            t[at] = moving;
        }
}

static double error_of(const term t[N], double d) {
    double error = 0;
    for (int i = 0; i < N; i++) {
        const double size = t[i].size, rest = size > d / 2 ? size - d : size;
        error += t[i].weight * rest * rest;
    }
    return error;
}

/* The scale (half float) with the smallest error. */
static uint16_t scale_of(const float *x, const float *importance, double sigma2) {
    term t[N];
    for (int i = 0; i < N; i++) {
        t[i].size = fabsf(x[i]);
        t[i].weight =
            (float)((importance ? importance[i] : 1.0f) * sqrt(sigma2 + (double)x[i] * x[i]));
    }
    sort_terms(t);
    double sum = 0, weights = 0, most = 0, best = 0;
    for (int i = 0; i < N; i++) {
        sum += (double)t[i].weight * t[i].size;
        weights += t[i].weight;
        if (weights > 0 && sum * sum / weights > most) {
            most = sum * sum / weights;
            best = sum / weights;
        }
    }
    const uint16_t nearest = lk_f32_to_f16((float)best);
    uint16_t chosen = nearest;
    double least = error_of(t, lk_f16_to_f32(nearest));
    for (int step = -1; step <= 1; step += 2) {
        const int beside = nearest + step;
        const double error =
            beside < 0 || beside > 0x7bff ? INFINITY : error_of(t, lk_f16_to_f32((uint16_t)beside));
        if (error < least) {
            least = error;
            chosen = (uint16_t)beside;
        }
    }
    return chosen;
}

/* Scale and digits 0, 1, 2 of a block. */
static uint16_t digits_of(uint8_t digit[N], const float *x, const float *importance,
                          double sigma2) {
    const uint16_t half = scale_of(x, importance, sigma2);
    const float least = 0.5f * lk_f16_to_f32(half);
    for (int i = 0; i < N; i++)
        digit[i] = (uint8_t)(1 + (x[i] > least) - (x[i] < -least));
    return half;
}

static double mean_square(const float *x, int k) {
    double sum = 0;
    for (int i = 0; i < k; i++)
        sum += (double)x[i] * x[i];
    return sum / k;
}

/* Digits, `stride` apart and of which the first counts most, as a fraction of 256. */
static uint8_t fraction(const uint8_t *digit, int n, int stride) {
    unsigned value = 0;
    for (int i = 0; i < 5; i++)
        value = 3 * value + (i < n ? digit[i * stride] : 0);
    return (uint8_t)((value * 256 + 242) / 243);
}

void quantize_tq1_0_scalar(void *dst, const float *x, const float *importance, int k) {
    const double sigma2 = mean_square(x, k);
    uint8_t digit[N];
    for (int i = 0; i < k / N; i++) {
        block_tq1_0 b;
        b.d = digits_of(digit, x + N * i, importance ? importance + N * i : NULL, sigma2);
        for (int j = 0; j < 32; j++)
            b.qs[j] = fraction(digit + j, 5, 32);
        for (int j = 0; j < 16; j++)
            b.qs[32 + j] = fraction(digit + 160 + j, 5, 16);
        for (int j = 0; j < 4; j++)
            b.qh[j] = fraction(digit + 240 + j, 4, 4);
        memcpy((block_tq1_0 *)dst + i, &b, sizeof b);
    }
}

void quantize_tq2_0_scalar(void *dst, const float *x, const float *importance, int k) {
    const double sigma2 = mean_square(x, k);
    uint8_t digit[N];
    for (int i = 0; i < k / N; i++) {
        block_tq2_0 b;
        b.d = digits_of(digit, x + N * i, importance ? importance + N * i : NULL, sigma2);
        for (int j = 0; j < 64; j++) {
            const uint8_t *of = digit + j / 32 * 128 + j % 32;
            b.qs[j] = (uint8_t)(of[0] | of[32] << 2 | of[64] << 4 | of[96] << 6);
        }
        memcpy((block_tq2_0 *)dst + i, &b, sizeof b);
    }
}
