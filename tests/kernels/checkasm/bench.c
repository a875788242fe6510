/* What the benches share: the clock, memory beyond the caches, a line of JSON for every report. */
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "check.h"
#include "run.h"

#define SAMPLES 5

static const char *slot, *level;
static double sample_ns; /* that a sample takes at least, or nearly so */
static double ns[SAMPLES];
static int n_samples;
static int64_t begin;

void run_bench(const char *slot_name, const char *level_name, double ms) {
    slot = slot_name;
    level = level_name;
    sample_ns = ms * 1e6 / SAMPLES;
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Twice as many calls until they take long enough; then as many for every sample. */
int64_t bench_calls(int64_t n_calls) {
    const double spent = (double)(now() - begin);
    if (n_calls == 0) {
        n_calls = 1;
        n_samples = 0;
    } else if (n_samples == 0 && spent < sample_ns * 0.7) {
        n_calls *= 2;
    } else {
        ns[n_samples++] = spent / (double)n_calls;
        if (n_samples == SAMPLES)
            return 0;
    }
    begin = now();
    return n_calls;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_report(const bench_work *work) {
    qsort(ns, SAMPLES, sizeof *ns, ascending);
    printf("{\"slot\": \"%s\", \"level\": \"%s\", \"case\": \"%s\", \"ns\": %.2f, \"bytes\": %.0f, "
           "\"operations\": %.0f, \"limits\": \"%s\"}\n",
           slot, level, run_case(), ns[SAMPLES / 2], work->bytes, work->operations, work->limits);
    fflush(stdout);
}

const uint8_t *bench_memory(const void *bytes, size_t n) {
    static uint8_t *memory;
    if (!memory) {
        memory = mmap(NULL, BENCH_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0);
        if (memory == MAP_FAILED) {
            perror("checkasm: cannot map the memory of the benches");
            exit(2);
        }
        madvise(memory, BENCH_MEMORY_BYTES, MADV_HUGEPAGE); /* as a model's file is mapped */
    }
    for (size_t at = 0; at < BENCH_MEMORY_BYTES; at += n)
        memcpy(memory + at, bytes, at + n <= BENCH_MEMORY_BYTES ? n : BENCH_MEMORY_BYTES - at);
    return memory;
}
