/*
 * probe_read: a word is put together from bytes, so that byte order does not matter; what is left
 * at the end is a word whose other bytes are 0.
 * probe_int8: a loop that the compiler may do what it likes with, except for leaving rounds out.
 */
#include "kernels.h"

static uint64_t word(const uint8_t *p, size_t n) {
    uint64_t bits = 0;
    for (size_t i = 0; i < n && i < 8; i++)
        bits |= (uint64_t)p[i] << 8 * i;
    return bits;
}

uint64_t probe_read_scalar(const void *p, size_t n, int n_streams) {
    const uint8_t *near = p;
    const size_t half = n_streams == 2 ? n / 16 * 8 : 0;
    uint64_t value = 0;
    for (size_t i = 0; i < half; i += 8)
        value ^= word(near + i, 8) ^ word(near + half + i, 8);
    for (size_t i = 2 * half; i < n; i += 8)
        value ^= word(near + i, n - i);
    return value;
}

int64_t probe_int8_scalar(const uint8_t *a, const int8_t *w, int64_t rounds, uint32_t *sum) {
    uint32_t total = 0;
    for (int64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" ::: "memory"); /* the operands may have changed */
        int32_t dot = 0;
        for (int i = 0; i < LK_PROBE_K; i++)
            dot += a[i] * w[i];
        total += (uint32_t)dot;
    }
    *sum = total;
    return LK_PROBE_K;
}
