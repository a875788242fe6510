/*
 * dot_f32, dot_f16, dot_bf16. Small integers: every sum is exact, so is the value. Other contents:
 * within the bound of check.h. A value must be the one that rows = cols = 1 gives.
 */
#include "check.h"
#include "half.h"

typedef enum { F32, F16, BF16 } kind;
typedef enum { INTEGERS, RANDOM, SUBNORMAL, HUGE_VALUES, N_CONTENTS } content;
static const char *const content_names[] = {"integers", "random", "subnormal", "huge"};

static float weight_value(content c, kind type) {
    switch (c) {
    case INTEGERS:
        return (float)(check_below(17) - 8);
    case SUBNORMAL: /* of halves; of floats and bfloat16 the product with x would underflow */
        return type == F16 ? check_wide(-24, -15) : check_wide(-60, -50);
    case HUGE_VALUES:
        return type == F16 ? check_wide(14, 14) : check_wide(50, 60);
    default:
        return check_wide(-8, 2);
    }
}

static void store(uint8_t *w, int i, kind type, float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint16_t half = type == F16 ? lk_f32_to_f16(value) : (uint16_t)(bits >> 16);
    if (type == F32)
        memcpy(w + 4 * i, &bits, 4);
    else
        memcpy(w + 2 * i, &half, 2);
}

static double load(const uint8_t *w, int i, kind type) {
    float value;
    uint16_t half;
    if (type == F32) {
        memcpy(&value, w + 4 * i, 4);
        return (double)value;
    }
    memcpy(&half, w + 2 * i, 2);
    return (double)(type == F16 ? lk_f16_to_f32(half) : lk_bf16_to_f32(half));
}

static void run(const check_kernel *kernel, kind type, int k, int rows, int cols, content what,
                int offset) {
    check_case("k = %d, rows = %d, cols = %d, %s, weights %s %d", k, rows, cols,
               content_names[what], offset < 0 ? "at the end" : "from byte", offset);
    size_t size = type == F32 ? 4 : 2, w_stride = (size_t)k * size + size * (size_t)check_below(3);
    size_t x_stride = 4 * (size_t)(k + check_below(3));
    uint8_t *w = check_at("weights", w_stride * (size_t)(rows - 1) + size * (size_t)k, offset);
    char *x = check_at_end("x", x_stride * (size_t)(cols - 1) + 4 * (size_t)k);
    for (int i = 0; i < rows * k; i++)
        store(w + (size_t)(i / k) * w_stride, i % k, type, weight_value(what, type));
    for (int i = 0; i < cols * k; i++) {
        float value = what == INTEGERS ? (float)(check_below(65) - 32) : check_wide(-4, 4);
        memcpy(x + (size_t)(i / k) * x_stride + 4 * (size_t)(i % k), &value, 4);
    }
    float *got = check_output("y", (size_t)(rows * cols));
    float *want = check_output("scalar y", (size_t)(rows * cols));
    lk_dot_fn fn = (lk_dot_fn)kernel->fn;
    lk_dot d = {{w}, {want}, x, w_stride, x_stride, rows, k, rows, cols};
    ((lk_dot_fn)kernel->scalar)(&d);
    check_run_streams(fn, d, got);
    check_canaries();
    for (int i = 0; i < rows * cols; i++) {
        const uint8_t *row = w + (size_t)(i % rows) * w_stride;
        const char *column = x + (size_t)(i / rows) * x_stride;
        double magnitude = 0.0;
        for (int j = 0; j < k; j++)
            magnitude += fabs(load(row, j, type) * load((const uint8_t *)column, j, F32));
        if (what == INTEGERS)
            check_equal("y", &got[i], &want[i], 1);
        check_near("y", i, (double)got[i], (double)want[i], (k + 2) * CHECK_EPS * magnitude);
        float *one = check_output("one value", 1);
        fn(&(lk_dot){{row}, {one}, column, w_stride, x_stride, 1, k, 1, 1});
        check_equal("value as a batch of one, y", &got[i], one, 1);
        check_drop_buffer();
    }
}

static kind kind_of(const check_kernel *kernel) {
    return strstr(kernel->name, "bf16") ? BF16 : strstr(kernel->name, "f16") ? F16 : F32;
}

void check_dot_float(const check_kernel *kernel) {
    static const int lengths[] = {1,  2,  3,  5,  7,  8,   15,  16,  17,  31, 32,
                                  33, 63, 64, 65, 97, 127, 128, 129, 160, 257};
    static const int edges[] = {1, 2, 3, 4, 5, 11, 12, 13, 15, 16, 17};
    kind type = kind_of(kernel);
    for (int i = 0; i < CHECK_COUNT(lengths) * N_CONTENTS; i++)
        run(kernel, type, lengths[i / N_CONTENTS], edges[check_below(CHECK_COUNT(edges))],
            1 + check_below(9), i % N_CONTENTS, -1);
    for (int i = 0; i < CHECK_COUNT(edges) * 6; i++)
        run(kernel, type, 1 + check_below(80), edges[i / 6], 1 + i % 6, RANDOM, -1);
    for (int offset = 0; offset <= 30; offset += 2) /* a mapped file promises no alignment */
        run(kernel, type, 1 + check_below(80), 3, 2, RANDOM, offset);
}

void bench_dot_float(const check_kernel *kernel) {
    const kind type = kind_of(kernel);
    const int k = 4096, row_bytes = k * (type == F32 ? 4 : 2), rows = BENCH_L2_BYTES / row_bytes;
    check_case("k = %d, rows = %d", k, rows);
    uint8_t *w = check_at_start("weights", BENCH_L2_BYTES, 0);
    float *x = check_at_start("x", 4 * (size_t)k, 0), *y = check_output("y", (size_t)rows);
    for (int i = 0; i < rows * k; i++)
        store(w, i, type, weight_value(RANDOM, type));
    for (int i = 0; i < k; i++)
        x[i] = check_wide(-4, 4);
    bench_streams((lk_dot_fn)kernel->fn,
                  (lk_dot){{w}, {y}, x, (size_t)row_bytes, 0, rows, k, rows, 1}, false);
}
