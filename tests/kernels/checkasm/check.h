/*
 * checkasm: every kernel of the table against its scalar twin, in memory whose neighbours cannot
 * be touched; and how fast each is. What the checks share: guarded buffers, canaries, random
 * numbers, failure reports; and the loop of the benches.
 *
 * Tolerances are never chosen: with u = 2^-24 a float sum of n rounded terms lies within
 * (n + c) u sum|term| of the true one in whatever order it is added (c: the roundings inside a
 * term), so two versions lie within (n + c) 2u sum|term| of each other. CHECK_EPS is that 2u.
 */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kernels.h"

#define CHECK_EPS 0x1p-23
#define CHECK_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

typedef struct {
    const char *name; /* of the slot: dot_q4_0 */
    lk_fn scalar;     /* the specification */
    lk_fn fn;         /* the version under test */
} check_kernel;

/* A check and a bench per slot type; main.c chooses by the types in kernels.inc, so none can be
 * forgotten. */
typedef void check_fn(const check_kernel *kernel);
#define LK_SLOT(slot, type) check_fn check_##type, bench_##type;
#include "kernels.inc"
/* The parts for float weights. */
check_fn check_dot_float, bench_dot_float;
/* A dot of one stream as one or, at random, as two of half as many rows (an odd one after them). */
void check_run_streams(lk_dot_fn fn, lk_dot dot, float *y);
/* BENCHes a dot of one stream of BENCH_L2_BYTES as two: in L2, and in memory; multiplying is bound
 * by int8, or by nothing that is probed. */
void bench_streams(lk_dot_fn fn, lk_dot dot, bool is_int8);

/* Begins a case: forgets all buffers; the text appears in the report if the case fails. */
void check_case(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the check of this kernel with a report. */
_Noreturn void check_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A buffer that ends at the last byte before an inaccessible page, or starts `offset` bytes after
 * one. The name is for the report. Contents are arbitrary. */
void *check_at_end(const char *name, size_t bytes);
void *check_at_start(const char *name, size_t bytes, size_t offset);
/* offset < 0: at the end. */
void *check_at(const char *name, size_t bytes, int offset);
/* Gives the newest buffer back: for loops inside a case. */
void check_drop_buffer(void);

/* An output of n floats at the end of its page, filled (and preceded) by canaries. */
float *check_output(const char *name, size_t n);
bool check_is_canary(float value);
/* What lies before each output is unchanged. */
void check_canaries(void);

/* Value by value: equal (zeros of both signs too), or both NaN. */
void check_equal(const char *what, const float *got, const float *want, size_t n);
void check_equal_bytes(const char *what, const void *got, const void *want, size_t n);
/* |got - want| <= bound; infinities equal, NaN only where NaN is wanted. */
void check_near(const char *what, int i, double got, double want, double bound);

uint64_t check_random(void);
int check_below(int n);                      /* 0 .. n - 1 */
float check_uniform(float low, float high);  /* evenly spread */
float check_wide(int low_exp, int high_exp); /* random sign and mantissa, exponent in range */
void check_random_bytes(void *bytes, size_t n);

/* What a call does, for the report of a bench. */
typedef struct {
    double bytes;       /* read: weights, or what else streams through */
    double operations;  /* in products; multiplying and adding are two */
    const char *limits; /* what bounds it: L1, L2, memory, int8, separated by commas. The bench of a
                           probe has the one that it sets */
} bench_work;
#define BENCH_L2_BYTES (128 << 10)     /* lie in L2, and not in L1 */
#define BENCH_MEMORY_BYTES (128 << 20) /* are more than a core's share of the last cache */
/* So much memory, filled with copies of some bytes; the same memory every time. */
const uint8_t *bench_memory(const void *bytes, size_t n);

/* Times a call in the case that was begun, and prints it: BENCH(fn(&dot), .bytes = n). */
#define BENCH(call, ...)                                                                           \
    do {                                                                                           \
        for (int64_t n_calls = 0; (n_calls = bench_calls(n_calls)) > 0;)                           \
            for (int64_t i_call = 0; i_call < n_calls; i_call++)                                   \
                call;                                                                              \
        bench_report(&(bench_work){__VA_ARGS__});                                                  \
    } while (0)
/* How many calls to time next, after so many; 0: enough. */
int64_t bench_calls(int64_t n_calls);
void bench_report(const bench_work *work);

#endif
