/*
 * The types of 256 whose codes are found by arithmetic or in a lattice (blocks.h): TQ and IQ1 to
 * IQ3, all of the form
 *     weight e = d * scale[e / G] * q[e]
 * with q and the integer scale signed bytes, G = 16 for IQ2_XS, IQ2_S and IQ1_M, else 32. Codes
 * come eight to a word, four words at a time; where a type keeps signs apart, they are still to be
 * applied, which vectors do best.
 */
#ifndef LK_IQ_QUANTS_H
#define LK_IQ_QUANTS_H

#include "blocks.h"
#include "half.h"

/* By type, its G. */
#define LK_IQ_TYPES(X)                                                                             \
    X(tq1_0, 32)                                                                                   \
    X(tq2_0, 32)                                                                                   \
    X(iq3_xxs, 32) X(iq3_s, 32) X(iq2_xxs, 32) X(iq2_xs, 16) X(iq2_s, 16) X(iq1_s, 32) X(iq1_m, 16)

typedef enum {
#define ID(type, group) LK_IQ_##type,
    LK_IQ_TYPES(ID)
#undef ID
} lk_iq_type;

/* Points of eight or four bytes; of IQ1, whose x are -1, 0 and 1, the bytes are 8 x + 129. */
extern const uint64_t lk_grid_iq2_xxs[256], lk_grid_iq2_xs[512], lk_grid_iq2_s[1024];
extern const uint32_t lk_grid_iq3_xxs[256], lk_grid_iq3_s[512];
extern const uint64_t lk_grid_iq1_s[2048];

#define LK_ALL_BYTES UINT64_C(0x0101010101010101) /* times a byte: eight of it */

/* 32 codes; where bit e of `negative` is set, code e is still to be negated. */
typedef struct {
    uint64_t word[4];
    uint32_t negative;
} lk_iq_codes;

LK_INLINE int lk_iq_has_signs(lk_iq_type type) {
    return type >= LK_IQ_iq3_xxs && type <= LK_IQ_iq2_s;
}

/* Four times seven bits to four bytes, whose top bits make the number of ones even. */
LK_INLINE uint32_t lk_iq_even(uint32_t x) {
    x = (x & 0x7f) | (x << 1 & 0x7f00) | (x << 2 & 0x7f0000) | (x << 3 & 0x7f000000);
    uint32_t odd = x ^ x >> 4; /* in the lowest bit of each byte, in the end */
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return x | (odd & 0x01010101) << 7;
}

/* Each byte, at most 3, less one. */
LK_INLINE uint64_t lk_iq_less_one(uint64_t x) {
    return ((x | LK_ALL_BYTES * 0x80) - LK_ALL_BYTES) ^ LK_ALL_BYTES * 0x80;
}

/* The ternary digit of each byte that is first after a multiplication by `power` modulo 256. */
LK_INLINE uint64_t lk_iq_digits(uint64_t bytes, unsigned power) {
    const uint64_t even = 0x00ff00ff00ff00ff;
    const uint64_t low = ((bytes & even) * power & even) * 3 >> 8 & even;
    const uint64_t high = ((bytes >> 8 & even) * power & even) * 3 >> 8 & even;
    return lk_iq_less_one(low | high << 8);
}

/* Word i of a TQ1_0 block: five planes of 32 and of 16 elements, four of 4. */
LK_INLINE uint64_t lk_iq_tq1(const block_tq1_0 *b, const int i) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    if (i < 20)
        return lk_iq_digits(lk_load_u64(b->qs + i % 4 * 8), power[i / 4]);
    if (i < 30)
        return lk_iq_digits(lk_load_u64(b->qs + 32 + i % 2 * 8), power[(i - 20) / 2]);
    const uint64_t qh = lk_load_u32(b->qh);
    return (lk_iq_digits(qh, power[2 * i - 60]) & 0xffffffff) | lk_iq_digits(qh, power[2 * i - 59])
                                                                    << 32;
}

/* A point of IQ1 and a shift of all its eighths. */
LK_INLINE uint64_t lk_iq_shifted(unsigned point, unsigned is_down) {
    return (lk_grid_iq1_s[point] - LK_ALL_BYTES * 2 * is_down) ^ LK_ALL_BYTES * 0x80;
}

LK_INLINE uint64_t lk_iq_two_fours(const uint32_t *grid, unsigned first, unsigned second) {
    return grid[first] | (uint64_t)grid[second] << 32;
}

