/* quantize_TYPE: the bytes of the scalar version, for rows of every kind of value. */
#include "weights.h"

typedef enum { EVEN, HEAVY, ONE_SIDED, CONSTANT, ZERO, SMALL, LARGE, N_KINDS } kind;
static const char *const kind_names[N_KINDS] = {"even", "heavy-tailed", "one-sided", "constant",
                                                "zero", "small",        "large"};

static float value_of(kind k) {
    switch (k) {
    case HEAVY:
        return check_wide(-14, 4);
    case ONE_SIDED:
        return check_uniform(0.5f, 1.0f);
    case CONSTANT:
        return -0.25f;
    case ZERO:
        return 0.0f;
    case SMALL:
        return check_wide(-149, -20);
    case LARGE:
        return check_uniform(-65504.0f, 65504.0f);
    default:
        return check_uniform(-1.0f, 1.0f);
    }
}

void check_lk_quantize_fn(const check_kernel *kernel) {
    const check_weight *type = check_weight_of(kernel->name);
    /* Full vectors, and rest groups; fewer of those that look at thousands of points. */
    const int is_lattice = strncmp(type->name, "iq", 2) == 0 && type->name[2] < '4';
    const int most = type->length == 32 ? 35 : is_lattice ? 2 : 5;
    for (int i = 0; i < most * N_KINDS * 2; i++) {
        const int n_blocks = 1 + i % most, k = n_blocks * type->length, weighted = i / most % 2;
        const kind values = i / most / 2;
        check_case("%d blocks, %s values, %s", n_blocks, kind_names[values],
                   weighted ? "weighted" : "not weighted");
        float *x = check_at_end("x", (size_t)k * sizeof *x);
        float *w = check_at_end("importance", (size_t)k * sizeof *w);
        const size_t bytes = (size_t)(n_blocks * type->bytes);
        void *want = check_at_end("scalar blocks", bytes), *got = check_at_end("blocks", bytes);
        for (int j = 0; j < k; j++) {
            x[j] = value_of(values);
            w[j] = check_below(4) ? check_uniform(0.0f, 2.0f) : 0.0f;
        }
        ((lk_quantize_fn)kernel->scalar)(want, x, weighted ? w : NULL, k);
        ((lk_quantize_fn)kernel->fn)(got, x, weighted ? w : NULL, k);
        check_equal_bytes("blocks", got, want, bytes);
    }
}

void bench_lk_quantize_fn(const check_kernel *kernel) {
    const check_weight *type = check_weight_of(kernel->name);
    const int k = 4096;
    check_case("k = %d", k);
    float *x = check_at_start("x", k * sizeof *x, 0);
    void *y = check_at_start("blocks", (size_t)(k / type->length * type->bytes), 0);
    for (int j = 0; j < k; j++)
        x[j] = check_uniform(-1.0f, 1.0f);
    BENCH(((lk_quantize_fn)kernel->fn)(y, x, NULL, k), .bytes = k * sizeof *x, .limits = "L1");
}
