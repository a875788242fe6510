/* probe_read, probe_int8: integers, so exact. */
#include "check.h"

/* Round about the steps of one and of two streams at any level (64, 128 or 256 bytes each). */
static const int sizes[] = {0,   1,   7,   8,   9,   15,  16,  17,  63,  64,   65,   127,  128,
                            129, 191, 255, 256, 257, 511, 512, 513, 767, 1023, 1024, 1025, 4099};

void check_lk_probe_read_fn(const check_kernel *kernel) {
    for (int i = 0; i < CHECK_COUNT(sizes); i++) {
        for (int offset = -1; offset < 64; offset += 1 + check_below(8)) {
            size_t n = (size_t)sizes[i];
            int n_streams = 1 + check_below(2);
            check_case("n = %d, %d streams, memory %s %d", sizes[i], n_streams,
                       offset < 0 ? "at the end" : "from byte", offset);
            uint8_t *p = check_at("memory", n, offset);
            check_random_bytes(p, n);
            uint64_t want = ((lk_probe_read_fn)kernel->scalar)(p, n, 1);
            uint64_t got = ((lk_probe_read_fn)kernel->fn)(p, n, n_streams);
            check_equal_bytes("the value", &got, &want, sizeof got);
        }
    }
}

/* The multiply-adds of a round are the level's own, and their sum says what they must be. */
void check_lk_probe_int8_fn(const check_kernel *kernel) {
    static const int rounds[] = {0, 1, 2, 3, 7, 100, 5000};
    static const char *const contents[] = {"random", "highest", "lowest"};
    for (int i = 0; i < CHECK_COUNT(rounds) * CHECK_COUNT(contents); i++) {
        int content = i % CHECK_COUNT(contents), n = rounds[i / CHECK_COUNT(contents)];
        check_case("%d rounds, %s weights", n, contents[content]);
        uint8_t *a = check_at_end("a", LK_PROBE_K);
        int8_t *w = check_at_end("w", LK_PROBE_K);
        for (int j = 0; j < LK_PROBE_K; j++) {
            a[j] = (uint8_t)(content ? 127 : check_below(128));
            w[j] = (int8_t)(content == 0 ? check_below(17) - 8 : content == 1 ? 8 : -8);
        }
        uint32_t dot, got;
        ((lk_probe_int8_fn)kernel->scalar)(a, w, 1, &dot);
        int64_t products = ((lk_probe_int8_fn)kernel->fn)(a, w, n, &got);
        if (products < LK_PROBE_K || products % LK_PROBE_K)
            check_fail("a round of %d products, must be a multiple of %d", (int)products,
                       LK_PROBE_K);
        uint32_t want = dot * (uint32_t)n * (uint32_t)(products / LK_PROBE_K);
        check_equal_bytes("the sum", &got, &want, sizeof got);
    }
}

void bench_lk_probe_read_fn(const check_kernel *kernel) {
    static const char *const names[] = {"L1", "L2", "memory"};
    static const size_t sizes[] = {16 << 10, BENCH_L2_BYTES, BENCH_MEMORY_BYTES};
    uint64_t word = check_random();
    const uint8_t *memory = bench_memory(&word, sizeof word);
    for (int i = 0; i < CHECK_COUNT(sizes); i++) {
        check_case("from %s", names[i]);
        BENCH(((lk_probe_read_fn)kernel->fn)(memory, sizes[i], 2), .bytes = (double)sizes[i],
              .limits = names[i]);
    }
}

void bench_lk_probe_int8_fn(const check_kernel *kernel) {
    const lk_probe_int8_fn fn = (lk_probe_int8_fn)kernel->fn;
    const int rounds = 100;
    check_case("%d rounds", rounds);
    uint8_t a[LK_PROBE_K] = {1};
    int8_t w[LK_PROBE_K] = {1};
    uint32_t sum;
    const double products = (double)fn(a, w, 1, &sum);
    BENCH(fn(a, w, rounds, &sum), .operations = 2.0 * rounds * products, .limits = "int8");
}
