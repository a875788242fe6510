/*
 * Which pages of mapped memory are touched, exactly. Access to all of them is revoked. The first
 * access to a page raises SIGSEGV in the thread that makes it; the handler counts the page, makes
 * it readable, and the access repeats. What the kernel maps around a page stays out of reach, so
 * it hides no touch. Prefetches raise nothing, so they count as nothing.
 *
 * The handler takes no lock. It finds a trace in a list, of which traces are taken out only to be
 * freed after every handler that may have seen them has left.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lk.h"
#include "signals.h"

/* Threads that race for a page fault on it once each. Who faults on and on does not read: it
 * writes, and no page is made writable. */
#define MAX_FAULTS 60000

typedef struct {
    uintptr_t begin;
    size_t n_pages;
    _Atomic(uint16_t) *faults; /* by page */
} span_t;

struct lk_trace {
    _Atomic(lk_trace *) next;
    _Atomic(int) incomplete;
    int n_spans;
    size_t n_pages;
    _Atomic(uint16_t) *faults; /* of all spans */
    span_t spans[];
};

static _Atomic(lk_trace *) traces;
static _Atomic(int) n_inside; /* handlers that may hold a trace */
static pthread_mutex_t changes = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;
static size_t page_size;

/* ---- the handler ---------------------------------------------------------------------------- */

static int protect(const lk_trace *trace, int access) {
    int status = LK_OK;
    for (int i = 0; i < trace->n_spans; i++) {
        const span_t *span = &trace->spans[i];
        if (mprotect((void *)span->begin, span->n_pages * page_size, access))
            status = LK_ERR_MEMORY;
    }
    return status;
}

static int open_page(lk_trace *trace, const span_t *span, size_t page) {
    if (atomic_load(&span->faults[page]) >= MAX_FAULTS)
        return 0;
    atomic_fetch_add(&span->faults[page], 1);
    if (mprotect((void *)(span->begin + page * page_size), page_size, PROT_READ) == 0)
        return 1;
    /* The process has as many separate pieces of memory as it may: go on without counting. */
    atomic_store(&trace->incomplete, 1);
    return protect(trace, PROT_READ) == LK_OK;
}

/* Whether a page of a trace lies at `address`, and is readable now. */
static int touch(uintptr_t address) {
    for (lk_trace *trace = atomic_load(&traces); trace; trace = atomic_load(&trace->next))
        for (int i = 0; i < trace->n_spans; i++) {
            const span_t *span = &trace->spans[i];
            const size_t page = (address - span->begin) / page_size;
            if (address >= span->begin && page < span->n_pages)
                return open_page(trace, span, page);
        }
    return 0;
}

static void on_segv(int signal, siginfo_t *info, void *context) {
    const int error = errno;
    atomic_fetch_add(&n_inside, 1);
    const int ours = info->si_code == SEGV_ACCERR && touch((uintptr_t)info->si_addr);
    atomic_fetch_sub(&n_inside, 1);
    errno = error;
    if (!ours)
        lk_hand_on(&previous, signal, info, context);
}

static int is_installed(void) {
    struct sigaction current;
    return sigaction(SIGSEGV, NULL, &current) == 0 && (current.sa_flags & SA_SIGINFO) &&
           current.sa_sigaction == on_segv;
}

