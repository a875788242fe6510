/* The worker threads: the only place where threads exist. */
#ifndef LK_POOL_H
#define LK_POOL_H

#include <stdatomic.h>

#include "lk.h"

#define LK_MAX_THREADS 256

/* One phase of an op; every thread of the run has finished phase i before any starts i + 1. */
typedef void (*lk_phase)(void *arg, int thread, int n_threads);

/*
 * Run the phases on up to n_threads threads, the caller being thread 0. While the pool serves
 * another caller, this one runs its op alone: no op's result depends on the number of threads.
 * A SIGBUS inside a phase (a mapped file shrank) ends the run with LK_ERR_BUS.
 */
int lk_pool_run(const lk_phase *phases, int n_phases, void *arg, int n_threads);

/*
 * Work split so that each thread streams through one long range of its own, and one that is done
 * early helps the others: take pieces from your own range first, then from theirs.
 */
typedef struct {
    _Alignas(64) _Atomic(int64_t) next;
    int64_t end;
} lk_range;

typedef struct {
    lk_range ranges[LK_MAX_THREADS];
    int64_t piece;
    int n_ranges;
} lk_split;

/* n items for n_threads threads in pieces of `piece`; range borders are multiples of it. */
void lk_split_init(lk_split *split, int64_t n, int64_t piece, int n_threads);
/* Range `thread` is items [begin, end) instead; for splits that are not even. */
void lk_split_set(lk_split *split, int thread, int64_t begin, int64_t end);
/* The next piece [*begin, *end) for this thread; 0 when no work is left. A run on fewer threads
 * than the split was made for still does all of it. */
int lk_split_take(lk_split *split, int thread, int64_t *begin, int64_t *end);

#endif
