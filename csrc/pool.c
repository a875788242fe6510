/*
 * Persistent workers that spin briefly and then park. A token is about a hundred ops a few
 * microseconds apart, and waking a parked thread costs tens of microseconds, so workers outwait
 * the gap between two ops on their core; between tokens and between calls they sleep.
 *
 * One op at a time owns the pool (owner lock). It is published to the workers it needs, and to no
 * other, by raising their `go` words; workers and caller meet at a barrier after each phase.
 * Fork: the child starts without workers and makes its own.
 */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <string.h>
#include <time.h>

#include "signals.h"
#include "target.h"

#define SPIN_NS 1000000 /* how long a worker outwaits the gap to the next op */
#define YIELD_NS 50000  /* from here on a waiter offers its core to others at each turn */

typedef struct {
    const lk_phase *phases;
    void *arg;
    int n_phases;
    int n_threads;
} job_t;

typedef struct {
    _Alignas(64) _Atomic(unsigned) count; /* of the jobs this worker was called to */
} go_t;

static struct {
    pthread_mutex_t owner; /* held by the caller whose op runs */
    pthread_mutex_t sleep; /* guards `wake` and n_sleeping */
    pthread_cond_t wake;
    job_t job; /* written by the owner before it raises any `go`, read by those it calls */
    int n_workers;
    int n_sleeping;
    go_t go[LK_MAX_THREADS];             /* by thread; 0 is the caller and unused */
    _Alignas(64) _Atomic(int) n_arrived; /* at the barrier of the current phase */
    _Alignas(64) _Atomic(unsigned) phase_count;
    _Atomic(int) fault;
} pool = {
    .owner = PTHREAD_MUTEX_INITIALIZER,
    .sleep = PTHREAD_MUTEX_INITIALIZER,
    .wake = PTHREAD_COND_INITIALIZER,
};

/* ---- waiting ------------------------------------------------------------------------------ */

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

LK_INLINE void relax(void) {
#if LK_X86
    __builtin_ia32_pause();
#elif LK_ARM
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Spin until *word differs from `old`; 0 when max_ns (if positive) passed first. */
static int spin_while(_Atomic(unsigned) *word, unsigned old, int64_t max_ns) {
    int64_t start = 0;
    for (unsigned turn = 1;; turn++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old)
            return 1;
        relax();
        if (turn % 64)
            continue;
        int64_t now = now_ns();
        if (!start)
            start = now;
        if (max_ns && now - start > max_ns)
            return 0;
        if (now - start > YIELD_NS)
            sched_yield();
    }
}

/* ---- guarded phases ------------------------------------------------------------------------ */

static _Thread_local sigjmp_buf *guard; /* where a SIGBUS of this thread leads, or NULL */
static struct sigaction previous_bus;
static _Atomic(int) bus_is_guarded = 1;

static void on_bus(int signal, siginfo_t *info, void *context) {
    if (guard)
        siglongjmp(*guard, 1);
    lk_hand_on(&previous_bus, signal, info, context);
}

static int is_ours(const struct sigaction *handler) {
    return (handler->sa_flags & SA_SIGINFO) && handler->sa_sigaction == on_bus;
}

/* Other libraries may take SIGBUS over after us, so whoever starts a run looks again. */
static void install_bus_handler(void) {
    struct sigaction current;
    sigaction(SIGBUS, NULL, &current);
    if (is_ours(&current) || !atomic_load_explicit(&bus_is_guarded, memory_order_relaxed))
        return;
    struct sigaction ours = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&ours.sa_mask);
    previous_bus = current;
    sigaction(SIGBUS, &ours, NULL);
}

void lk_bus_guard_set(int on) {
    struct sigaction current;
    atomic_store(&bus_is_guarded, on != 0);
    sigaction(SIGBUS, NULL, &current);
    if (!on && is_ours(&current))
        sigaction(SIGBUS, &previous_bus, NULL);
}

static int run_guarded(lk_phase phase, void *arg, int thread, int n_threads) {
    sigjmp_buf here;
    if (sigsetjmp(here, 0)) { /* the mask is left alone: SA_NODEFER keeps SIGBUS unblocked */
        guard = NULL;
        return LK_ERR_BUS;
    }
    guard = &here;
    phase(arg, thread, n_threads);
    guard = NULL;
    return LK_OK;
}

/* ---- a run --------------------------------------------------------------------------------- */

static void barrier(int n_threads) {
    unsigned phase = atomic_load_explicit(&pool.phase_count, memory_order_acquire);
    if (atomic_fetch_add_explicit(&pool.n_arrived, 1, memory_order_acq_rel) == n_threads - 1) {
        atomic_store_explicit(&pool.n_arrived, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool.phase_count, 1, memory_order_release);
    } else {
        spin_while(&pool.phase_count, phase, 0);
    }
}