/* On the alternate stack, if a thread has one: the handler before us may need it. */
static void install(void) {
    if (is_installed())
        return;
    struct sigaction ours = {.sa_sigaction = on_segv,
                             .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    sigaction(SIGSEGV, NULL, &previous);
    sigaction(SIGSEGV, &ours, NULL);
}

/* ---- traces --------------------------------------------------------------------------------- */

/* A child of fork has the traces of its parent, and none of the threads. */
static void after_fork_child(void) {
    pthread_mutex_init(&changes, NULL);
    atomic_store(&n_inside, 0);
}

__attribute__((constructor)) static void prepare(void) {
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    pthread_atfork(NULL, NULL, after_fork_child);
}

static int overlap(const lk_trace *a, const lk_trace *b) {
    for (const span_t *s = a->spans; s < a->spans + a->n_spans; s++)
        for (const span_t *t = b->spans; t < b->spans + b->n_spans; t++)
            if (s->begin < t->begin + t->n_pages * page_size &&
                t->begin < s->begin + s->n_pages * page_size)
                return 1;
    return 0;
}

/* 0 if another trace has some of its pages. */
static int enlist(lk_trace *trace) {
    pthread_mutex_lock(&changes);
    lk_trace *other = atomic_load(&traces);
    while (other && !overlap(trace, other))
        other = atomic_load(&other->next);
    if (!other) {
        if (!atomic_load(&traces))
            install();
        atomic_store(&trace->next, atomic_load(&traces));
        atomic_store(&traces, trace);
    }
    pthread_mutex_unlock(&changes);
    return !other;
}

static void free_trace(lk_trace *trace) {
    free(trace->faults);
    free(trace);
}

static lk_trace *new_trace(const lk_span *spans, int n_spans) {
    lk_trace *trace = calloc(1, sizeof *trace + (size_t)n_spans * sizeof *trace->spans);
    if (!trace)
        return NULL;
    trace->n_spans = n_spans;
    for (int i = 0; i < n_spans; i++) {
        const size_t n_pages = (spans[i].n_bytes + page_size - 1) / page_size;
        trace->spans[i] = (span_t){.begin = (uintptr_t)spans[i].data, .n_pages = n_pages};
        trace->n_pages += n_pages;
    }
    trace->faults = calloc(trace->n_pages, sizeof *trace->faults);
    if (!trace->faults) {
        free_trace(trace);
        return NULL;
    }
    _Atomic(uint16_t) *faults = trace->faults;
    for (int i = 0; i < n_spans; faults += trace->spans[i++].n_pages)
        trace->spans[i].faults = faults;
    return trace;
}

int lk_trace_start(const lk_span *spans, int n_spans, lk_trace **out) {
#ifndef __linux__
    return LK_ERR_UNSUPPORTED; /* others may raise another signal */
#endif
    if (n_spans < 1)
        return LK_ERR_ARGUMENT;
    for (int i = 0; i < n_spans; i++)
        if (!spans[i].n_bytes || (uintptr_t)spans[i].data % page_size)
            return LK_ERR_ARGUMENT;
    lk_trace *trace = new_trace(spans, n_spans);
    if (!trace)
        return LK_ERR_MEMORY;
    if (!enlist(trace)) {
        free_trace(trace);
        return LK_ERR_ARGUMENT;
    }
    *out = trace;
    int status = lk_trace_reset(trace);
    if (status)
        lk_trace_end(trace);
    return status;
}

int lk_trace_reset(lk_trace *trace) {
    for (size_t i = 0; i < trace->n_pages; i++)
        atomic_store_explicit(&trace->faults[i], 0, memory_order_relaxed);
    atomic_store(&trace->incomplete, 0);
    return protect(trace, PROT_NONE);
}

int lk_trace_read(const lk_trace *trace, uint8_t *touched) {
    for (size_t i = 0; i < trace->n_pages; i++)
        touched[i] = atomic_load_explicit(&trace->faults[i], memory_order_relaxed) > 0;
    return atomic_load(&trace->incomplete) ? LK_ERR_MEMORY : LK_OK;
}

void lk_trace_end(lk_trace *trace) {
    protect(trace, PROT_READ);
    for (int i = 0; i < trace->n_spans; i++) /* small pages go, so that huge ones come again */
        madvise((void *)trace->spans[i].begin, trace->spans[i].n_pages * page_size, MADV_DONTNEED);
    pthread_mutex_lock(&changes);
    _Atomic(lk_trace *) *link = &traces;
    while (atomic_load(link) != trace)
        link = &atomic_load(link)->next;
    atomic_store(link, atomic_load(&trace->next));
    if (!atomic_load(&traces) && is_installed())
        sigaction(SIGSEGV, &previous, NULL);
    pthread_mutex_unlock(&changes);
    while (atomic_load(&n_inside))
        sched_yield();
    free_trace(trace);
}
