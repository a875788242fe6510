/* row_TYPE: weights as floats, bit for bit. */
#include "half.h"
#include "weights.h"

static void compare(const check_kernel *kernel, const void *w, int k) {
    float *want = check_output("scalar y", (size_t)k), *got = check_output("y", (size_t)k);
    ((lk_row_fn)kernel->scalar)(want, w, k);
    ((lk_row_fn)kernel->fn)(got, w, k);
    check_canaries();
    check_equal("y", got, want, (size_t)k);
}

static void check_row_float(const check_kernel *kernel) {
    size_t size = strstr(kernel->name, "16") ? 2 : 4;
    for (int k = 1; k <= 130; k++) {
        int offset = 2 * check_below(17) - 2;
        check_case("k = %d, weights %s %d", k, offset < 0 ? "at the end" : "from byte", offset);
        void *w = check_at("weights", size * (size_t)k, offset);
        check_random_bytes(w, size * (size_t)k); /* NaN and infinities included */
        compare(kernel, w, k);
    }
}

void check_lk_row_fn(const check_kernel *kernel) {
    const check_weight *type = check_weight_of(kernel->name);
    if (!type) {
        check_row_float(kernel);
        return;
    }
    for (int i = 0; i < 9 * N_SCALES * 2; i++) {
        int n_blocks = 1 + i % 9, offset = 2 * check_below(17) - 2;
        check_scale scale = i / 9 % N_SCALES;
        bool extreme = i / 9 >= N_SCALES;
        check_case("%d blocks, %s scales, %s bytes, weights %s %d", n_blocks,
                   check_scale_names[scale], extreme ? "extreme" : "random",
                   offset < 0 ? "at the end" : "from byte", offset);
        void *w = check_at("weights", (size_t)(n_blocks * type->bytes), offset);
        check_fill_blocks(type, w, n_blocks, scale, extreme);
        compare(kernel, w, n_blocks * type->length);
    }
}

void bench_lk_row_fn(const check_kernel *kernel) {
    const check_weight *type = check_weight_of(kernel->name);
    const int k = 4096, size = strstr(kernel->name, "16") ? 2 : 4;
    const size_t bytes = (size_t)(type ? k / type->length * type->bytes : k * size);
    check_case("k = %d", k);
    void *w = check_at_start("weights", bytes, 0);
    float *y = check_output("y", (size_t)k);
    if (type)
        check_fill_blocks(type, w, k / type->length, SCALE_RANDOM, false);
    else
        check_random_bytes(w, bytes);
    BENCH(((lk_row_fn)kernel->fn)(y, w, k), .bytes = (double)bytes, .limits = "L1");
}
