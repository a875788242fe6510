/* Norm, rotation, activation and reductions: elementwise bounds from the roundings of each value.
 */
#include "check.h"

static const int lengths[] = {1,  2,  3,  4,  5,  6,  7,   8,   9,   15,  16,  17,  31,   32,
                              33, 48, 63, 64, 65, 97, 127, 128, 129, 255, 256, 257, 1025, 4099};

static float *input(const char *name, int n, int low_exp, int high_exp) {
    float *x = check_at_end(name, (size_t)n * 4);
    for (int i = 0; i < n; i++)
        x[i] = check_wide(low_exp, high_exp);
    return x;
}

/* A sum of n positive squares, whose relative error the root halves; then 5 roundings. */
void check_lk_rmsnorm_fn(const check_kernel *kernel) {
    lk_rmsnorm_fn scalar = (lk_rmsnorm_fn)kernel->scalar, fn = (lk_rmsnorm_fn)kernel->fn;
    for (int i = 0; i < CHECK_COUNT(lengths) * 4; i++) {
        int n = lengths[i / 4];
        bool weighted = i & 1, in_place = i & 2;
        check_case("n = %d, %s weights%s", n, weighted ? "with" : "without",
                   in_place ? ", in place" : "");
        float *x = input("x", n, -10, 5), *w = input("w", n, -3, 1);
        if (check_below(8) == 0)
            memset(x, 0, (size_t)n * 4);
        float *want = check_output("scalar y", (size_t)n), *got = check_output("y", (size_t)n);
        float eps = check_below(2) ? 1e-5f : 1e-6f;
        scalar(want, x, weighted ? w : NULL, n, eps);
        if (in_place)
            memcpy(got, x, (size_t)n * 4);
        fn(got, in_place ? got : x, weighted ? w : NULL, n, eps);
        check_canaries();
        for (int j = 0; j < n; j++)
            check_near("y", j, (double)got[j], (double)want[j],
                       (0.5 * n + 5) * CHECK_EPS * fabs((double)want[j]));
    }
}

void bench_lk_rmsnorm_fn(const check_kernel *kernel) {
    const int n = 2048;
    check_case("n = %d", n);
    float *x = input("x", n, -10, 5), *w = input("w", n, -3, 1), *y = check_output("y", (size_t)n);
    BENCH(((lk_rmsnorm_fn)kernel->fn)(y, x, w, n, 1e-5f), .bytes = 8.0 * n, .limits = "L1");
}

/* The same of x - mean, in double and rounded once; then a product and a sum. */
void check_lk_layernorm_fn(const check_kernel *kernel) {
    lk_layernorm_fn scalar = (lk_layernorm_fn)kernel->scalar, fn = (lk_layernorm_fn)kernel->fn;
    for (int i = 0; i < CHECK_COUNT(lengths) * 4; i++) {
        int n = lengths[i / 4];
        bool biased = i & 1, in_place = i & 2;
        check_case("n = %d, %s bias%s", n, biased ? "with" : "without",
                   in_place ? ", in place" : "");
        float *x = input("x", n, -10, 5), *w = input("w", n, -3, 1), *b = input("b", n, -3, 1);
        float offset = check_below(2) ? 100.0f : 0.0f;
        for (int j = 0; j < n; j++)
            x[j] += offset;
        float *want = check_output("scalar y", (size_t)n), *got = check_output("y", (size_t)n);
        float eps = check_below(2) ? 1e-5f : 1e-6f;
        scalar(want, x, w, biased ? b : NULL, n, eps);
        if (in_place)
            memcpy(got, x, (size_t)n * 4);
        fn(got, in_place ? got : x, w, biased ? b : NULL, n, eps);
        check_canaries();
        for (int j = 0; j < n; j++) {
            /* sums in double lose n 2^-52 of |x|, which the scale may make large */
            double lost = n * 0x1p-50 * (double)(offset + 64.0f) / sqrt((double)eps);
            double product = fabs((double)want[j]) + (biased ? fabs((double)b[j]) : 0.0);
            check_near("y", j, (double)got[j], (double)want[j],
                       4 * CHECK_EPS * product + lost * fabs((double)w[j]));
        }
    }
}

