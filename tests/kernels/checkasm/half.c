/* f16 <-> f32, bit for bit: every half; floats at, beside and between the rounding boundaries. */
#include "half.h"
#include "check.h"

static const int lengths[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97};

void check_lk_f16_to_f32_fn(const check_kernel *kernel) {
    lk_f16_to_f32_fn scalar = (lk_f16_to_f32_fn)kernel->scalar, fn = (lk_f16_to_f32_fn)kernel->fn;
    for (int first = 0; first < 65536; first += 4096) {
        check_case("all halves from 0x%04x", (unsigned)first);
        uint16_t *x = check_at_end("x", 4096 * 2);
        for (int i = 0; i < 4096; i++)
            x[i] = (uint16_t)(first + i);
        float *want = check_output("scalar y", 4096), *got = check_output("y", 4096);
        scalar(want, x, 4096);
        fn(got, x, 4096);
        check_equal_bytes("y", got, want, 4096 * 4);
    }
    for (int i = 0; i < CHECK_COUNT(lengths); i++) {
        check_case("n = %d", lengths[i]);
        size_t n = (size_t)lengths[i];
        uint16_t *x = check_at_end("x", n * 2);
        check_random_bytes(x, n * 2);
        float *want = check_output("scalar y", n), *got = check_output("y", n);
        scalar(want, x, lengths[i]);
        fn(got, x, lengths[i]);
        check_canaries();
        check_equal_bytes("y", got, want, n * 4);
    }
}

/* Bits of a float around which rounding to half changes its mind. */
static uint32_t boundary(void) {
    static const uint32_t special[] = {
        0x00000000, 0x00000001, 0x33000000, 0x33000001, 0x33800000, 0x387fc000, 0x387fe000,
        0x387fffff, 0x38800000, 0x477fe000, 0x477fefff, 0x477ff000, 0x477ff001, 0x47800000,
        0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fa00000, 0x7fc00000, 0x7fffffff,
    };
    uint32_t sign = (uint32_t)check_below(2) << 31;
    if (check_below(4) == 0)
        return sign | special[check_below(CHECK_COUNT(special))];
    uint32_t exponent = 127u - 27 + (uint32_t)check_below(45); /* 2^-27 .. 2^17 */
    uint32_t step = 12 + (uint32_t)check_below(10);            /* ties of normals and subnormals */
    uint32_t tie = ((uint32_t)check_random() & 0x7fffff) >> step << step;
    return (sign | exponent << 23 | tie) + (uint32_t)check_below(3) - 1;
}

void check_lk_f32_to_f16_fn(const check_kernel *kernel) {
    for (int i = 0; i < 64 * CHECK_COUNT(lengths); i++) {
        int n = lengths[i % CHECK_COUNT(lengths)];
        bool arbitrary = i & 64;
        check_case("n = %d, %s", n, arbitrary ? "any bits" : "rounding boundaries");
        uint32_t *x = check_at_end("x", (size_t)n * 4);
        for (int j = 0; j < n; j++)
            x[j] = arbitrary ? (uint32_t)check_random() : boundary();
        size_t floats = (size_t)(n + 1) / 2;
        uint16_t *want = (uint16_t *)check_output("scalar y", floats) + n % 2;
        uint16_t *got = (uint16_t *)check_output("y", floats) + n % 2;
        ((lk_f32_to_f16_fn)kernel->scalar)(want, (const float *)x, n);
        ((lk_f32_to_f16_fn)kernel->fn)(got, (const float *)x, n);
        check_canaries();
        check_equal_bytes("y", got - n % 2, want - n % 2, floats * 4);
    }
}

void bench_lk_f16_to_f32_fn(const check_kernel *kernel) {
    const int n = 4096;
    check_case("n = %d", n);
    uint16_t *x = check_at_end("x", (size_t)n * 2);
    float *y = check_output("y", (size_t)n);
    for (int i = 0; i < n; i++)
        x[i] = lk_f32_to_f16(check_wide(-8, 8));
    BENCH(((lk_f16_to_f32_fn)kernel->fn)(y, x, n), .bytes = 2.0 * n, .limits = "L1");
}

void bench_lk_f32_to_f16_fn(const check_kernel *kernel) {
    const int n = 4096;
    check_case("n = %d", n);
    float *x = check_at_end("x", (size_t)n * 4);
    uint16_t *y = check_at_end("y", (size_t)n * 2);
    for (int i = 0; i < n; i++)
        x[i] = check_wide(-8, 8);
    BENCH(((lk_f32_to_f16_fn)kernel->fn)(y, x, n), .bytes = 4.0 * n, .limits = "L1");
}