/* Elements 32 g .. 32 g + 31. */
LK_INLINE lk_iq_codes lk_iq_codes_of(lk_iq_type type, const void *block, const int g) {
    lk_iq_codes c = {.negative = 0};
    if (type == LK_IQ_iq3_xxs)
        c.negative = lk_iq_even(lk_load_u32(((const block_iq3_xxs *)block)->signs + 4 * g));
    if (type == LK_IQ_iq2_xxs)
        c.negative = lk_iq_even(lk_load_u32(((const block_iq2_xxs *)block)->qs + 8 * g + 4));
    if (type == LK_IQ_iq3_s)
        c.negative = lk_load_u32(((const block_iq3_s *)block)->signs + 4 * g);
    if (type == LK_IQ_iq2_s)
        c.negative = lk_load_u32(((const block_iq2_s *)block)->signs + 4 * g);
    uint32_t signs = 0;
    LK_UNROLL
    for (int l = 0; l < 4; l++) {
        const int i = 4 * g + l;
        if (type == LK_IQ_tq1_0) {
            c.word[l] = lk_iq_tq1((const block_tq1_0 *)block, i);
        } else if (type == LK_IQ_tq2_0) {
            const block_tq2_0 *b = (const block_tq2_0 *)block;
            const uint64_t planes = lk_load_u64(b->qs + i / 16 * 32 + i % 4 * 8);
            c.word[l] = lk_iq_less_one(planes >> g % 4 * 2 & LK_ALL_BYTES * 3);
        } else if (type == LK_IQ_iq3_xxs) {
            const block_iq3_xxs *b = (const block_iq3_xxs *)block;
            c.word[l] = lk_iq_two_fours(lk_grid_iq3_xxs, b->qs[2 * i], b->qs[2 * i + 1]);
        } else if (type == LK_IQ_iq3_s) {
            const block_iq3_s *b = (const block_iq3_s *)block;
            const unsigned high = (unsigned)b->qh[g] >> 2 * l;
            c.word[l] = lk_iq_two_fours(lk_grid_iq3_s, b->qs[2 * i] | (high & 1) << 8,
                                        b->qs[2 * i + 1] | (high >> 1 & 1) << 8);
        } else if (type == LK_IQ_iq2_xxs) {
            c.word[l] = lk_grid_iq2_xxs[((const block_iq2_xxs *)block)->qs[8 * g + l]];
        } else if (type == LK_IQ_iq2_xs) {
            const unsigned q = lk_load_u16(((const block_iq2_xs *)block)->qs + 2 * i);
            c.word[l] = lk_grid_iq2_xs[q & 511];
            signs |= q >> 9 << 7 * l;
        } else if (type == LK_IQ_iq2_s) {
            const block_iq2_s *b = (const block_iq2_s *)block;
            c.word[l] = lk_grid_iq2_s[b->qs[i] | ((unsigned)b->qh[g] >> 2 * l & 3) << 8];
        } else if (type == LK_IQ_iq1_s) {
            const block_iq1_s *b = (const block_iq1_s *)block;
            const unsigned qh = lk_load_u16(b->qh + 2 * g);
            c.word[l] = lk_iq_shifted(b->qs[i] | (qh >> 3 * l & 7) << 8, qh >> 15);
        } else {
            const block_iq1_m *b = (const block_iq1_m *)block;
            const unsigned qh = (unsigned)b->qh[i / 2] >> i % 2 * 4;
            c.word[l] = lk_iq_shifted(b->qs[i] | (qh & 7) << 8, qh >> 3 & 1);
        }
    }
    if (type == LK_IQ_iq2_xs)
        c.negative = lk_iq_even(signs);
    return c;
}

/* d, and the scales by group, eight to a word. */
typedef struct {
    float d;
    uint64_t scale[2];
} lk_iq_scales;

/* Eight nibbles to bytes of 2 x + 1, the low one of a byte first. */
LK_INLINE uint64_t lk_iq_odd_scales(const uint8_t nibbles[4]) {
    return 2 * lk_nibbles_to_bytes(lk_load_u32(nibbles)) + LK_ALL_BYTES;
}

LK_INLINE lk_iq_scales lk_iq_scales_of_m(const block_iq1_m *b) {
    lk_iq_scales s = {.scale = {LK_ALL_BYTES, LK_ALL_BYTES}};
    uint16_t d = 0;
    for (int i = 0; i < 4; i++) {
        const unsigned sc = lk_load_u16(b->scales + 2 * i);
        d |= (uint16_t)(sc >> 12 << 4 * i);
        for (int j = 0; j < 4; j++)
            s.scale[i / 2] += (uint64_t)(sc >> 3 * j & 7) * 2 << (i % 2 * 32 + 8 * j);
    }
    s.d = 0.125f * lk_f16_to_f32(d);
    return s;
}

LK_INLINE lk_iq_scales lk_iq_scales_of(lk_iq_type type, const void *block) {
    if (type == LK_IQ_iq1_m)
        return lk_iq_scales_of_m((const block_iq1_m *)block);
    lk_iq_scales s = {.scale = {LK_ALL_BYTES, 0}};
    const uint8_t *w = (const uint8_t *)block;
    if (type == LK_IQ_tq1_0 || type == LK_IQ_tq2_0) {
        s.d = lk_f16_to_f32(type == LK_IQ_tq1_0 ? ((const block_tq1_0 *)block)->d
                                                : ((const block_tq2_0 *)block)->d);
        return s;
    }
    const float d = lk_f16_to_f32(lk_load_u16(w));
    s.d = type == LK_IQ_iq3_s ? d : type == LK_IQ_iq3_xxs ? 0.25f * d : 0.125f * d;
    if (type == LK_IQ_iq3_s) {
        s.scale[0] = lk_iq_odd_scales(((const block_iq3_s *)block)->scales);
    } else if (type == LK_IQ_iq2_xs || type == LK_IQ_iq2_s) {
        const uint8_t *nibbles = type == LK_IQ_iq2_xs ? ((const block_iq2_xs *)block)->scales
                                                      : ((const block_iq2_s *)block)->scales;
        s.scale[0] = lk_iq_odd_scales(nibbles);
        s.scale[1] = lk_iq_odd_scales(nibbles + 4);
    } else {
        for (int g = 0; g < 8; g++) { /* in the top bits of other words */
            const unsigned sc =
                type == LK_IQ_iq3_xxs ? ((const block_iq3_xxs *)block)->signs[4 * g + 3] >> 4
                : type == LK_IQ_iq2_xxs
                    ? ((const block_iq2_xxs *)block)->qs[8 * g + 7] >> 4
                    : (unsigned)((const block_iq1_s *)block)->qh[2 * g + 1] >> 4 & 7;
            s.scale[0] += (uint64_t)(2 * sc) << 8 * g;
        }
    }
    return s;
}

#endif