void bench_lk_layernorm_fn(const check_kernel *kernel) {
    const int n = 2048;
    check_case("n = %d", n);
    float *x = input("x", n, -10, 5), *w = input("w", n, -3, 1), *y = check_output("y", (size_t)n);
    BENCH(((lk_layernorm_fn)kernel->fn)(y, x, w, w, n, 1e-5f), .bytes = 12.0 * n, .limits = "L1");
}

void check_lk_rope_fn(const check_kernel *kernel) {
    bool half = strstr(kernel->name, "half") != NULL;
    for (int n = 2; n <= 260; n += n < 70 ? 2 : 14) {
        check_case("n_rot = %d", n);
        float *x = input("x", n, -6, 4), *cs = check_at_end("cs", (size_t)n * 4);
        for (int i = 0; i < n / 2; i++) {
            float angle = check_uniform(-3, 3);
            cs[2 * i] = cosf(angle), cs[2 * i + 1] = sinf(angle);
        }
        float *want = check_output("scalar x", (size_t)n), *got = check_output("x", (size_t)n);
        memcpy(want, x, (size_t)n * 4);
        memcpy(got, x, (size_t)n * 4);
        ((lk_rope_fn)kernel->scalar)(want, cs, n);
        ((lk_rope_fn)kernel->fn)(got, cs, n);
        check_canaries();
        for (int i = 0; i < n; i++) {
            int pair = half ? i % (n / 2) : i / 2;
            double a = (double)x[half ? pair : 2 * pair];
            double b = (double)x[half ? pair + n / 2 : 2 * pair + 1];
            bool first = half ? i < n / 2 : i % 2 == 0;
            double c = (double)cs[2 * pair], s = (double)cs[2 * pair + 1];
            double m = first ? fabs(a * c) + fabs(b * s) : fabs(a * s) + fabs(b * c);
            check_near("x", i, (double)got[i], (double)want[i], 2 * CHECK_EPS * m);
        }
    }
}

void bench_lk_rope_fn(const check_kernel *kernel) {
    const int n = 128;
    check_case("n_rot = %d", n);
    float *x = input("x", n, -6, 4), *cs = check_at_end("cs", (size_t)n * 4);
    for (int i = 0; i < n; i++)
        cs[i] = i % 2 ? 0.8f : 0.6f;
    BENCH(((lk_rope_fn)kernel->fn)(x, cs, n), .bytes = 8.0 * n, .limits = "L1");
}

/* exp to 4 ulp, a sum, a quotient, a product: 8 roundings; below the normal floats, units of them.
 * NaN must come through. */
void check_lk_swiglu_fn(const check_kernel *kernel) {
    for (int i = 0; i < CHECK_COUNT(lengths) * 4; i++) {
        int n = lengths[i / 4];
        bool in_place = i & 1, wide = i & 2;
        check_case("n = %d, gates %s%s", n, wide ? "to 2^12" : "to 16",
                   in_place ? ", in place" : "");
        float *gate = input("gate", n, -10, wide ? 12 : 3), *up = input("up", n, -5, 5);
        if (wide)
            gate[check_below(n)] = NAN;
        if (check_below(2))
            gate[check_below(n)] = check_below(2) ? 0.0f : -0.0f;
        float *want = check_output("scalar y", (size_t)n), *got = check_output("y", (size_t)n);
        ((lk_swiglu_fn)kernel->scalar)(want, gate, up, n);
        if (in_place)
            memcpy(got, gate, (size_t)n * 4);
        ((lk_swiglu_fn)kernel->fn)(got, in_place ? got : gate, up, n);
        check_canaries();
        for (int j = 0; j < n; j++)
            check_near("y", j, (double)got[j], (double)want[j],
                       8 * CHECK_EPS * fabs((double)want[j]) +
                           fabs((double)gate[j] * (double)up[j]) * 0x1p-124);
    }
}

