/*
 * The pool under stress: several callers run ops of several thread counts at once, and every
 * result must equal, bit for bit, the one computed alone. Built with the thread sanitizer.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"

enum { K = 512, ROWS = 1500, TOKENS = 9, CALLERS = 3, ROUNDS = 60 };

static float weights[ROWS * K], inputs[TOKENS * K], want[TOKENS * ROWS];
static const lk_linear op = {
    .w = {{.data = weights, .row_bytes = K * sizeof(float), .type = LK_F32, .n_rows = ROWS}},
    .n_w = 1,
    .k = K,
    .epilogue = LK_STORE,
};

static int multiply(float *y, int n_tokens, int n_threads) {
    size_t bytes = lk_linear_scratch(&op, n_tokens, n_threads) + 64;
    lk_work work = {aligned_alloc(64, (bytes + 63) / 64 * 64), bytes, n_threads};
    float *out[3] = {y, NULL, NULL};
    int status = lk_linear_run(&op, inputs, out, n_tokens, &work);
    free(work.scratch);
    return status;
}

static void *caller(void *arg) {
    unsigned seed = (unsigned)(size_t)arg;
    float *y = malloc(sizeof want);
    size_t failures = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int n_tokens = 1 + rand_r(&seed) % TOKENS, n_threads = 1 + rand_r(&seed) % 4;
        memset(y, 0, sizeof want);
        if (multiply(y, n_tokens, n_threads) ||
            memcmp(y, want, (size_t)n_tokens * ROWS * sizeof(float)))
            failures++;
    }
    free(y);
    return (void *)failures;
}

int main(void) {
    unsigned seed = 1;
    for (int i = 0; i < ROWS * K; i++)
        weights[i] = (float)(rand_r(&seed) % 2001 - 1000) / 1000;
    for (int i = 0; i < TOKENS * K; i++)
        inputs[i] = (float)(rand_r(&seed) % 2001 - 1000) / 1000;
    if (multiply(want, TOKENS, 1))
        return 2;
    pthread_t threads[CALLERS];
    for (size_t i = 0; i < CALLERS; i++)
        pthread_create(&threads[i], NULL, caller, (void *)(i + 7));
    size_t failures = 0;
    for (int i = 0; i < CALLERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        failures += (size_t)failed;
    }
    printf("%d runs, %zu failures\n", CALLERS * ROUNDS, failures);
    return failures != 0;
}
