/* Guarded buffers, canaries, random numbers and comparisons. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "run.h"

#define MAX_PADS 16
#define PAD_BYTES ((size_t)1 << 19)
#define CANARY_BITS 0x7fa5c3e1u /* a signalling NaN that no kernel computes */
#define CANARY_FLOATS 16

typedef struct {
    const char *name;
    uint8_t *start, *end; /* the accessible part; an inaccessible page on either side */
    uint8_t *data;
    size_t bytes;
    bool output;
} pad;

static pad pads[MAX_PADS];
static int n_pads;
static uint64_t state;

void run_seed(uint64_t seed) {
    state = seed;
}

static size_t page_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void map_pad(pad *p) {
    size_t page = page_size();
    uint8_t *base = mmap(NULL, PAD_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + page, PAD_BYTES, PROT_READ | PROT_WRITE) != 0) {
        perror("checkasm: cannot map a guarded buffer");
        exit(2);
    }
    p->start = base + page;
    p->end = p->start + PAD_BYTES;
}

static pad *next_pad(const char *name, size_t bytes) {
    if (n_pads == MAX_PADS || bytes > PAD_BYTES - 4096) {
        fprintf(stderr, "checkasm: buffer %s of %zu bytes does not fit\n", name, bytes);
        exit(2);
    }
    pad *p = &pads[n_pads++];
    if (!p->start)
        map_pad(p);
    p->name = name;
    p->bytes = bytes;
    p->output = false;
    return p;
}

void run_forget_buffers(void) {
    n_pads = 0;
}

void check_drop_buffer(void) {
    n_pads--;
}

void *check_at_end(const char *name, size_t bytes) {
    pad *p = next_pad(name, bytes);
    return p->data = p->end - bytes;
}

void *check_at_start(const char *name, size_t bytes, size_t offset) {
    pad *p = next_pad(name, bytes);
    return p->data = p->start + offset;
}

void *check_at(const char *name, size_t bytes, int offset) {
    return offset < 0 ? check_at_end(name, bytes) : check_at_start(name, bytes, (size_t)offset);
}

static void fill_canary(void *memory, size_t n) {
    uint32_t *word = memory;
    for (size_t i = 0; i < n; i++)
        word[i] = CANARY_BITS;
}

float *check_output(const char *name, size_t n) {
    float *y = check_at_end(name, n * sizeof(float));
    pads[n_pads - 1].output = true;
    fill_canary(y - CANARY_FLOATS, n + CANARY_FLOATS);
    return y;
}

bool check_is_canary(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits == CANARY_BITS;
}

void check_canaries(void) {
    for (int i = 0; i < n_pads; i++) {
        const float *y = (const float *)(const void *)pads[i].data;
        for (int j = 1; pads[i].output && j <= CANARY_FLOATS; j++)
            if (!check_is_canary(y[-j]))
                check_fail("wrote %d bytes before the start of %s", 4 * j, pads[i].name);
    }
}

void run_describe_address(const void *address, char *text, size_t size) {
    const uint8_t *a = address;
    for (int i = 0; i < n_pads; i++) {
        const pad *p = &pads[i];
        if (a >= p->end && a < p->end + page_size())
            snprintf(text, size, "byte %td past the end of %s", a - (p->data + p->bytes), p->name);
        else if (a < p->start && a >= p->start - page_size())
            snprintf(text, size, "byte %td before the start of %s", p->data - a, p->name);
        else
            continue;
        return;
    }
    snprintf(text, size, "address %p", address);
}

void check_equal(const char *what, const float *got, const float *want, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i] && !(isnan(got[i]) && isnan(want[i])))
            check_fail("%s[%zu] = %a (%.9g), must be exactly %a (%.9g)", what, i, (double)got[i],
                       (double)got[i], (double)want[i], (double)want[i]);
}

void check_equal_bytes(const char *what, const void *got, const void *want, size_t n) {
    const uint8_t *g = got, *w = want;
    for (size_t i = 0; i < n; i++)
        if (g[i] != w[i])
            check_fail("byte %zu of %s = 0x%02x, must be 0x%02x", i, what, g[i], w[i]);
}

void check_near(const char *what, int i, double got, double want, double bound) {
    if (got == want || (isnan(got) && isnan(want)) || fabs(got - want) <= bound)
        return;
    check_fail("%s[%d] = %.9g, scalar %.9g, |difference| %.3g > bound %.3g", what, i, got, want,
               fabs(got - want), bound);
}

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t check_random(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int check_below(int n) {
    return (int)(check_random() % (uint64_t)n);
}

float check_uniform(float low, float high) {
    return low + (high - low) * ((float)(check_random() >> 40) * 0x1p-24f);
}

float check_wide(int low_exp, int high_exp) {
    float m = check_uniform(1.0f, 2.0f);
    float x = ldexpf(m, low_exp + check_below(high_exp - low_exp + 1));
    return check_random() & 1 ? x : -x;
}

void check_random_bytes(void *bytes, size_t n) {
    uint8_t *b = bytes;
    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)check_random();
}
