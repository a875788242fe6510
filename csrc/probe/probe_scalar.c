/*
 * probe_read: a word is put together from bytes, which compilers turn into a load where byte order
 * allows; they are XORed into four, and the end of the range is copied.
 * probe_int8: a loop that the compiler may do what it likes with, except for leaving rounds out.
 */
#include "half.h"
#include "kernels.h"

#define STEP 32

LK_INLINE void fold(uint64_t bits[4], const uint8_t *p) {
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        bits[i] ^= lk_load_u32(p + 8 * i) | (uint64_t)lk_load_u32(p + 8 * i + 4) << 32;
}

uint64_t probe_read_scalar(const void *p, size_t n, int n_streams) {
    const uint8_t *near = p;
    const size_t half = n_streams == 2 ? n / 2 / STEP * STEP : 0;
    const uint8_t *far = near + half;
    uint64_t bits[4] = {0};
    size_t i = 0;
    for (; i < half; i += STEP) {
        fold(bits, near + i);
        fold(bits, far + i);
    }
    for (i = 2 * half; i + STEP <= n; i += STEP)
        fold(bits, near + i);
    uint8_t rest[STEP] = {0};
    memcpy(rest, near + i, n - i);
    fold(bits, rest);
    return bits[0] ^ bits[1] ^ bits[2] ^ bits[3];
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