void bench_lk_swiglu_fn(const check_kernel *kernel) {
    const int n = 2048;
    check_case("n = %d", n);
    float *gate = input("gate", n, -10, 3), *up = input("up", n, -5, 5);
    float *y = check_output("y", (size_t)n);
    BENCH(((lk_swiglu_fn)kernel->fn)(y, gate, up, n), .bytes = 8.0 * n, .limits = "L1");
}

/* The argument t of exp is off by 3 roundings, so exp by a factor of 3 |t| more than swiglu's. */
void check_lk_geglu_fn(const check_kernel *kernel) {
    for (int i = 0; i < CHECK_COUNT(lengths) * 8; i++) {
        int n = lengths[i / 8];
        bool in_place = i & 1, wide = i & 2, gated = i & 4;
        check_case("n = %d, %s to %s%s", n, gated ? "gates" : "values", wide ? "2^12" : "16",
                   in_place ? ", in place" : "");
        float *gate = input("gate", n, -10, wide ? 12 : 3), *up = input("up", n, -5, 5);
        if (wide)
            gate[check_below(n)] = NAN;
        if (check_below(2))
            gate[check_below(n)] = check_below(2) ? 0.0f : -0.0f;
        float *want = check_output("scalar y", (size_t)n), *got = check_output("y", (size_t)n);
        ((lk_geglu_fn)kernel->scalar)(want, gate, gated ? up : NULL, n);
        if (in_place)
            memcpy(got, gate, (size_t)n * 4);
        ((lk_geglu_fn)kernel->fn)(got, in_place ? got : gate, gated ? up : NULL, n);
        check_canaries();
        for (int j = 0; j < n; j++) {
            double g = (double)gate[j], t = 1.6 * fabs(g) * (1.0 + 0.045 * g * g);
            double factor = gated ? fabs((double)up[j]) : 1.0;
            check_near("y", j, (double)got[j], (double)want[j],
                       (8 + 3 * fmin(t, 128.0)) * CHECK_EPS * fabs((double)want[j]) +
                           fabs(g) * factor * 0x1p-124);
        }
    }
}

void bench_lk_geglu_fn(const check_kernel *kernel) {
    const int n = 2048;
    check_case("n = %d", n);
    float *gate = input("gate", n, -10, 3), *up = input("up", n, -5, 5);
    float *y = check_output("y", (size_t)n);
    BENCH(((lk_geglu_fn)kernel->fn)(y, gate, up, n), .bytes = 8.0 * n, .limits = "L1");
}

/* To 2^-20; below the normal floats, units of them. */
void check_lk_gelu_erf_fn(const check_kernel *kernel) {
    for (int i = 0; i < CHECK_COUNT(lengths) * 4; i++) {
        int n = lengths[i / 4];
        bool in_place = i & 1, wide = i & 2;
        check_case("n = %d, to %s%s", n, wide ? "2^12" : "16", in_place ? ", in place" : "");
        float *x = input("x", n, -10, wide ? 12 : 3);
        if (wide)
            x[check_below(n)] = check_below(2) ? NAN : check_below(2) ? INFINITY : 13.5f;
        if (check_below(2))
            x[check_below(n)] = check_below(2) ? 0.0f : -0.0f;
        float *want = check_output("scalar y", (size_t)n), *got = check_output("y", (size_t)n);
        ((lk_gelu_erf_fn)kernel->scalar)(want, x, n);
        if (in_place)
            memcpy(got, x, (size_t)n * 4);
        ((lk_gelu_erf_fn)kernel->fn)(got, in_place ? got : x, n);
        check_canaries();
        for (int j = 0; j < n; j++)
            check_near("y", j, (double)got[j], (double)want[j],
                       8 * CHECK_EPS * fabs((double)want[j]) + 0x1p-120);
    }
}

void bench_lk_gelu_erf_fn(const check_kernel *kernel) {
    const int n = 2048;
    check_case("n = %d", n);
    float *x = input("x", n, -10, 3), *y = check_output("y", (size_t)n);
    BENCH(((lk_gelu_erf_fn)kernel->fn)(y, x, n), .bytes = 8.0 * n, .limits = "L1");
}