static void run_job(const job_t *job, int thread) {
    for (int i = 0; i < job->n_phases; i++) {
        if (!atomic_load_explicit(&pool.fault, memory_order_acquire) &&
            run_guarded(job->phases[i], job->arg, thread, job->n_threads))
            atomic_store_explicit(&pool.fault, 1, memory_order_release);
        barrier(job->n_threads);
    }
}

static int run_alone(const lk_phase *phases, int n_phases, void *arg) {
    for (int i = 0; i < n_phases; i++)
        if (run_guarded(phases[i], arg, 0, 1))
            return LK_ERR_BUS;
    return LK_OK;
}

static void *worker_main(void *arg) {
    int thread = (int)(intptr_t)arg;
    _Atomic(unsigned) *go = &pool.go[thread].count;
    for (unsigned seen = 0;; seen++) {
        if (!spin_while(go, seen, SPIN_NS)) {
            pthread_mutex_lock(&pool.sleep);
            pool.n_sleeping++;
            while (atomic_load(go) == seen)
                pthread_cond_wait(&pool.wake, &pool.sleep);
            pool.n_sleeping--;
            pthread_mutex_unlock(&pool.sleep);
        }
        job_t job = pool.job; /* stays as it is until this thread has passed the job's barriers */
        run_job(&job, thread);
    }
    return NULL;
}

/* ---- workers and fork ----------------------------------------------------------------------- */

static void before_fork(void) {
    pthread_mutex_lock(&pool.owner);
}
static void after_fork_parent(void) {
    pthread_mutex_unlock(&pool.owner);
}

static void after_fork_child(void) {
    memset(&pool, 0, sizeof pool);
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.wake, NULL);
}

__attribute__((constructor)) static void register_fork_handlers(void) {
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* Start workers up to n_threads - 1, as many as the system grants; returns the threads there are.
 */
static int ensure_workers(int n_threads) {
    if (pool.n_workers >= n_threads - 1)
        return n_threads;
    sigset_t all, old;
    sigfillset(&all); /* signals belong to the application's threads... */
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV); /* ...except those that a thread's own access raises */
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool.n_workers < n_threads - 1) {
        pthread_t id;
        if (pthread_create(&id, NULL, worker_main, (void *)(intptr_t)(pool.n_workers + 1)))
            break;
        pthread_detach(id);
        pool.n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pool.n_workers + 1;
}

int lk_pool_run(const lk_phase *phases, int n_phases, void *arg, int n_threads) {
    install_bus_handler();
    if (n_threads <= 1 || pthread_mutex_trylock(&pool.owner))
        return run_alone(phases, n_phases, arg);
    n_threads = ensure_workers(n_threads < LK_MAX_THREADS ? n_threads : LK_MAX_THREADS);
    pool.job = (job_t){phases, arg, n_phases, n_threads};
    atomic_store_explicit(&pool.fault, 0, memory_order_relaxed);
    pthread_mutex_lock(&pool.sleep);
    for (int thread = 1; thread < n_threads; thread++)
        atomic_fetch_add_explicit(&pool.go[thread].count, 1, memory_order_release);
    if (pool.n_sleeping)
        pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.sleep);
    run_job(&pool.job, 0);
    int fault = atomic_load_explicit(&pool.fault, memory_order_acquire);
    pthread_mutex_unlock(&pool.owner);
    return fault ? LK_ERR_BUS : LK_OK;
}

/* ---- splitting ------------------------------------------------------------------------------ */

void lk_split_init(lk_split *split, int64_t n, int64_t piece, int n_threads) {
    int64_t n_pieces = (n + piece - 1) / piece;
    split->piece = piece;
    split->n_ranges = n_threads;
    for (int t = 0; t < n_threads; t++) {
        int64_t end = n_pieces * (t + 1) / n_threads * piece;
        lk_split_set(split, t, n_pieces * t / n_threads * piece, end < n ? end : n);
    }
}

void lk_split_set(lk_split *split, int thread, int64_t begin, int64_t end) {
    atomic_store_explicit(&split->ranges[thread].next, begin, memory_order_relaxed);
    split->ranges[thread].end = end;
}

int lk_split_take(lk_split *split, int thread, int64_t *begin, int64_t *end) {
    for (int i = 0; i < split->n_ranges; i++) {
        lk_range *range = &split->ranges[(thread + i) % split->n_ranges];
        if (atomic_load_explicit(&range->next, memory_order_relaxed) >= range->end)
            continue;
        int64_t b = atomic_fetch_add_explicit(&range->next, split->piece, memory_order_relaxed);
        if (b >= range->end)
            continue;
        *begin = b;
        *end = b + split->piece < range->end ? b + split->piece : range->end;
        return 1;
    }
    return 0;
}
