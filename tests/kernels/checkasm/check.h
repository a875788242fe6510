/*
 * checkasm: every kernel of the table against its scalar twin, in memory whose neighbours cannot
 * be touched. What the checks share: guarded buffers, canaries, random numbers, failure reports.
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

/* One check per slot type; main.c chooses by the types in kernels.inc, so none can be forgotten. */
typedef void check_fn(const check_kernel *kernel);
check_fn check_lk_act_fn, check_lk_panel_fn, check_lk_dot_fn, check_lk_row_fn, check_lk_unpack_fn,
    check_lk_gemm_fn, check_lk_skinny_fn, check_lk_attn_fn, check_lk_rmsnorm_fn, check_lk_rope_fn,
    check_lk_swiglu_fn, check_lk_f32_to_f16_fn, check_lk_f16_to_f32_fn, check_lk_max_fn,
    check_lk_sum_exp_fn, check_lk_probe_read_fn, check_lk_probe_int8_fn;
check_fn check_dot_float; /* the part of check_lk_dot_fn that has float weights */
/* A dot of one stream as one or, at random, as two of half as many rows (an odd one after them). */
void check_run_streams(lk_dot_fn fn, lk_dot dot, float *y);

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

#endif
