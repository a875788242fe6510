/*
 * checkasm [--seed N] [--level NAME] [--kernel TEXT] [--require LEVEL] [--bench MS]
 *
 * Runs every version of every kernel that this CPU supports; with --bench it times them instead,
 * some MS milliseconds a case, and prints a JSON object in a line for each. Repeated --level and
 * --kernel add to the choice; TEXT matches anywhere in a slot's name. Exit status: 0 all passed, 1
 * a kernel failed or a required level is missing, 2 bad usage. The seed is printed and reproduces
 * the run; each kernel has its own stream, so a failure repeats with --kernel alone.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "run.h"

static check_fn *const checks[LK_N_SLOTS] = {
#define LK_SLOT(slot, type) [LK_SLOT_##slot] = check_##type,
#include "kernels.inc"
};
static check_fn *const benches[LK_N_SLOTS] = {
#define LK_SLOT(slot, type) [LK_SLOT_##slot] = bench_##type,
#include "kernels.inc"
};

typedef struct {
    const char *levels[LK_N_LEVELS], *kernels[32], *required[LK_N_LEVELS];
    int n_levels, n_kernels, n_required;
    uint64_t seed;
    double bench_ms; /* 0: check */
} options;

static sigjmp_buf jump;
static volatile sig_atomic_t fault_signal;
static void *volatile fault_address;
static char shape[256], failure[512];

void check_case(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(shape, sizeof shape, format, args);
    va_end(args);
    run_forget_buffers();
}

const char *run_case(void) {
    return shape;
}

_Noreturn void check_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(failure, sizeof failure, format, args);
    va_end(args);
    siglongjmp(jump, 1);
}

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    fault_signal = number;
    fault_address = info->si_addr;
    siglongjmp(jump, 2);
}

static void catch_faults(void) {
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < CHECK_COUNT(numbers); i++)
        sigaction(numbers[i], &action, NULL);
}

static void describe_fault(void) {
    char where[128];
    run_describe_address(fault_address, where, sizeof where);
    const char *what = fault_signal == SIGILL ? "executed an illegal instruction at" : "touched";
    snprintf(failure, sizeof failure, "signal %d: %s %s", (int)fault_signal, what, where);
}

