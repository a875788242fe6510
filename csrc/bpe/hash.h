/*
 * The hash of the tokenizer's tables: 64 x 64 -> 128 bit products of the seeded input, folded.
 */
#ifndef LK_BPE_HASH_H
#define LK_BPE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t lk_fold_product(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t lk_read_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline uint64_t lk_read_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* The odd constants are the fractional digits of the square roots of 2 and 3. */
static inline uint64_t lk_hash_bytes(uint64_t seed, const uint8_t *p, size_t n) {
    uint64_t state = seed ^ n * 0x6A09E667F3BCC909u;
    uint64_t a = 0, b = 0;
    for (; n > 16; p += 16, n -= 16) {
        state = lk_fold_product(lk_read_u64(p) ^ state, lk_read_u64(p + 8) ^ 0xBB67AE8584CAA73Bu);
    }
    if (n >= 8) {
        a = lk_read_u64(p);
        b = lk_read_u64(p + n - 8);
    } else if (n >= 4) {
        a = lk_read_u32(p);
        b = lk_read_u32(p + n - 4);
    } else if (n > 0) {
        a = (uint64_t)p[0] << 16 | (uint64_t)p[n / 2] << 8 | p[n - 1];
    }
    state = lk_fold_product(a ^ state, b ^ 0xBB67AE8584CAA73Bu);
    return lk_fold_product(state ^ seed, 0x6A09E667F3BCC909u);
}

/* memcmp(a, b, n) == 0, inline: most strings compared are a few bytes long. */
static inline int lk_same_bytes(const uint8_t *a, const uint8_t *b, size_t n) {
    if (n > 16) {
        return memcmp(a, b, n) == 0;
    }
    if (n >= 8) {
        return lk_read_u64(a) == lk_read_u64(b) && lk_read_u64(a + n - 8) == lk_read_u64(b + n - 8);
    }
    if (n >= 4) {
        return lk_read_u32(a) == lk_read_u32(b) && lk_read_u32(a + n - 4) == lk_read_u32(b + n - 4);
    }
    return n == 0 || (a[0] == b[0] && a[n / 2] == b[n / 2] && a[n - 1] == b[n - 1]);
}

static inline uint64_t lk_hash_pair(uint64_t seed, uint64_t key) {
    return lk_fold_product(key ^ seed, 0xBB67AE8584CAA73Bu ^ seed >> 1);
}

#endif