void check_lk_softcap_fn(const check_kernel *kernel) {
    for (int i = 0; i < CHECK_COUNT(lengths) * 2; i++) {
        int n = lengths[i / 2];
        const float cap = i % 2 ? 30.0f : check_uniform(0.1f, 100.0f);
        check_case("n = %d, cap %g", n, (double)cap);
        float *x = input("x", n, -20, 12);
        if (check_below(2))
            x[check_below(n)] = check_below(2) ? INFINITY : -INFINITY;
        x[check_below(n)] = check_below(2) ? NAN : 0.0f;
        float *want = check_output("scalar x", (size_t)n), *got = check_output("x", (size_t)n);
        memcpy(want, x, (size_t)n * 4);
        memcpy(got, x, (size_t)n * 4);
        ((lk_softcap_fn)kernel->scalar)(want, n, cap);
        ((lk_softcap_fn)kernel->fn)(got, n, cap);
        check_canaries();
        for (int j = 0; j < n; j++)
            check_near("x", j, (double)got[j], (double)want[j], (double)cap * 0x1p-20);
    }
}

void bench_lk_softcap_fn(const check_kernel *kernel) {
    const int n = 32000;
    check_case("n = %d", n);
    float *x = input("x", n, -10, 3);
    BENCH(((lk_softcap_fn)kernel->fn)(x, n, 30.0f), .bytes = 4.0 * n, .limits = "L2");
}

void check_lk_max_fn(const check_kernel *kernel) {
    for (int i = 0; i < CHECK_COUNT(lengths) * 5; i++) {
        static const char *const what[] = {"finite", "one NaN", "one +inf", "all -inf", "negative"};
        int n = lengths[i / 5];
        check_case("n = %d, %s", n, what[i % 5]);
        float *x = input("x", n, -30, 30);
        for (int j = 0; j < n && i % 5 >= 3; j++)
            x[j] = i % 5 == 3 ? -INFINITY : -fabsf(x[j]);
        if (i % 5 == 1 || i % 5 == 2)
            x[check_below(n)] = i % 5 == 1 ? (check_below(2) ? NAN : -NAN) : INFINITY;
        float want = ((lk_max_fn)kernel->scalar)(x, n), got = ((lk_max_fn)kernel->fn)(x, n);
        check_equal("max", &got, &want, 1);
    }
}

/* The logits of a vocabulary of 32,000. */
void bench_lk_max_fn(const check_kernel *kernel) {
    const int n = 32000;
    check_case("n = %d", n);
    float *x = input("x", n, -10, 3);
    BENCH(((lk_max_fn)kernel->fn)(x, n), .bytes = 4.0 * n, .limits = "L2");
}

/* Every term is positive and good to 4 ulp, plus half an ulp of an argument within 2^7; the sum is
 * in double. */
void check_lk_sum_exp_fn(const check_kernel *kernel) {
    for (int i = 0; i < CHECK_COUNT(lengths) * 3; i++) {
        int n = lengths[i / 3];
        check_case("n = %d, %s", n, i % 3 == 0 ? "close" : i % 3 == 1 ? "far" : "with -inf");
        float *x = check_at_end("x", (size_t)n * 4), max = check_uniform(-20, 20);
        for (int j = 0; j < n; j++) {
            x[j] = max - (i % 3 == 1 ? fabsf(check_wide(-5, 30)) : check_uniform(0, 20));
            if (i % 3 == 2 && check_below(3) == 0)
                x[j] = -INFINITY;
        }
        x[check_below(n)] = max;
        double want = ((lk_sum_exp_fn)kernel->scalar)(x, n, max);
        double got = ((lk_sum_exp_fn)kernel->fn)(x, n, max);
        check_near("sum", 0, got, want, (4 + 64) * CHECK_EPS * want);
    }
}

void bench_lk_sum_exp_fn(const check_kernel *kernel) {
    const int n = 32000;
    check_case("n = %d", n);
    float *x = input("x", n, -10, 3);
    BENCH(((lk_sum_exp_fn)kernel->fn)(x, n, 16.0f), .bytes = 4.0 * n, .limits = "L2");
}