/* Slot names give each kernel a random stream of its own (FNV-1a). */
static uint64_t stream_of(const char *name, uint64_t seed) {
    uint64_t hash = 0xcbf29ce484222325u ^ seed;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

static bool passes(int slot, int level, const options *o) {
    check_kernel kernel = {lk_kernel_name(slot), lk_kernel_at(slot, LK_LEVEL_SCALAR),
                           lk_kernel_at(slot, level)};
    snprintf(shape, sizeof shape, "no case yet");
    run_forget_buffers();
    run_seed(stream_of(kernel.name, o->seed));
    run_bench(kernel.name, lk_level_name(level), o->bench_ms);
    int outcome = sigsetjmp(jump, 1);
    if (outcome == 0) {
        if (!kernel.scalar)
            check_fail("the slot has no scalar version, which is its specification");
        (o->bench_ms > 0 ? benches : checks)[slot](&kernel);
        return true;
    }
    if (outcome == 2)
        describe_fault();
    printf(
        "FAIL %s %s: %s\n     case: %s\n     again: checkasm --kernel %s --level %s --seed %" PRIu64
        "\n",
        kernel.name, lk_level_name(level), failure, shape, kernel.name, lk_level_name(level),
        o->seed);
    fflush(stdout);
    return false;
}

static bool chosen(const char *text, const char *const *list, int n, bool whole) {
    for (int i = 0; i < n; i++)
        if (whole ? strcmp(text, list[i]) == 0 : strstr(text, list[i]) != NULL)
            return true;
    return n == 0;
}

/* One line per slot, one column per level that runs. */
static int run_all(const options *o) {
    int failed = 0, passed = 0;
    bool runs[LK_N_LEVELS];
    printf("%-16s", "kernel");
    for (int level = 0; level < LK_N_LEVELS; level++) {
        runs[level] =
            lk_level_available(level) && chosen(lk_level_name(level), o->levels, o->n_levels, true);
        if (runs[level])
            printf(" %-10s", lk_level_name(level));
    }
    printf("\n");
    for (int slot = 0; slot < LK_N_SLOTS; slot++) {
        if (!chosen(lk_kernel_name(slot), o->kernels, o->n_kernels, false))
            continue;
        const char *result[LK_N_LEVELS];
        for (int level = 0; level < LK_N_LEVELS; level++) {
            result[level] = "-";
            if (!runs[level] || !lk_kernel_at(slot, level))
                continue;
            bool ok = passes(slot, level, o);
            result[level] = ok ? "ok" : "FAIL";
            passed += ok;
            failed += !ok;
        }
        printf("%-16s", lk_kernel_name(slot));
        for (int level = 0; level < LK_N_LEVELS; level++)
            if (runs[level])
                printf(" %-10s", result[level]);
        printf("\n");
    }
    printf("%d passed, %d failed, seed %" PRIu64 ", dispatch chose %s\n", passed, failed, o->seed,
           lk_level_name(lk_level_active()));
    return failed;
}

static int bench_all(const options *o) {
    int failed = 0;
    for (int slot = 0; slot < LK_N_SLOTS; slot++)
        for (int level = 0; level < LK_N_LEVELS; level++)
            if (chosen(lk_kernel_name(slot), o->kernels, o->n_kernels, false) &&
                chosen(lk_level_name(level), o->levels, o->n_levels, true) &&
                lk_level_available(level) && lk_kernel_at(slot, level))
                failed += !passes(slot, level, o);
    return failed;
}

static int level_of(const char *name) {
    for (int level = 0; level < LK_N_LEVELS; level++)
        if (strcmp(lk_level_name(level), name) == 0)
            return level;
    fprintf(stderr, "checkasm: no level named %s\n", name);
    exit(2);
}

static void add(const char **list, int *n, int limit, const char *value) {
    if (*n == limit) {
        fprintf(stderr, "checkasm: too many options like %s\n", value);
        exit(2);
    }
    list[(*n)++] = value;
}

static options parse(int argc, char **argv) {
    options o = {.seed = (uint64_t)time(NULL)};
    for (int i = 1; i < argc; i += 2) {
        const char *value = argv[i + 1]; /* argv ends with NULL */
        if (value && strcmp(argv[i], "--seed") == 0)
            o.seed = strtoull(value, NULL, 0);
        else if (value && strcmp(argv[i], "--kernel") == 0)
            add(o.kernels, &o.n_kernels, CHECK_COUNT(o.kernels), value);
        else if (value && strcmp(argv[i], "--level") == 0)
            add(o.levels, &o.n_levels, LK_N_LEVELS, lk_level_name(level_of(value)));
        else if (value && strcmp(argv[i], "--require") == 0)
            add(o.required, &o.n_required, LK_N_LEVELS, lk_level_name(level_of(value)));
        else if (value && strcmp(argv[i], "--bench") == 0 && strtod(value, NULL) > 0)
            o.bench_ms = strtod(value, NULL);
        else {
            fprintf(stderr, "usage: checkasm [--seed N] [--level NAME] [--kernel TEXT] "
                            "[--require LEVEL] [--bench MS]\n");
            exit(2);
        }
    }
    return o;
}

int main(int argc, char **argv) {
    options o = parse(argc, argv);
    int missing = 0;
    for (int level = 0; level < LK_N_LEVELS; level++) {
        const char *name = lk_level_name(level);
        if (lk_level_available(level))
            continue;
        if (o.n_required && chosen(name, o.required, o.n_required, true)) {
            printf("FAIL %s: required, but this CPU does not run it\n", name);
            missing++;
        } else if (chosen(name, o.levels, o.n_levels, true)) {
            printf("SKIP %s: this CPU does not run it\n", name);
        }
    }
    catch_faults();
    return (o.bench_ms > 0 ? bench_all : run_all)(&o) + missing > 0;
}
