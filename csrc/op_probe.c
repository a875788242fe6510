/*
 * What the machine allows: how fast threads together can read memory, and how fast they can
 * multiply 8-bit integers. A first phase does nothing: at its barrier the threads meet, so that
 * waking them is not timed. The time is from the first start to the last end.
 */
#include <time.h>

#include "kernels.h"
#include "pool.h"

#define LINE 64 /* bytes; threads part where a line of their span ends */

typedef struct {
    int64_t begin, end; /* nanoseconds */
    uint64_t value;
    int64_t products; /* multiply-adds */
} own_part;

typedef struct {
    const lk_span *spans;
    int n_spans, n_streams;
    size_t n_lines;
    int64_t rounds;
    own_part own[LK_MAX_THREADS];
    int n_threads; /* that took part */
} probe_state;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static size_t lines_of(const lk_span *span) {
    return (span->n_bytes + LINE - 1) / LINE;
}

static void meet(void *arg, int thread, int n_threads) {
    probe_state *s = arg;
    if (thread == 0)
        s->n_threads = n_threads;
}

/* Lines first .. last - 1 of all spans, end to end. */
static uint64_t read_lines(const probe_state *s, size_t first, size_t last) {
    uint64_t value = 0;
    size_t at = 0;
    for (int i = 0; i < s->n_spans && at < last; i++) {
        const lk_span *span = &s->spans[i];
        const size_t n = lines_of(span);
        if (at + n > first) {
            const size_t from = first > at ? (first - at) * LINE : 0;
            const size_t to = last - at < n ? (last - at) * LINE : span->n_bytes;
            value ^= LK_CALL(lk_probe_read_fn, probe_read)((const char *)span->data + from,
                                                           to - from, s->n_streams);
        }
        at += n;
    }
    return value;
}

static void read_part(void *arg, int thread, int n_threads) {
    probe_state *s = arg;
    own_part *own = &s->own[thread];
    const size_t first = s->n_lines / n_threads * thread, each = s->n_lines / n_threads;
    own->begin = now_ns();
    own->value = read_lines(s, first, thread == n_threads - 1 ? s->n_lines : first + each);
    own->end = now_ns();
}

static void multiply(void *arg, int thread, int n_threads) {
    (void)n_threads;
    probe_state *s = arg;
    own_part *own = &s->own[thread];
    uint8_t a[LK_PROBE_K];
    int8_t w[LK_PROBE_K];
    for (int i = 0; i < LK_PROBE_K; i++) { /* of any value: no instruction minds */
        a[i] = (uint8_t)(4 * i);
        w[i] = (int8_t)(i % 17 - 8);
    }
    uint32_t sum;
    own->begin = now_ns();
    own->products = s->rounds * LK_CALL(lk_probe_int8_fn, probe_int8)(a, w, s->rounds, &sum);
    own->end = now_ns();
    own->value = sum;
}

static int run(probe_state *s, lk_phase phase, int n_threads, double *seconds) {
    int status = lk_pool_run((const lk_phase[]){meet, phase}, 2, s, n_threads);
    if (status)
        return status;
    int64_t begin = s->own[0].begin, end = s->own[0].end;
    for (int t = 1; t < s->n_threads; t++) {
        begin = s->own[t].begin < begin ? s->own[t].begin : begin;
        end = s->own[t].end > end ? s->own[t].end : end;
    }
    *seconds = (double)(end > begin ? end - begin : 1) * 1e-9;
    return LK_OK;
}

int lk_probe_read(const lk_span *spans, int n_spans, int n_streams, int n_threads, double *seconds,
                  uint64_t *value) {
    if (n_spans < 1 || n_streams < 1 || n_streams > 2 || n_threads < 1 ||
        n_threads > LK_MAX_THREADS)
        return LK_ERR_ARGUMENT;
    probe_state s = {.spans = spans, .n_spans = n_spans, .n_streams = n_streams};
    for (int i = 0; i < n_spans; i++) {
        if (!spans[i].data || !spans[i].n_bytes)
            return LK_ERR_ARGUMENT;
        s.n_lines += lines_of(&spans[i]);
    }
    int status = run(&s, read_part, n_threads, seconds);
    *value = 0;
    for (int t = 0; t < s.n_threads; t++)
        *value ^= s.own[t].value;
    return status;
}

int lk_probe_int8(int64_t rounds, int n_threads, double *seconds, double *products) {
    if (rounds < 1 || n_threads < 1 || n_threads > LK_MAX_THREADS)
        return LK_ERR_ARGUMENT;
    probe_state s = {.rounds = rounds};
    int status = run(&s, multiply, n_threads, seconds);
    *products = 0;
    for (int t = 0; t < s.n_threads; t++)
        *products += (double)s.own[t].products;
    return status;
}
